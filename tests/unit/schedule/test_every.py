"""Every and At, and the durations they and others are told in."""

import copy
import math
import pickle
import re
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import pytest

from pyramid_cron.schedule import At, Cron, Every, Schedule
from pyramid_cron.schedule.quantities import parse_seconds

UTC = timezone.utc
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
LITTLE = timedelta(microseconds=1)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("6h", 21_600),
        ("1d", 86_400),
        (" 90 ", 90),
        (90, 90),
        (90.0, 90),
        (timedelta(minutes=1), 60),
    ],
)
def test_a_duration_is_whole_seconds(value, length):
    assert parse_seconds(value, argument="timeout") == length


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "m",
            "1w",
            "1.5h",
            "-5m",
            "1h30m",
            "5 m",
            "0s",
            "٣s",
            "30M",
            "9999999999999d",
            "36526d",
        ),
        *(0, -1, 0.5, math.nan, math.inf, True, None, [], Fraction(3, 2)),
        *(timedelta(), timedelta(milliseconds=1500), timedelta(days=-1)),
    ],
)
def test_what_is_no_duration_is_refused_by_name(value):
    with pytest.raises(ValueError, match=re.escape(f"timeout={value!r}: use '90s'")):
        parse_seconds(value, argument="timeout")


def test_the_least_duration_can_be_set():
    assert parse_seconds(0, argument="delay", min_seconds=0) == 0
    with pytest.raises(ValueError, match=r"lease='5s': .* at least 10s"):
        parse_seconds("5s", argument="lease", min_seconds=10)


def test_every_host_agrees_on_the_slots_of_an_interval():
    every = Every("90s")
    assert every.seconds == 90
    assert every.following(NOON) == NOON + timedelta(seconds=90)
    assert every.following(NOON - LITTLE) == NOON
    assert every.preceding(NOON) == NOON - timedelta(seconds=90)
    assert every.preceding(NOON + LITTLE) == NOON
    assert Every("7d").following(NOON) == datetime(2026, 3, 12, tzinfo=UTC)
    assert every.following(NOON.astimezone(timezone(timedelta(hours=5)))).tzinfo is UTC


def test_an_interval_goes_on_before_the_epoch():
    assert Every("7h").preceding(datetime(1970, 1, 1, tzinfo=UTC)) == datetime(
        1969, 12, 31, 17, tzinfo=UTC
    )


def test_an_interval_has_the_slots_after_the_start_up_to_the_end():
    slots = list(Every("30m").between(NOON, NOON + timedelta(hours=1)))
    assert slots == [NOON + timedelta(minutes=30), NOON + timedelta(hours=1)]
    assert list(Every("1d").between(NOON, NOON + timedelta(hours=1))) == []


def test_an_interval_matches_exactly():
    assert Every("30m").matches(NOON)
    assert not Every("30m").matches(NOON + LITTLE)
    assert not Every("30m").matches(NOON + timedelta(seconds=1))


def test_an_interval_ends_with_the_calendar():
    assert Every("30m").following(LAST) is None
    assert Every("30m").preceding(FIRST) is None
    assert Every("36525d").following(LAST) is None
    assert len(list(Every("1h").between(LAST - timedelta(hours=2), LAST))) == 2


@pytest.mark.parametrize(
    ("interval", "description", "crontab"),
    [
        ("1m", "every minute", "* * * * *"),
        ("5m", "every 5 minutes", "*/5 * * * *"),
        ("60m", "every hour", "0 * * * *"),
        ("6h", "every 6 hours", "0 */6 * * *"),
        ("1d", "every day", "0 0 * * *"),
        ("7d", "every 7 days", "0 0 * * 4"),
    ],
)
def test_an_interval_reads_as_english_and_as_a_crontab(interval, description, crontab):
    assert Every(interval).describe() == str(Every(interval)) == description
    assert Every(interval).crontab() == crontab


@pytest.mark.parametrize("interval", ["90s", "7m", "90m", "7h", "2d"])
def test_an_interval_a_crontab_cannot_say_is_refused(interval):
    with pytest.raises(ValueError, match=f"every='{interval}': a crontab has no such interval"):
        Every(interval).crontab()


@pytest.mark.parametrize("interval", ["90s", "30m", "6h", "2d"])
def test_the_representation_of_an_interval_is_as_one_would_write_it(interval):
    assert repr(Every(interval)) == f"Every('{interval}')"


def test_a_bad_interval_is_refused():
    with pytest.raises(ValueError, match="every='soon': use '90s', '30m', '6h', '1d'"):
        Every("soon")


@pytest.mark.parametrize(
    "moment",
    [
        "2026-12-01T09:00:00+01:00",
        "2026-12-01T08:00:00Z",
        "2026-12-01 08:00z",
        datetime(2026, 12, 1, 9, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_moment_is_kept_in_utc(moment):
    at = At(moment)
    assert at.moment == datetime(2026, 12, 1, 8, tzinfo=UTC)
    assert at.moment.tzinfo is UTC
    assert repr(at) == "At('2026-12-01T08:00:00+00:00')"
    assert at.describe() == str(at) == "once, at 2026-12-01 08:00:00 UTC"


@pytest.mark.parametrize(
    "moment",
    [
        "2026-12-01T09:00:00",
        "tomorrow",
        datetime(2026, 12, 1),  # noqa: DTZ001
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
        5,
        None,
    ],
)
def test_a_moment_that_is_not_aware_is_refused(moment):
    with pytest.raises(ValueError, match=re.escape(f"at={moment!r}: use an aware ")) as caught:
        At(moment)
    assert "in the extended format with an offset, such as '2026-12-01T09:00:00+01:00'" in str(
        caught.value
    )


@pytest.mark.parametrize("interval", ["7s", "90s", "1h"])
@pytest.mark.parametrize("start", [-3, 0, 0.5])
@pytest.mark.parametrize("length", [-1, 0, 0.5, 7, 100_000])
@pytest.mark.parametrize("origin", [NOON, datetime(1901, 5, 1, tzinfo=timezone.utc)])
def test_the_slots_between_are_those_that_follow_each_other(interval, start, length, origin):
    every = Every(interval)
    start = origin + timedelta(seconds=start)
    end = start + timedelta(seconds=length)
    slots, slot = [], every.following(start)
    while slot <= end:
        slots.append(slot)
        slot = every.following(slot)
    assert list(every.between(start, end)) == slots


@pytest.mark.parametrize("interval", ["10s", 10, 10.0, timedelta(seconds=10)])
def test_an_interval_may_be_seconds(interval):
    every = Every(interval)
    assert every.describe() == "every 10 seconds"
    assert repr(every) == "Every('10s')"
    assert [slot.second for slot in every.between(NOON, NOON + timedelta(seconds=35))] == [
        *(10, 20, 30)
    ]
    with pytest.raises(ValueError, match=r"^every='10s': a crontab has no such interval$"):
        every.crontab()


@pytest.mark.parametrize("interval", ["0s", 0.5, timedelta(milliseconds=999), "0.5s"])
def test_an_interval_of_less_than_a_second_is_refused(interval):
    with pytest.raises(ValueError, match=r"^every=.*: use '90s'.* at least 1s"):
        Every(interval)


def test_a_moment_is_one_slot_to_the_microsecond():
    moment = NOON + LITTLE
    at = At(moment)
    assert at.following(NOON) == at.preceding(NOON + 2 * LITTLE) == moment
    assert at.following(moment) is at.preceding(moment) is None
    assert at.matches(moment)
    assert not at.matches(NOON)
    assert list(at.between(NOON, moment)) == [moment]
    assert list(at.between(moment, LAST)) == []
    assert list(at.between(FIRST, NOON)) == []


def test_a_crontab_cannot_say_once():
    with pytest.raises(ValueError, match="a crontab has no way to run something once"):
        At(NOON).crontab()


@pytest.mark.parametrize("schedule", [Every("30m"), At(NOON)])
def test_moments_asked_about_must_be_aware(schedule):
    naive = NOON.replace(tzinfo=None)
    for method in (schedule.matches, schedule.following, schedule.preceding):
        with pytest.raises(ValueError, match="use an aware datetime"):
            method(naive)
    with pytest.raises(ValueError, match=r"start=.*use an aware datetime"):
        schedule.between(naive, NOON)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Every("30m"), Every(timedelta(minutes=30)), Every("31m")),
        (At(NOON), At("2026-03-10T13:00:00+01:00"), At(NOON + LITTLE)),
    ],
)
def test_equal_arguments_make_equal_schedules_that_cannot_be_changed(one, same, other):
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert isinstance(one, Schedule)
    (attribute,) = one.__slots__
    with pytest.raises(AttributeError):
        setattr(one, attribute, 5)


@pytest.mark.parametrize("made", [Every("5m"), At("2026-12-01T09:00:00Z"), Cron("0 2 * * *")])
@pytest.mark.parametrize("name", ["timezone", "seconds", "moment", "whatever"])
def test_a_schedule_can_not_be_changed(made, name):
    with pytest.raises(AttributeError, match=name):
        setattr(made, name, 5)
    with pytest.raises(AttributeError, match=name):
        delattr(made, name)
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
