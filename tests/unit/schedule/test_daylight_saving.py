"""What each schedule does when the clocks change."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyramid_cron.schedule import Cron

from . import reference
from .expressions import expressions

UTC = timezone.utc
MINUTE = timedelta(minutes=1)
ZONES = sorted(available_timezones() - {"localtime"})
ODD = [
    "Africa/Cairo",  # at midnight
    "Africa/Casablanca",  # twice more around Ramadan
    "Africa/Freetown",  # twice within a week
    "Africa/Monrovia",  # by 44 minutes and a half
    "America/Havana",
    "Antarctica/Troll",  # by two hours
    "Asia/Pyongyang",
    "Australia/Lord_Howe",  # by half an hour
    "Europe/Dublin",  # winter is what is saved
    "Pacific/Apia",  # a day is left out
    "Pacific/Kwajalein",
]
"""Zones in which the clocks change in another way than most do; a quarter of those drawn."""

SPRING = datetime(2026, 3, 29, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 25, tzinfo=UTC)


def texts(slots):
    return " ".join(f"{slot:%H:%M}" for slot in slots)


def in_berlin(expression, start, hours):
    return texts(
        Cron(expression, timezone="Europe/Berlin").between(
            start - MINUTE, start + timedelta(hours=hours)
        )
    )


@pytest.mark.parametrize(
    ("expression", "slots"),
    [
        ("30 2 * * *", "01:00"),
        ("0 2 * * *", "01:00"),
        ("0,30 2 * * *", "01:00"),
        ("0 1-4/1 * * *", "00:00 01:00 02:00"),
        ("* 2 * * *", ""),
        ("*/20 2 * * *", ""),
        ("0 3 * * *", "01:00"),
        ("*/15 * * * *", "00:00 00:15 00:30 00:45 01:00 01:15 01:30 01:45 02:00"),
        ("0 * * * *", "00:00 01:00 02:00"),
        ("0-59 2 * * *", ""),
        ("0 0-23 * * *", "00:00 01:00 02:00"),
        ("0 0-23/2 * * *", "01:00 02:00"),
        ("0 */2 * * *", "02:00"),
        ("5,15 2-3 * * *", "01:00 01:05 01:15"),
    ],
)
def test_in_spring_fixed_times_are_made_up_once_and_wildcards_go_on(expression, slots):
    assert in_berlin(expression, SPRING, 2) == slots


@pytest.mark.parametrize(
    ("expression", "slots"),
    [
        ("30 2 * * *", "00:30"),
        ("0,30 2 * * *", "00:00 00:30"),
        ("0 1-4/1 * * *", "00:00 02:00 03:00"),
        ("*/20 2 * * *", "00:00 00:20 00:40 01:00 01:20 01:40"),
        ("0 * * * *", "00:00 01:00 02:00 03:00"),
        ("*/30 * * * *", "00:00 00:30 01:00 01:30 02:00 02:30 03:00"),
        ("0 3 * * *", "02:00"),
        ("59 2 * * *", "00:59"),
    ],
)
def test_in_autumn_fixed_times_run_in_the_first_pass_and_wildcards_in_both(expression, slots):
    assert in_berlin(expression, AUTUMN, 3) == slots


@pytest.mark.parametrize(
    ("zone", "expression", "day", "slot"),
    [
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-04", "2026-10-03T15:30Z"),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-05", "2026-04-04T14:45Z"),
        ("Asia/Beirut", "0 0 * * *", "2026-03-29", "2026-03-28T22:00Z"),
        ("America/Havana", "30 0 8 3 *", "2026-03-08", "2026-03-08T05:00Z"),
        ("Africa/Cairo", "0 0 * * fri", "2026-04-24", "2026-04-23T22:00Z"),
        ("Europe/Dublin", "30 1 * * *", "2026-03-29", "2026-03-29T01:00Z"),
        ("Europe/Dublin", "30 1 * * *", "2026-10-25", "2026-10-25T00:30Z"),
        ("Pacific/Apia", "30 2 30 12 *", "2011-12-30", "2011-12-30T10:00Z"),
        ("Asia/Pyongyang", "45 23 4 5 *", "2018-05-04", "2018-05-04T15:00Z"),
    ],
)
def test_the_rule_is_the_same_whatever_the_shift(zone, expression, day, slot):
    before = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=13)
    due = Cron(expression, timezone=zone).following(before)
    assert f"{due:%Y-%m-%dT%H:%MZ}" == slot


def test_a_whole_skipped_day_is_one_slot():
    cron = Cron("0 0,6,12,18 * * *", timezone="Pacific/Apia")
    start = datetime(2011, 12, 30, 4, 0, tzinfo=UTC)
    slots = list(cron.between(start, start + timedelta(hours=12)))
    assert texts(slots) == "10:00 16:00"


def test_a_made_up_slot_matches_throughout_its_minute_and_a_second_pass_does_not():
    cron = Cron("30 2 * * *", timezone="Europe/Berlin")
    assert cron.matches(SPRING.replace(hour=1, minute=0, second=59))
    assert not cron.matches(SPRING.replace(hour=1, minute=1))
    assert not cron.matches(SPRING.replace(hour=0, minute=59, second=59))
    assert cron.matches(AUTUMN.replace(hour=0, minute=30))
    assert not cron.matches(AUTUMN.replace(hour=1, minute=30))


def test_a_wildcard_matches_in_both_passes_but_is_not_made_up():
    cron = Cron("*/30 2 * * *", timezone="Europe/Berlin")
    assert cron.matches(AUTUMN.replace(hour=0, minute=30))
    assert cron.matches(AUTUMN.replace(hour=1, minute=30))
    assert not cron.matches(SPRING.replace(hour=1, minute=0))


def test_a_make_up_is_found_from_both_sides_of_the_gap():
    cron = Cron("30 2 29 3 *", timezone="Europe/Berlin")
    due = SPRING.replace(hour=1)
    assert cron.following(due - MINUTE) == due
    assert cron.preceding(due + MINUTE) == due
    assert cron.following(due) == datetime(2027, 3, 29, 0, 30, tzinfo=UTC)
    assert cron.preceding(due) == datetime(2025, 3, 29, 1, 30, tzinfo=UTC)


@st.composite
def shifts(draw):
    """Draw a zone and a moment at which its clocks change, in any year it knows of."""
    names = draw(st.sampled_from([ODD, ZONES, ZONES, ZONES]))
    zone = ZoneInfo(draw(st.sampled_from(names)))
    years = st.integers(1970, 2040) | st.integers(1880, 2090)
    found = reference.shifts(zone, draw(years))
    assume(found)
    return zone, draw(st.sampled_from(found))


def whole(moment):
    return moment.replace(second=0)


@settings(deadline=None, max_examples=60)
@given(shift=shifts(), drawn=expressions(any_day=True))
def test_around_any_shift_the_slots_are_those_of_a_walk_through_every_minute(shift, drawn):
    zone, at = shift
    expression, schedule = drawn
    odd = at.astimezone(zone).utcoffset() % MINUTE or at.second
    hours = 1 if odd else 5
    start, end = whole(at) - timedelta(hours=hours), whole(at) + timedelta(hours=hours)
    try:
        cron = Cron(expression, timezone=zone.key)
    except ValueError as error:
        assume("no such date" not in str(error))
        raise
    expected = reference.slots(schedule, zone, start, end)
    assert list(cron.between(start, end)) == expected
    assert forwards(cron, start, end) == expected
    assert backwards(cron, start, end) == expected


def forwards(cron, start, end):
    found = []
    while (start := cron.following(start) or end + MINUTE) <= end:
        found.append(start)
    return found


def backwards(cron, start, end):
    found = []
    end += timedelta(microseconds=1)
    while (end := cron.preceding(end) or start) > start:
        found.insert(0, end)
    return found


@settings(deadline=None, max_examples=40)
@given(shift=shifts(), drawn=expressions(any_day=True), offset=st.integers(-7200, 7200))
def test_a_moment_matches_within_the_minute_that_begins_with_a_slot(shift, drawn, offset):
    zone, at = shift
    try:
        cron = Cron(drawn[0], timezone=zone.key)
    except ValueError as error:
        assume("no such date" not in str(error))
        raise
    moment = at + timedelta(seconds=offset)
    slot = cron.preceding(moment + timedelta(microseconds=1))
    assert cron.matches(moment) == (slot is not None and moment - slot < MINUTE)
