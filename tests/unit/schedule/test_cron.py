"""Cron: slots, fields, equality and what is refused."""

import copy
import pickle
import re
from datetime import datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyramid_cron.schedule import Cron, Schedule
from pyramid_cron.schedule.cron import parse_cron
from pyramid_cron.schedule.fields import mask_values

from .expressions import expressions

UTC = timezone.utc
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_slots_come_back_in_utc_whatever_the_zone_of_the_moment():
    cron = Cron("30 2 * * *", timezone="Asia/Tokyo")
    due = cron.following(NOON.astimezone(ZoneInfo("America/New_York")))
    assert due == datetime(2026, 3, 10, 17, 30, tzinfo=UTC)
    assert due.tzinfo is UTC


def test_following_and_preceding_are_strict_to_the_microsecond():
    cron = Cron("0 12 * * *")
    little, day = timedelta(microseconds=1), timedelta(days=1)
    assert cron.following(NOON - little) == NOON
    assert cron.following(NOON) == NOON + day
    assert cron.preceding(NOON + little) == NOON
    assert cron.preceding(NOON) == NOON - day


def test_between_leaves_out_its_start_and_takes_its_end():
    cron = Cron("0 * * * *")
    hour = timedelta(hours=1)
    assert list(cron.between(NOON, NOON + hour)) == [NOON + hour]
    assert list(cron.between(NOON, NOON + hour - timedelta(microseconds=1))) == []
    assert list(cron.between(NOON - timedelta(microseconds=1), NOON)) == [NOON]
    assert list(cron.between(NOON, NOON)) == []
    assert list(cron.between(NOON + MINUTE / 3, NOON + MINUTE / 2)) == []
    assert list(cron.between(NOON + hour, NOON)) == []


def test_matches_throughout_the_minute_of_a_slot():
    cron = Cron("0 12 * * *")
    assert cron.matches(NOON)
    assert cron.matches(NOON + timedelta(seconds=59, microseconds=999_999))
    assert not cron.matches(NOON + MINUTE)
    assert not cron.matches(NOON - timedelta(microseconds=1))


def test_a_slot_forty_years_away_is_found():
    cron = Cron("0 0 29 2 */7", timezone="Europe/Berlin")
    leap = Cron(day=29, month=2, dow=0)
    before = datetime(2072, 3, 1, tzinfo=UTC)
    assert leap.following(before) == datetime(2112, 2, 29, tzinfo=UTC)
    assert leap.preceding(datetime(2112, 2, 29, tzinfo=UTC)) == datetime(2072, 2, 29, tzinfo=UTC)
    assert f"{cron.following(before).astimezone(ZoneInfo('Europe/Berlin')):%A %d %B}" == (
        "Sunday 29 February"
    )


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_nothing_lies_beyond_the_calendar(zone):
    yearly = Cron("0 0 1 1 *", timezone=zone)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert yearly.following(last) is None
    assert yearly.following(datetime(9999, 6, 1, tzinfo=UTC)) is None
    assert yearly.preceding(first) is None
    assert yearly.preceding(datetime(1, 1, 1, 12, tzinfo=UTC)) is None
    assert yearly.following(first).year in (1, 2)
    assert yearly.preceding(last).year in (9998, 9999)
    assert list(yearly.between(datetime(9999, 6, 1, tzinfo=UTC), last)) == []
    assert list(yearly.between(first, first + timedelta(hours=1))) == []
    assert Cron("0 0 1 6 *", timezone=zone).preceding(datetime(1, 3, 1, tzinfo=UTC)) is None
    minutely = Cron(timezone=zone)
    assert len(list(minutely.between(last - timedelta(hours=40), last))) > 1400
    assert len(list(minutely.between(first, first + timedelta(hours=72)))) > 1400
    assert minutely.preceding(first + timedelta(hours=1)) is None
    assert minutely.following(last - MINUTE / 2) is None


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ({}, "* * * * *"),
        ({"hour": 2}, "0 2 * * *"),
        ({"min": 5}, "5 * * * *"),
        ({"hour": "*"}, "0 * * * *"),
        ({"min": "*", "hour": 2}, "* 2 * * *"),
        ({"hour": range(0, 24, 2)}, "0 0-23/2 * * *"),
        ({"hour": "*/2"}, "0 */2 * * *"),
        ({"min": range(60), "hour": 2}, "* 2 * * *"),
        ({"day": 1}, "0 0 1 * *"),
        ({"dow": 6}, "0 0 * * 0"),
        ({"dow": "mon-fri"}, "0 0 * * 1-5"),
        ({"month": 6}, "0 0 1 6 *"),
        ({"month": 3, "dow": 6}, "0 0 * 3 0"),
        ({"month": "jan,jul", "day": 15, "hour": 9}, "0 9 15 1,7 *"),
        ({"min": 30, "month": 1}, "30 * * 1 *"),
        ({"min": 30, "hour": None}, "30 * * * *"),
    ],
)
def test_an_omitted_field_is_its_lowest_value_if_it_is_finer_than_all_given(fields, expression):
    assert Cron(**fields) == Cron(expression)


@pytest.mark.parametrize(
    ("alias", "expression"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@MIDNIGHT", "0 0 * * *"),
        (" @weekly ", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ],
)
def test_nicknames_mean_midnight_under_every_name(alias, expression):
    assert Cron(alias) == parse_cron(alias, name="app.tasks:nightly") == Cron(expression)


def test_only_an_h_is_hashed():
    cron = parse_cron("H H * * *", name="app.tasks:nightly")
    assert cron == parse_cron("H H * * *", name="app.tasks:nightly")
    assert cron != parse_cron("H H * * *", name="app.tasks:hourly")
    (minute,), (hour,) = mask_values(cron.fields.minutes), mask_values(cron.fields.hours)
    assert cron.crontab() == f"{minute} {hour} * * *"
    assert Cron.for_task("a", min="H", hour=2) == Cron(
        hour=2, min=mask_values(parse_cron("H * * * *", name="a").fields.minutes)
    )


def test_whether_a_hashed_day_exists_does_not_depend_on_the_name():
    days = {
        mask_values(parse_cron("0 0 H 2 *", name=f"task{n}").fields.dates.monthdays)[0]
        for n in range(200)
    }
    assert max(days) <= 29
    assert len(days) > 20


@pytest.mark.parametrize(
    "expression", ["0 0 31 H *", "0 0 30 H *", "0 0 H(25-31) 2 *", "0 0 29-31 H(1-3) *"]
)
def test_whether_a_hashed_date_exists_does_not_depend_on_the_name(expression):
    for number in range(200):
        cron = parse_cron(expression, name=f"task{number}")
        assert cron == parse_cron(expression, name=f"task{number}")
        assert cron.following(NOON) is not None


def test_whether_a_hashed_day_is_the_right_weekday_does_not_depend_on_the_name():
    days = {
        cron.following(NOON).day
        for number in range(200)
        if (cron := Cron.for_task(f"task{number}", day="H", dow="1#1"))
    }
    assert max(days) <= 7


def test_what_no_hashing_makes_a_date_is_refused():
    with pytest.raises(ValueError, match="'0 0 H\\(30-31\\) 2 \\*': there is no such date"):
        parse_cron("0 0 H(30-31) 2 *", name="a")


def test_a_schedule_is_bound_to_a_zone_unless_it_has_its_own():
    bare, zoned = Cron("0 2 * * *"), Cron("0 2 * * *", timezone="Asia/Tokyo")
    assert bare.search.zone.key == "UTC"
    assert bare.with_timezone("Europe/Berlin") == Cron("0 2 * * *", timezone="Europe/Berlin")
    assert bare.with_timezone("Europe/Berlin").following(NOON).hour == 1
    assert zoned.with_timezone("Europe/Berlin") is zoned
    assert bare.timezone is None


def test_equal_schedules_are_equal_and_equally_hashed():
    one, other = Cron("0 2 * * 1-5", timezone="UTC"), Cron(hour=2, dow=range(5), timezone="UTC")
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, Cron("0 2 * * 1-5")}) == 2
    assert Cron("*/30 2 * * *") != Cron("0,30 2 * * *")
    assert one != "0 2 * * 1-5"


def test_a_schedule_cannot_be_changed_but_copied():
    cron = Cron("0 0 1 * 5#2", timezone="Europe/Berlin")
    with pytest.raises(AttributeError):
        cron.timezone = "UTC"
    assert pickle.loads(pickle.dumps(cron)) == copy.deepcopy(cron) == cron
    assert copy.copy(cron).following(NOON) == cron.following(NOON)
    assert isinstance(cron, Schedule)


@pytest.mark.parametrize("method", ["matches", "following", "preceding"])
@pytest.mark.parametrize("moment", [datetime(2026, 1, 1), "2026-01-01", None])  # noqa: DTZ001
def test_a_moment_that_is_not_aware_is_refused(method, moment):
    with pytest.raises(ValueError, match=re.escape(f"={moment!r}: use an aware datetime")):
        getattr(Cron(), method)(moment)


def test_between_refuses_what_is_not_aware_at_once():
    with pytest.raises(ValueError, match=r"start=.* use an aware datetime"):
        Cron().between(datetime(2026, 1, 1), NOON)  # noqa: DTZ001
    with pytest.raises(ValueError, match=r"end=.* use an aware datetime"):
        Cron().between(NOON, datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "0 fields, use five: minute hour day month day-of-week"),
        ("* * * *", "4 fields, use five: minute hour day month day-of-week"),
        (
            "* * * * * *",
            "6 fields, use five: minute hour day month day-of-week, without seconds or years",
        ),
        ("@reboot", "use five fields or one of @hourly, @daily, @midnight, @weekly, @monthly,"),
        ("٣ * * * *", "use ASCII characters only"),
        ("*\u00a0* * * *", "use ASCII characters only"),
        ("0 24 * * *", "hour='24': 24 is out of range, use 0 to 23"),
        ("H * * * *", "min='H': H is hashed with a task's name"),
        ("0 0 31 2 *", "there is no such date, so it would never run"),
        ("0 0 30,31 feb *", "there is no such date, so it would never run"),
        ("0 0 31 4,6,9,11 *", "there is no such date, so it would never run"),
        ("0 0 */31 * 5#2", "there is no such date, so it would never run"),
        (5, "use a string such as '30 2 * * *'"),
        (True, "use a string such as '30 2 * * *'"),
    ],
)
def test_a_bad_expression_is_refused(expression, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        Cron(expression)
    assert str(error.value).startswith(f"expression={expression!r}: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"month": 2, "day": 30}, "day=30, month=2: there is no such date, so it would never run"),
        ({"hour": 24}, "hour=24: 24 is out of range, use 0 to 23"),
        ({"min": "٣"}, "min='٣': use ASCII characters only"),
        ({"min": "H"}, "min='H': H is hashed with a task's name"),
        ({"timezone": "posix/Europe/Berlin"}, "timezone='posix/Europe/Berlin': no such time zone"),
        ({"timezone": "Berlin"}, "timezone='Berlin': no such time zone; use an IANA name"),
        (
            {"expression": "@daily", "hour": 2, "day": 1},
            "expression='@daily' and hour, day: give one expression or fields",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Cron(**arguments)


@pytest.mark.parametrize("expression", ["0 0 29 2 *", "0 0 29 2 */2", "0 0 31 2 1", "0 0 31 1,2 *"])
def test_what_matches_rarely_is_accepted(expression):
    assert Cron(expression).following(NOON) > NOON


@settings(deadline=None, max_examples=50)
@given(
    drawn=expressions(),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"]),
    start=st.datetimes(datetime(1970, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_following_preceding_between_and_matches_agree(drawn, zone, start):
    try:
        cron = Cron(drawn[0], timezone=zone)
    except ValueError as error:
        assume("no such date" not in str(error))
        raise
    slots = [cron.following(start)]
    while len(slots) < 5 and slots[-1] is not None:
        slots.append(cron.following(slots[-1]))
    assert list(cron.between(start, slots[-1])) == slots
    assert list(islice(cron.between(start, start + timedelta(days=80_000)), 5)) == slots
    for earlier, later in pairwise(slots):
        assert earlier < later
        assert cron.preceding(later) == earlier
    assert all(cron.matches(slot) and cron.matches(slot + MINUTE / 2) for slot in slots)


@settings(deadline=None, max_examples=50)
@given(
    drawn=expressions(any_day=True),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Beirut"]),
    start=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
)
def test_cronsim_agrees_where_it_reads_the_same(drawn, zone, start):
    cronsim = pytest.importorskip("cronsim")
    start = start.replace(tzinfo=ZoneInfo(zone))
    try:
        theirs = cronsim.CronSim(drawn[0], start)
        ours = Cron(drawn[0], timezone=zone)
    except (cronsim.CronSimError, ValueError):
        assume(False)
    # It reads 5-5/2 as 5/2, and doesn't count a range that covers its field as a wildcard.
    assume(not re.search(r"\b0*(\w+)-0*\1/", drawn[0].lower()))
    assume(drawn[1].wildcard == ("*" in [text[0] for text in drawn[0].split()[:2]]))
    found = [slot.astimezone(UTC) for slot in islice(theirs, 30)]
    assert list(islice(ours.between(start, start + timedelta(days=80_000)), 30)) == found
