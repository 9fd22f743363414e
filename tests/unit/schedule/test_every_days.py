"""A time of day on each so many days."""

from datetime import date, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from pyramid_cron.planning.slots import SlotCalendar
from pyramid_cron.schedule import Schedule
from pyramid_cron.schedule.every import FIRST_MONDAY_EPOCH_DAY, EveryDays

UTC = timezone.utc
EPOCH = date(1970, 1, 1)


def slots(schedule, start, count):
    found = []
    for _ in range(count):
        start = schedule.following(start)
        found.append(start)
    return found


def test_it_counts_days_from_the_epoch_in_its_zone():
    schedule = EveryDays(3, min=45, timezone="Europe/Berlin")
    zone = ZoneInfo("Europe/Berlin")
    found = [
        slot.astimezone(zone) for slot in slots(schedule, datetime(2026, 1, 1, tzinfo=UTC), 200)
    ]
    assert all((each.hour, each.minute) == (0, 45) for each in found)
    assert {(each.date() - EPOCH).days % 3 for each in found} == {0}
    assert {b.date() - a.date() for a, b in pairwise(found)} == {timedelta(days=3)}


def test_weeks_are_counted_from_a_monday():
    schedule = EveryDays(14, hour=17, min=33, phase=FIRST_MONDAY_EPOCH_DAY)
    [first, second] = slots(schedule, datetime(2026, 6, 15, 12, tzinfo=UTC), 2)
    assert (first.weekday(), second - first) == (0, timedelta(days=14))
    assert f"{first:%H:%M}" == "17:33"


@pytest.mark.parametrize("days", [1, 2, 3, 10, 14, 31, 45, 100, 400, 3650])
def test_every_way_to_ask_agrees(days):
    schedule = EveryDays(days, hour=2, min=30, phase=5, timezone="Europe/Berlin")
    start = datetime(2025, 1, 1, tzinfo=UTC)
    found = slots(schedule, start, 12)
    assert list(islice(schedule.between(start, found[-1]), 20)) == found
    assert [schedule.preceding(slot) for slot in found[1:]] == found[:-1]
    assert all(schedule.matches(slot + timedelta(seconds=30)) for slot in found)
    calendar = SlotCalendar([((schedule,), 0)])
    for slot in found[:3]:
        around = timedelta(hours=30)
        assert calendar.due(slot - around, slot) == [
            (each, 0) for each in schedule.between(slot - around, slot)
        ]


def test_a_time_that_the_clock_skips_is_made_up_for():
    gap = date(2026, 3, 29)
    phase = (gap - EPOCH).days % 3
    schedule = EveryDays(3, hour=2, min=30, phase=phase, timezone="Europe/Berlin")
    assert schedule.following(datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(
        2026, 3, 29, 1, tzinfo=UTC
    )


def test_the_last_days_of_the_calendar_can_be_asked_for():
    assert EveryDays(2).following(datetime(9999, 12, 1, tzinfo=UTC)).year == 9999


def test_it_says_what_it_is():
    assert isinstance(EveryDays(3), Schedule)
    assert str(EveryDays(3, min=45)) == "at 00:45 every 3 days"
    assert EveryDays(14, hour=17, min=33, phase=FIRST_MONDAY_EPOCH_DAY).describe() == (
        "at 17:33 on Monday, every 2 weeks"
    )
    bound = EveryDays(3, hour=1).with_timezone("Europe/Berlin")
    assert repr(bound) == "EveryDays(3, hour=1, min=0, phase=0, timezone='Europe/Berlin')"
    assert eval(repr(bound)) == bound
    assert bound.describe() == "at 01:00 every 3 days (Europe/Berlin)"
    with pytest.raises(ValueError, match="no way to count days"):
        EveryDays(3).crontab()


def test_equal_arguments_make_equal_schedules():
    assert EveryDays(3) == EveryDays(3, phase=3)
    assert len({EveryDays(3), EveryDays(3), EveryDays(4), EveryDays(3, phase=1)}) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"days": 0}, "days=0: must be 1 to 3650"),
        ({"days": True}, "days=True"),
        ({"days": 2, "hour": 24}, "hour=24: must be 0 to 23"),
        ({"days": 2, "min": 60}, "min=60"),
        ({"days": 2, "phase": "x"}, "phase='x'"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EveryDays(**arguments)
