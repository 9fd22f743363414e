"""Schedules with bounds, and without some of their slots."""

import functools
from datetime import date, datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_cron.schedule import At, Cron, Every, Schedule
from pyramid_cron.schedule.every import EveryDays

UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
LITTLE = timedelta(microseconds=1)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CHRISTMAS = [date(2026, 12, 25), date(2026, 12, 26)]
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Hourly(Schedule):
    """A schedule of one's own."""

    def following(self, after):
        return Every("1h").following(after)

    def preceding(self, before):
        return Every("1h").preceding(before)

    def describe(self):
        return "by the hour"


ALL = [Cron("0 * * * *"), Every("1h"), Hourly(), Cron("0 * * * *", timezone="Europe/Berlin")]


def hours(schedule, start=NOON, end=NOON + DAY):
    return [slot.hour for slot in schedule.between(start, end)]


def is_lunch(local):
    return 12 <= local.hour < 14


@pytest.mark.parametrize("schedule", ALL)
def test_a_schedule_starts_with_the_slot_at_a_moment(schedule):
    start = NOON + 2 * HOUR
    later = schedule.starting(start)
    assert later.following(NOON) == start
    assert later.following(start) == start + HOUR
    assert later.preceding(start) is None
    assert later.preceding(start + LITTLE) == start
    assert hours(later, end=NOON + 3 * HOUR) == [14, 15]
    assert later.matches(start)
    assert not later.matches(start - HOUR)


@pytest.mark.parametrize("schedule", ALL)
def test_a_schedule_ends_with_the_slot_at_a_moment(schedule):
    end = NOON + 2 * HOUR
    earlier = schedule.ending(end)
    assert earlier.preceding(NOON + DAY) == end
    assert earlier.preceding(end) == end - HOUR
    assert earlier.following(end) is None
    assert earlier.following(end - LITTLE) == end
    assert hours(earlier) == [13, 14]
    assert earlier.matches(end)
    assert not earlier.matches(end + HOUR)


@pytest.mark.parametrize("schedule", ALL)
def test_bounds_may_be_text_and_narrow_each_other(schedule):
    text = "2026-12-01T15:00:00+01:00"
    assert schedule.starting(text) == schedule.starting(NOON + 2 * HOUR)
    both = schedule.starting(text).ending("2026-12-01T15:00Z")
    assert both == schedule.ending(NOON + 3 * HOUR).starting(text)
    assert hours(both) == [14, 15]
    assert both.starting(NOON) == both
    assert both.ending(NOON + DAY) == both
    assert hours(both.starting(NOON + 3 * HOUR)) == [15]


@pytest.mark.parametrize("bound", ["starting", "ending"])
@pytest.mark.parametrize("moment", ["soon", "2026-12-01T09:00", NOON.replace(tzinfo=None), 5, None])
def test_a_bound_that_is_no_moment_is_refused_by_name(bound, moment):
    with pytest.raises(ValueError, match=rf"^{bound}=.*: use an aware datetime or ISO 8601 text"):
        getattr(Every("1h"), bound)(moment)


def test_an_end_before_the_start_is_refused():
    for refused in (
        lambda: Every("1h").starting(NOON).ending(NOON - LITTLE),
        lambda: Every("1h").ending(NOON - LITTLE).starting(NOON),
    ):
        with pytest.raises(ValueError, match=r"^ending='2026.*: is before starting='2026-12-01T12"):
            refused()
    assert hours(Every("1h").starting(NOON).ending(NOON), NOON - HOUR) == [12]


@pytest.mark.parametrize("collection", [list, tuple, set, frozenset, iter, dict.fromkeys])
def test_dates_are_left_out(collection):
    daily = Cron("30 0 * * *", timezone="Europe/Berlin").excluding(collection(CHRISTMAS))
    days = [slot.astimezone(BERLIN).day for slot in daily.between(NOON + 22 * DAY, NOON + 27 * DAY)]
    assert days == [24, 27, 28]
    assert daily.following(NOON + 23 * DAY).astimezone(BERLIN).day == 27
    assert daily.preceding(NOON + 25 * DAY).astimezone(BERLIN).day == 24
    assert not daily.matches(datetime(2026, 12, 25, 0, 30, 20, tzinfo=BERLIN))
    assert daily.matches(datetime(2026, 12, 27, 0, 30, 20, tzinfo=BERLIN))


def test_a_collection_may_be_changed_afterwards():
    dates = [*CHRISTMAS]
    daily = Cron("@daily").excluding(dates)
    dates.clear()
    assert daily == Cron("@daily").excluding(CHRISTMAS)


def test_holidays_of_a_package_are_left_out_as_they_are():
    country = holidays.country_holidays("DE")
    daily = Cron("0 7 * * *", timezone="Europe/Berlin").excluding(country)
    days = [slot.day for slot in daily.between(datetime(2026, 12, 23, tzinfo=UTC), NOON + 33 * DAY)]
    assert days == [23, 24, 27, 28, 29, 30, 31, 2, 3]
    assert hash(daily) == hash(Cron("0 7 * * *", timezone="Europe/Berlin").excluding(country))
    assert daily == Cron("0 7 * * *", timezone="Europe/Berlin").excluding(country)
    assert daily.describe() == (
        "at 07:00 every day (Europe/Berlin), except on dates in holidays.DE"
    )


def test_slots_of_another_schedule_are_left_out():
    assert hours(Every("1h").excluding(Cron("* 14-22 * * *"))) == [13, 23, *range(13)]
    assert hours(Every("1h").excluding(Every("2h"))) == [*range(13, 24, 2), *range(1, 12, 2)]
    assert hours(Every("4h").excluding(At(NOON + 4 * HOUR))) == [20, 0, 4, 8, 12]
    assert hours(Every("1h").excluding(Every("1h").starting(NOON + 2 * HOUR))) == [13]


def test_a_function_of_the_local_time_says_what_is_left_out():
    assert hours(Every("1h").excluding(is_lunch), NOON - HOUR, NOON + 3 * HOUR) == [14, 15]
    berlin = Cron("0 * * * *", timezone="Europe/Berlin").excluding(is_lunch)
    assert hours(berlin, NOON - 2 * HOUR, NOON + 2 * HOUR) == [13, 14]
    seen = []
    list(berlin.excluding(seen.append).between(NOON, NOON + 2 * HOUR))
    assert seen == [NOON + HOUR, NOON + 2 * HOUR]
    assert {moment.tzinfo for moment in seen} == {BERLIN}


def test_what_is_left_out_adds_up():
    limited = Every("1h").excluding(CHRISTMAS).excluding(is_lunch).excluding(Every("2h"))
    christmas = datetime(2026, 12, 25, tzinfo=UTC)
    assert hours(limited, christmas + 2 * DAY, christmas + 2.5 * DAY) == [1, 3, 5, 7, 9, 11]
    assert list(limited.between(christmas, christmas + 1.5 * DAY)) == []
    assert limited.excluding(is_lunch) == limited


def test_equal_arguments_make_equal_schedules():
    def make():
        return [
            Every("1h").starting(NOON),
            Every("1h").ending(NOON),
            Every("1h").excluding(CHRISTMAS),
            Every("1h").excluding(reversed(CHRISTMAS)),
            Every("1h").excluding(is_lunch),
            Every("1h").excluding(Every("2h")),
            Every("2h").excluding(Every("1h")),
            Cron("0 * * * *").excluding(is_lunch),
        ]

    assert make() == make()
    assert len({*make(), *make()}) == 7
    with pytest.raises(AttributeError):
        Every("1h").starting(NOON).start = NOON
    with pytest.raises(AttributeError):
        Every("1h").starting(NOON).name = "x"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("2026-12-25", "excluding='2026-12-25': use a collection of dates, a schedule, or a fun"),
        (date(2026, 12, 25), r"excluding=datetime.date\(2026, 12, 25\): use a collection"),
        (5, "excluding=5: use a collection"),
        (None, "excluding=None: use a collection"),
        (date, "excluding=<class 'datetime.date'>: use a collection"),
        (["2026-12-25"], r"excluding: '2026-12-25' is no date; use datetime.date\(2026, 12, 25\)"),
        ([NOON], r"excluding: datetime.datetime\(2026, .* is no date"),
        (lambda: True, "must take one argument, the local date and time"),
        (lambda day, time: True, "must take one argument, the local date and time"),
    ],
)
def test_what_can_not_be_left_out_is_refused(what, message):
    with pytest.raises(ValueError, match=message):
        Every("1h").excluding(what)


def test_a_function_that_does_not_tell_its_signature_is_taken():
    assert repr(Every("1h").excluding(max)) == "Every('1h').excluding(<built-in function max>)"


@pytest.mark.parametrize("schedule", [*ALL, Every("1s"), Cron("* * * * *"), Cron("@yearly")])
def test_a_search_for_a_slot_where_all_are_excluded_ends(schedule, monkeypatch):
    monkeypatch.setattr("pyramid_cron.schedule.base.MAX_EXCLUDED_SLOTS", 2000)
    nothing = schedule.excluding(lambda local: True)
    assert nothing.following(NOON) is None
    assert nothing.preceding(NOON) is None
    assert list(nothing.between(NOON, LAST)) == []
    assert nothing.is_empty(NOON)


class Always:
    """A collection of all dates."""

    def __contains__(self, day):
        return True


@pytest.mark.parametrize("what", [Cron("* * * * *"), Every("1s"), Always()])
@pytest.mark.parametrize("schedule", [Every("1s"), Cron("* * * * *"), Cron("@daily")])
def test_it_ends_whatever_excludes_them(schedule, what, monkeypatch):
    monkeypatch.setattr("pyramid_cron.schedule.base.MAX_EXCLUDED_SLOTS", 2000)
    assert schedule.excluding(what).is_empty(NOON)


def test_a_month_of_excluded_minutes_and_a_year_of_excluded_dates_are_searched():
    january = Every("1m").excluding(lambda local: local.month != 1)
    assert january.following(NOON) == datetime(2027, 1, 1, tzinfo=UTC)
    after = datetime(2026, 2, 1, tzinfo=UTC)
    asked = []
    by_date = Every("1s").excluding(Cron("* * * 2-12 *")).excluding(asked.append)
    assert by_date.following(after) == datetime(2027, 1, 1, tzinfo=UTC)
    assert by_date.preceding(datetime(2026, 12, 31, tzinfo=UTC)) == after - timedelta(seconds=1)
    assert len(asked) == 2


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_what_has_run_out_is_not_what_never_was(zone):
    daily = Cron("@daily", timezone=zone)
    assert not daily.excluding(lambda local: local.year > 2000).is_empty(NOON)
    assert not daily.ending("2001-01-01T00:00Z").is_empty(NOON)
    # In 1893 Berlin's clock skipped midnight, for some minutes of its own.
    assert daily.excluding(Cron("* * * * *")).is_empty(NOON)


def test_the_same_question_is_searched_once():
    asked = []

    def is_february(local):
        asked.append(local)
        return local.month == 2

    limited = Every("1h").excluding(is_february)
    start = datetime(2026, 2, 1, tzinfo=UTC)
    for after in (start, start + HOUR, start + 20 * DAY):
        assert limited.following(after) == datetime(2026, 3, 1, tzinfo=UTC)
    assert len(asked) == 28 * 24
    assert limited.following(start - 3 * HOUR) == start - 2 * HOUR
    assert limited.following(datetime(2026, 3, 1, tzinfo=UTC)).hour == 1


@pytest.mark.parametrize(
    ("limited", "description"),
    [
        (
            Every("10s").starting(NOON).ending(NOON + DAY),
            "every 10 seconds, from 2026-12-01 12:00:00 UTC, until 2026-12-02 12:00:00 UTC",
        ),
        (
            Cron("@daily", timezone="Europe/Berlin").excluding(CHRISTMAS),
            "at 00:00 every day (Europe/Berlin), except on 2026-12-25 and 2026-12-26",
        ),
        (Every("1h").excluding([]), "every hour, except on no date"),
        (
            Every("1h").excluding({date(2026, 1, day) for day in range(1, 6)}),
            "every hour, except on 5 dates",
        ),
        (Every("1h").excluding(is_lunch), "every hour, except when is_lunch() says so"),
        (
            Every("1h").excluding(functools.partial(is_lunch)),
            "every hour, except when partial() says so",
        ),
        (Every("1h").excluding(Every("2h")), "every hour, except every 2 hours"),
        (Hourly().excluding(Always()), "by the hour, except on dates in tests.Always"),
    ],
)
def test_limits_read_as_english(limited, description):
    assert limited.describe() == description
    assert str(limited) == description


def test_the_representation_makes_an_equal_schedule():
    limited = Every("10s").starting(NOON).ending(NOON + DAY).excluding(CHRISTMAS)
    limited = limited.excluding(Cron("@hourly"))
    import datetime as module

    assert eval(repr(limited), {"Every": Every, "Cron": Cron, "datetime": module}) == limited


def test_a_crontab_can_not_say_limits():
    for limited in (Cron("@daily").starting(NOON), Cron("@daily").excluding(CHRISTMAS)):
        with pytest.raises(ValueError, match="a crontab has no such schedule") as error:
            limited.crontab()
        assert repr(limited) in str(error.value)


def test_a_zone_is_the_schedules_own_or_lent():
    midnights = Cron("@daily").excluding(CHRISTMAS).excluding(Cron("0 0 27 * *"))
    christmas = NOON + 22 * DAY
    assert [slot.day for slot in midnights.between(christmas, christmas + 6 * DAY)] == [24, 28, 29]
    lent = midnights.with_timezone("Europe/Berlin")
    slots = [slot.astimezone(BERLIN) for slot in lent.between(christmas, christmas + 6 * DAY)]
    assert [(slot.day, slot.hour) for slot in slots] == [(24, 0), (28, 0), (29, 0)]
    own = Cron("@daily", timezone="Asia/Tokyo").excluding(Cron("0 0 27 * *")).excluding(CHRISTMAS)
    assert own.with_timezone("Europe/Berlin") == own
    assert own.following(NOON + 23 * DAY) == datetime(2026, 12, 27, 15, tzinfo=UTC)
    hourly = Every("12h").excluding(CHRISTMAS).with_timezone("Asia/Tokyo")
    assert hourly.following(NOON + 23 * DAY) == datetime(2026, 12, 27, tzinfo=UTC)


def test_a_fixed_time_in_the_gap_is_left_out_with_its_date():
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC)
    daily = Cron("30 2 * * *", timezone="Europe/Berlin")
    assert daily.following(spring) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    excluding = daily.excluding([date(2026, 3, 29)])
    assert excluding.following(spring) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)


def test_an_every_n_days_has_limits_too():
    days = EveryDays(2, hour=7).excluding(CHRISTMAS)
    found = [slot.day for slot in days.between(NOON + 20 * DAY, NOON + 28 * DAY)]
    assert found in ([23, 27, 29], [22, 24, 28])


ZONES = ["Europe/Berlin", "America/Havana", "America/St_Johns", "Pacific/Apia", "UTC"]
SHIFTS = ["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2006-10-29", "2011-12-30"]


@settings(deadline=None, max_examples=60)
@given(
    zone=st.sampled_from(ZONES),
    shift=st.sampled_from(SHIFTS),
    schedule=st.sampled_from([Cron("*/7 * * * *"), Cron("30 0-3 * * *"), Every("11m"), Hourly()]),
    excluded=st.sampled_from(
        [
            *(Cron("* * * * *"), Cron("* 0-2 * * *"), Cron("* 22-1 * * *"), Cron("*/5 2 * * *")),
            *(Cron("* * * * sun"), Every("1h"), Cron("30 2 * * *"), is_lunch, "dates"),
        ]
    ),
)
def test_all_methods_agree_right_through_shifts(zone, shift, schedule, excluded):
    day = date.fromisoformat(shift)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - 1.5 * DAY
    end = start + 3.5 * DAY
    bound = schedule.with_timezone(zone)
    if excluded == "dates":
        excluded = [day, day + 2 * DAY]
        expected = [
            slot
            for slot in bound.between(start, end)
            if slot.astimezone(ZoneInfo(zone)).date() not in excluded
        ]
    elif excluded is is_lunch:
        expected = [
            slot
            for slot in bound.between(start, end)
            if not is_lunch(slot.astimezone(ZoneInfo(zone)))
        ]
    else:
        other = excluded.with_timezone(zone)
        expected = [slot for slot in bound.between(start, end) if not other.matches(slot)]
    limited = schedule.excluding(excluded).starting(start).ending(end).with_timezone(zone)
    assert list(limited.between(start, end)) == [slot for slot in expected if slot > start]
    slots, after = [], start
    while (slot := limited.following(after)) is not None:
        slots.append(slot)
        after = slot
    assert slots == [slot for slot in expected if slot > start]
    before, backwards = end + LITTLE, []
    while (slot := limited.preceding(before)) is not None and slot > start:
        backwards.append(slot)
        before = slot
    assert backwards[::-1] == slots
    assert all(limited.matches(slot) for slot in slots)
    missed = set(bound.between(start, end)) - {*slots}
    assert not any(limited.matches(slot) for slot in missed)


@pytest.mark.parametrize("schedule", ALL)
def test_the_ends_of_the_calendar_can_be_asked_about(schedule):
    limited = Every("1h").starting(FIRST).ending(LAST).excluding(CHRISTMAS)
    limited = limited.excluding(Cron("* 5 * * *")).excluding(is_lunch)
    for moment in (FIRST, LAST):
        assert list(limited.between(moment, moment)) == []
        assert limited.matches(moment) in (True, False)
    assert limited.preceding(FIRST) is None
    assert limited.following(LAST) is None
    assert limited.following(FIRST) is not None
    assert limited.preceding(LAST) is not None
    assert len(list(islice(limited.between(FIRST, LAST), 30))) == 30
    assert Cron("@daily").excluding(Always()).following(LAST - DAY) is None
