"""A calendar finds the slots of all schedules together, right through shifts of the clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_cron.planning.slots import Entry, SlotCalendar
from pyramid_cron.schedule import At, Cron, Every, Schedule

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def berlin(expression: str) -> Cron:
    return Cron(expression, timezone="Europe/Berlin")


def calendar_of(*schedules: Schedule, offset: int = 0) -> SlotCalendar:
    """One task for each schedule."""
    return SlotCalendar([((schedule,), offset) for schedule in schedules])


def slots(calendar: SlotCalendar, since: str, until: str) -> list[tuple[str, int]]:
    return [
        (slot.strftime("%m-%d %H:%M"), position)
        for slot, position in calendar.due(utc(since), utc(until))
    ]


def union(entries: Iterable[Entry], since: datetime, until: datetime) -> list[tuple[datetime, int]]:
    """What each schedule says for itself."""
    return sorted(
        {
            (slot + timedelta(seconds=offset), position)
            for position, (schedules, offset) in enumerate(entries)
            for schedule in schedules
            for slot in schedule.between(
                since - timedelta(seconds=offset), until - timedelta(seconds=offset)
            )
        }
    )


# Around changes of the clock, and ordinary days.
PLACES = {
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00", "2026-06-10T22:00"],
    "Australia/Lord_Howe": ["2026-04-04T15:00", "2026-10-03T15:30"],
    "Asia/Beirut": ["2026-03-28T22:00", "2026-10-24T21:00"],
    "Pacific/Apia": ["2011-12-30T10:00", "2011-12-29T12:00"],
    "America/Havana": ["2026-03-08T05:00", "2026-11-01T05:00"],
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00"],
    "Africa/Monrovia": ["1972-01-07T00:44", "1971-12-01T00:00"],
    "UTC": ["2026-02-28T23:00"],
}

minutes = st.sampled_from(
    ["*", "*/5", "*/7", "0", "30", "44", "0,30", "0-59", "0-29", "13-57/4", "1,2,3,5,8,13,21"]
)
hours = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "0-23", "0-3", "1-4/1", "22-2", "9-17"])
dates = st.sampled_from(
    ["* * *"] * 4 + ["* * 0", "* * mon-fri", "29 * *", "L * *", "30 12 *", "1 * 5#2", "*/2 * sun"]
)


@st.composite
def places(draw: st.DrawFn) -> tuple[str, datetime]:
    zone = draw(st.sampled_from(sorted(PLACES)))
    return zone, utc(draw(st.sampled_from(PLACES[zone])))


@st.composite
def crons(draw: st.DrawFn, zones: st.SearchStrategy[str]) -> Cron:
    expression = f"{draw(minutes)} {draw(hours)} {draw(dates)}"
    return Cron(expression, timezone=draw(zones))


@given(st.data(), places(), st.integers(-1800, 600), st.integers(1, 1500))
@settings(max_examples=60, deadline=None)
def test_slots_are_those_of_all_schedules_together(data, place, before, length) -> None:
    zone, change = place
    zones = st.sampled_from([zone, zone, zone, "Europe/Berlin", "UTC"])
    start = change + before * MINUTE + timedelta(seconds=data.draw(st.sampled_from([0, 1, 30])))
    schedules = st.one_of(
        crons(zones),
        crons(zones),
        st.sampled_from([Every("7s"), Every("90s"), Every("1h"), Every("37m")]),
        st.integers(-60, 60).map(lambda shift: At(change + shift * timedelta(seconds=30.5))),
    )
    if length > 300:
        schedules = crons(zones)
    offsets = st.sampled_from([0, 0, 0, 60, 300, 7, 59, 3600, 90_000])
    entry = st.tuples(st.lists(schedules, min_size=1, max_size=3).map(tuple), offsets)
    entries = data.draw(st.lists(entry, max_size=6))
    end = start + length * MINUTE
    assert SlotCalendar(entries).due(start, end) == union(entries, start, end)


def test_a_schedule_without_dates_today_is_not_due() -> None:
    calendar = calendar_of(Cron("0 12 * * mon"), Cron("*/5 * 1 * *"))
    assert slots(calendar, "2026-06-07T00:00", "2026-06-08T23:59") == [("06-08 12:00", 0)]


def test_tasks_that_share_a_schedule_are_all_due() -> None:
    calendar = calendar_of(*[berlin("0 * * * *")] * 3)
    assert slots(calendar, "2026-06-10T09:30", "2026-06-10T10:00") == [
        ("06-10 10:00", 0),
        ("06-10 10:00", 1),
        ("06-10 10:00", 2),
    ]


def test_the_window_begins_after_since_and_ends_with_until() -> None:
    calendar = calendar_of(Cron("* * * * *"))
    assert slots(calendar, "2026-06-10T12:00", "2026-06-10T12:01") == [("06-10 12:01", 0)]
    assert slots(calendar, "2026-06-10T11:59:59.999999", "2026-06-10T12:00:59.999999") == [
        ("06-10 12:00", 0)
    ]


def test_slots_are_sorted_by_time_then_position() -> None:
    calendar = calendar_of(Every("20s"), Cron("* * * * *"), Every("30s"), berlin("* * * * *"))
    found = calendar.due(utc("2026-06-10T12:00"), utc("2026-06-10T12:01"))
    assert [(slot.second, position) for slot, position in found] == [
        (20, 0),
        (30, 2),
        (40, 0),
        (0, 0),
        (0, 1),
        (0, 2),
        (0, 3),
    ]


def test_slots_are_in_utc_whatever_the_zone_of_the_window() -> None:
    zone = ZoneInfo("America/New_York")
    since, until = datetime(2026, 6, 10, 7, 59, tzinfo=zone), datetime(2026, 6, 10, 8, tzinfo=zone)
    [(slot, _)] = calendar_of(berlin("0 14 * * *")).due(since, until)
    assert slot == utc("2026-06-10T12:00")
    assert slot.tzinfo is timezone.utc


def test_two_schedules_of_a_task_that_agree_make_one_slot() -> None:
    schedules = (Cron("0 * * * *"), Cron("0 12 * * *"), Every("1h"), At("2026-06-10T12:00Z"))
    calendar = SlotCalendar([(schedules, 0)])
    assert slots(calendar, "2026-06-10T11:30", "2026-06-10T12:30") == [("06-10 12:00", 0)]


def test_a_fixed_time_in_the_gap_runs_once_after_it() -> None:
    calendar = calendar_of(
        *map(berlin, ["30 2 * * *", "0,30 2 * * *", "0 3 * * *", "*/30 2 * * *"])
    )
    assert slots(calendar, "2026-03-28T23:00", "2026-03-29T22:00") == [
        ("03-29 01:00", 0),
        ("03-29 01:00", 1),
        ("03-29 01:00", 2),
    ]


def test_a_make_up_collapses_with_what_is_due_anyway() -> None:
    assert slots(calendar_of(berlin("0 1-4/1 * * *")), "2026-03-28T23:00", "2026-03-29T22:00") == [
        ("03-29 00:00", 0),
        ("03-29 01:00", 0),
        ("03-29 02:00", 0),
    ]


def test_only_wildcard_schedules_run_through_the_second_pass() -> None:
    calendar = calendar_of(*map(berlin, ["30 2 * * *", "*/30 2 * * *"]))
    assert slots(calendar, "2026-10-24T22:00", "2026-10-25T22:00") == [
        ("10-25 00:00", 1),
        ("10-25 00:30", 0),
        ("10-25 00:30", 1),
        ("10-25 01:00", 1),
        ("10-25 01:30", 1),
    ]


def test_a_skipped_date_is_made_up_after_it() -> None:
    apia = [
        Cron(expression, timezone="Pacific/Apia")
        for expression in ("30 2 30 12 *", "0 0 31 12 *", "0 23 29 12 *", "0 12 1 12 *")
    ]
    assert slots(calendar_of(*apia), "2011-12-30T08:00", "2011-12-30T12:00") == [
        ("12-30 09:00", 2),
        ("12-30 10:00", 0),
        ("12-30 10:00", 1),
    ]


def test_a_gap_of_odd_seconds_is_made_up_at_its_end() -> None:
    # Until 1972-01-07, Liberia was 44 minutes and 30 seconds behind UTC.
    calendar = calendar_of(
        Cron("0 0 7 1 *", timezone="Africa/Monrovia"), Cron("0 0 6 1 *", timezone="Africa/Monrovia")
    )
    found = calendar.due(utc("1972-01-05T12:00"), utc("1972-01-08T12:00"))
    assert found == [(utc("1972-01-06T00:44:30"), 1), (utc("1972-01-07T00:44:30"), 0)]


def test_jitter_carries_a_slot_over_midnight() -> None:
    calendar = calendar_of(berlin("55 23 * * sat"), offset=600)
    assert slots(calendar, "2026-06-12T00:00", "2026-06-15T00:00") == [("06-13 22:05", 0)]


def test_jitter_counts_from_the_make_up() -> None:
    calendar = calendar_of(berlin("30 2 * * *"), offset=90)
    assert calendar.due(utc("2026-03-28T23:00"), utc("2026-03-29T22:00")) == [
        (utc("2026-03-29T01:01:30"), 0)
    ]


def test_each_task_has_its_own_jitter() -> None:
    calendar = SlotCalendar([((Cron("0 * * * *"),), offset) for offset in (0, 60, 90, 0)])
    found = calendar.due(utc("2026-06-10T11:30"), utc("2026-06-10T12:30"))
    assert [(slot.strftime("%M:%S"), position) for slot, position in found] == [
        ("00:00", 0),
        ("00:00", 3),
        ("01:00", 1),
        ("01:30", 2),
    ]


def test_an_odd_period_keeps_its_phase_from_the_epoch() -> None:
    calendar = calendar_of(Every("7s"), offset=3)
    found = calendar.due(EPOCH, EPOCH + timedelta(seconds=20))
    assert [(slot - EPOCH).seconds for slot, _ in found] == [3, 10, 17]


def test_a_moment_is_due_to_the_microsecond() -> None:
    moment = utc("2026-06-10T12:00:00.000250")
    calendar = calendar_of(At(moment), Every("1d"), At("2026-06-10T12:00Z"))
    assert calendar.due(moment - timedelta(microseconds=1), moment) == [(moment, 0)]
    assert calendar.due(moment, moment + MINUTE) == []


def test_a_moment_has_its_jitter_too() -> None:
    calendar = calendar_of(At("2026-06-10T12:00Z"), offset=61)
    assert calendar.due(utc("2026-06-10T11:00"), utc("2026-06-10T13:00")) == [
        (utc("2026-06-10T12:01:01"), 0)
    ]


def test_an_empty_calendar_has_no_slots() -> None:
    calendar = SlotCalendar([])
    assert calendar.due(utc("2026-06-10T00:00"), utc("2026-06-12T00:00")) == []


def test_a_task_on_demand_is_never_due() -> None:
    calendar = SlotCalendar([((), 0), ((Cron("* * * * *"),), 0)])
    assert slots(calendar, "2026-06-10T12:00", "2026-06-10T12:01") == [("06-10 12:01", 1)]


@pytest.mark.parametrize("until", ["2026-06-10T12:00", "2026-06-10T11:00", "2026-06-01T12:00"])
def test_a_window_that_ends_before_it_begins_has_no_slots(until) -> None:
    calendar = calendar_of(berlin("* * * * *"), Every("1s"), At("2026-06-10T11:30Z"))
    assert calendar.due(utc("2026-06-10T12:00"), utc(until)) == []


def test_a_naive_moment_is_refused_by_name() -> None:
    calendar = calendar_of(Cron("* * * * *"))
    aware, naive = utc("2026-06-10T12:00"), datetime(2026, 6, 10, 12)  # noqa: DTZ001
    with pytest.raises(ValueError, match=r"^since=.*aware"):
        calendar.due(naive, aware)
    with pytest.raises(ValueError, match=r"^until=.*aware"):
        calendar.due(aware, naive)


@given(st.data(), places(), st.integers(-180, 60))
@settings(max_examples=60, deadline=None)
def test_window_after_window_has_the_slots_of_all_schedules(data, place, before) -> None:
    zone, change = place
    zones = st.sampled_from([zone, zone, zone, "Europe/Berlin", "UTC"])
    schedules = st.one_of(
        crons(zones),
        crons(zones),
        st.sampled_from([Every("7s"), Every("90s"), Every("1h"), Every("37m")]),
        st.integers(-60, 60).map(lambda shift: At(change + shift * timedelta(seconds=30.5))),
    )
    offsets = st.sampled_from([0, 0, 0, 60, 7, 3600])
    entry = st.tuples(st.lists(schedules, min_size=1, max_size=3).map(tuple), offsets)
    entries = data.draw(st.lists(entry, max_size=8))
    calendar = SlotCalendar(entries)
    until = change + before * MINUTE
    steps = st.tuples(
        st.sampled_from([0, 0, 0, 0, 1, -61, 59.5, -3600]),
        st.sampled_from([1, 59.5, 60, 60, 60, 61, 600, 3600]),
    )
    for back, length in data.draw(st.lists(steps, min_size=1, max_size=25)):
        since = until - timedelta(seconds=back)
        until = since + timedelta(seconds=length)
        assert calendar.due(since, until) == union(entries, since, until)
