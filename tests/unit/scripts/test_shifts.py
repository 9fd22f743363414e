"""The notes of slots at a shift of the clocks."""

from datetime import date, datetime, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from pyramid_cron import Cron, Every
from pyramid_cron.scripts.explain import clock_shifts, dst_effect, dst_note

BERLIN = "Europe/Berlin"


def utc(*numbers):
    return datetime(*numbers, tzinfo=timezone.utc)


def test_the_shifts_of_a_zone_come_in_order():
    shifts = clock_shifts(ZoneInfo(BERLIN), utc(2026, 1, 1))
    assert next(shifts).describe() == (
        "2026-03-29 02:00 CET -> 03:00 CEST: 02:00 to 03:00 is skipped"
    )
    assert next(shifts).describe() == (
        "2026-10-25 03:00 CEST -> 02:00 CET: 02:00 to 03:00 happens twice"
    )
    assert next(shifts).moment == utc(2027, 3, 28, 1)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_a_zone_that_does_not_shift_has_none(zone):
    assert list(clock_shifts(ZoneInfo(zone), utc(2026, 1, 1))) == []


@pytest.mark.parametrize(
    ("expression", "slot", "note"),
    [
        ("30 2 * * *", utc(2026, 3, 29, 1), "02:30 is skipped: runs at 03:00 instead"),
        ("0,30 2 * * *", utc(2026, 3, 29, 1), "02:00 and 02:30 are skipped: runs at 03:00 instead"),
        ("0 3 * * *", utc(2026, 3, 29, 1), ""),
        ("*/30 * * * *", utc(2026, 3, 29, 1), "02:00 to 03:00 is skipped: nothing is made up"),
        ("30 2 * * *", utc(2026, 3, 28, 1, 30), ""),
        (
            "30 2 * * *",
            utc(2026, 10, 25, 0, 30),
            "02:30 happens twice: this is the first, the second has no run",
        ),
        ("*/30 * * * *", utc(2026, 10, 25, 0, 30), "02:30 happens twice: this is the first"),
        ("*/30 * * * *", utc(2026, 10, 25, 1, 30), "02:30 happens twice: this is the second"),
        ("*/30 * * * *", utc(2026, 10, 25, 2), ""),
    ],
)
def test_a_slot_on_a_shift_has_a_note(expression, slot, note):
    assert dst_note((Cron(expression, timezone=BERLIN),), slot) == note


def test_what_a_schedule_does_at_a_shift():
    gap = next(clock_shifts(ZoneInfo(BERLIN), utc(2026, 1, 1)))
    effect = "02:00, 02:10 and so on are skipped: it runs once instead, at 03:00 CEST"
    assert dst_effect(Cron("0-59/10 2 * * *"), gap) == effect
    assert "makes no difference" not in dst_effect(Cron("* * * * *"), gap)
    assert "no slot in that time" in dst_effect(Cron("0 12 * * *"), gap)
    assert "counts in UTC" in dst_effect(Every("30m"), gap)


def test_bounds_and_exclusions_have_the_notes_of_their_schedule():
    gap, overlap = islice(clock_shifts(ZoneInfo(BERLIN), utc(2026, 1, 1)), 2)
    cron = Cron("30 2 * * *", timezone=BERLIN)
    later = cron.starting(utc(2026, 1, 1)).excluding([date(2026, 10, 25)])
    assert dst_effect(later, gap) == dst_effect(cron, gap)
    assert "no slot in that time" in dst_effect(later, overlap)
    assert dst_note((later,), utc(2026, 3, 29, 1)) == dst_note((cron,), utc(2026, 3, 29, 1))
    assert dst_note((later,), utc(2026, 10, 25, 0, 30)) == ""
    assert "counts in UTC" in dst_effect(Every("30m").ending(utc(2026, 1, 1)), gap)


def test_a_subclass_that_has_slots_of_its_own_has_no_notes():
    class Nights(Cron):
        def following(self, after):
            return super().following(after)

    gap = next(clock_shifts(ZoneInfo(BERLIN), utc(2026, 1, 1)))
    nights = Nights("30 2 * * *", timezone=BERLIN)
    assert dst_note((nights,), utc(2026, 3, 29, 1)) == ""
    assert dst_effect(nights, gap).endswith("Nights says what it does; its slots around are")
