"""Schedules of one's own: what they have to say, and what comes of it."""

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass
from datetime import datetime, timedelta, timezone

import pytest

from pyramid_cron.schedule import At, Cron, Every, Schedule
from pyramid_cron.schedule.base import check_schedule

UTC = timezone.utc
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LITTLE = timedelta(microseconds=1)


class Tides(Schedule):
    """High water each 12 hours and 25 minutes, from an epoch of its own, to the microsecond."""

    first = datetime(2000, 1, 1, 3, 7, 0, 5, tzinfo=UTC)
    interval = timedelta(hours=12, minutes=25)

    def following(self, after):
        return self.first + ((after - self.first) // self.interval + 1) * self.interval

    def preceding(self, before):
        return self.first - ((self.first - before) // self.interval + 1) * self.interval

    def describe(self):
        return "at high water"


def test_three_methods_make_a_schedule():
    tides = Tides()
    slots = [tides.following(NOON)]
    slots.append(tides.following(slots[0]))
    assert list(tides.between(NOON, slots[1])) == slots
    assert list(tides.between(NOON, slots[1] - LITTLE)) == slots[:1]
    assert list(tides.between(slots[0], slots[0])) == []
    assert tides.preceding(slots[1]) == slots[0]
    for slot in (slots[0], tides.preceding(datetime(1950, 1, 1, tzinfo=UTC))):
        assert tides.matches(slot.astimezone(timezone(HOUR)))
        assert not tides.matches(slot + LITTLE)
        assert not tides.matches(slot - LITTLE)
    assert str(tides) == "at high water"
    with pytest.raises(ValueError, match="a crontab has no such schedule"):
        tides.crontab()


def test_a_schedule_says_which_of_the_three_is_missing():
    class Never(Schedule):
        def following(self, after):
            return None

    with pytest.raises(ValueError, match="Never has no preceding and no describe; a schedule need"):
        check_schedule(Never())
    with pytest.raises(NotImplementedError, match=r"Never has no preceding\(\)"):
        Never().preceding(NOON)
    with pytest.raises(NotImplementedError, match=r"Schedule has no following\(\)"):
        Schedule().following(NOON)
    with pytest.raises(NotImplementedError, match=r"Never has no describe\(\)"):
        str(Never())


@pytest.mark.parametrize("name", ["matches", "between", "preceding"])
def test_a_subclass_that_replaces_what_comes_of_following_alone_is_refused(name):
    replaced = type("Holidays", (Cron,), {name: lambda self, *moments: None})
    with pytest.raises(ValueError, match=f"^Holidays has a {name} of its own, but no following"):
        check_schedule(replaced("@daily"))


def test_a_schedule_that_has_no_hash_is_refused():
    class Unhashable(Tides):
        __hash__ = None

    check_schedule(Tides())
    with pytest.raises(ValueError, match="Unhashable must be hashable"):
        check_schedule(Unhashable())


def test_moments_asked_about_must_be_aware():
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(ValueError, match=r"moment=.*use an aware datetime"):
        Tides().matches(naive)
    with pytest.raises(ValueError, match=r"start=.*use an aware datetime"):
        Tides().between(naive, NOON)
    with pytest.raises(ValueError, match=r"end=.*use an aware datetime"):
        Tides().between(NOON, naive)


class Weekdays(Cron):
    """A crontab's schedule, but not on Sundays."""

    def following(self, after):
        slot = super().following(after)
        while slot is not None and slot.weekday() == 6:
            slot = super().following(slot)
        return slot


def test_a_subclass_of_a_built_in_schedule_has_the_slots_of_its_own_following():
    daily, saturday = Weekdays("0 12 * * *"), NOON + timedelta(days=4)
    assert [slot.day for slot in daily.between(saturday, saturday + timedelta(days=3))] == [16, 17]
    assert daily.matches(saturday)
    assert not daily.matches(saturday + timedelta(days=1))


def test_a_subclass_that_only_describes_itself_keeps_the_rest():
    class Named(Every):
        def describe(self):
            return "by the hour"

    hourly = Named("1h")
    assert str(hourly) == "by the hour"
    assert list(hourly.between(NOON, NOON + HOUR)) == [NOON + HOUR]
    assert hourly == Named("1h")


def test_a_subclass_that_replaces_following_has_all_the_rest_of_it():
    daily = Weekdays("0 12 * * *")
    sunday = NOON + timedelta(days=5)
    assert sunday.weekday() == 6
    assert daily.preceding(sunday + HOUR) == sunday - timedelta(days=1)
    assert daily.preceding(sunday - timedelta(days=1)) == sunday - timedelta(days=2)
    assert daily.preceding(sunday + timedelta(days=1, seconds=1)) == sunday + timedelta(days=1)
    with pytest.raises(ValueError, match="a crontab has no such schedule"):
        daily.crontab()
    assert daily.match_span(sunday) is None
    assert daily.describe() == "at 12:00 every day, by Weekdays"


def test_what_precedes_is_found_in_any_subclass_by_what_follows():
    class Shifted(Every):
        def following(self, after):
            slot = super().following(after - LITTLE)
            return slot if slot is None else slot + LITTLE

    for every in ("1s", "7m", "1h", "400d"):
        shifted = Shifted(every)
        slot = shifted.following(NOON)
        assert shifted.preceding(slot + LITTLE) == slot
        previous = shifted.preceding(slot)
        assert shifted.following(previous) == slot
        assert previous < NOON + LITTLE


def test_without_slots_nothing_precedes():
    class Never(Every):
        def following(self, after):
            return None

    assert Never("1h").preceding(NOON) is None
    assert Never("1h").preceding(datetime.min.replace(tzinfo=UTC)) is None


@pytest.mark.parametrize("answer", [5, None])
def test_a_schedule_that_is_described_by_no_text_is_refused(answer):
    class Speechless(Tides):
        def describe(self):
            return answer

    class Broken(Tides):
        def describe(self):
            raise OSError("no tables")

    with pytest.raises(ValueError, match=rf"^describe\(\) returned {answer}, which is no text$"):
        check_schedule(Speechless())
    with pytest.raises(ValueError, match=r"^describe\(\) failed: OSError: no tables$"):
        check_schedule(Broken())


class OnDays(Cron):
    """A crontab's schedule on some days of the month, an attribute of its own."""

    def __init__(self, expression, days):
        super().__init__(expression)
        self.days = days

    def following(self, after):
        slot = super().following(after)
        while slot is not None and slot.day not in self.days:
            slot = super().following(slot)
        return slot


def test_a_subclass_with_attributes_of_its_own_is_compared_by_them():
    assert OnDays("@daily", [1]) == OnDays("@daily", [1])
    assert hash(OnDays("@daily", [1])) == hash(OnDays("@daily", [1]))
    assert OnDays("@daily", [1]) != OnDays("@daily", [2])
    assert OnDays("@daily", [1]) != Cron("@daily")
    with pytest.raises(FrozenInstanceError):
        OnDays("@daily", [1]).timezone = "UTC"


def test_a_subclass_keeps_its_attributes_in_another_zone():
    bound = OnDays("0 12 * * *", [20]).with_timezone("Asia/Tokyo")
    assert isinstance(bound, OnDays)
    assert bound.following(NOON) == datetime(2026, 3, 20, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    "schedule",
    [
        OnDays("0 12 * * *", [20]),
        Cron("@daily", timezone="Asia/Tokyo"),
        Every("10s").starting(NOON).excluding([NOON.date()]).excluding(Cron("@daily")),
        At(NOON),
    ],
)
def test_copies_and_pickles_are_equal(schedule):
    for twin in (
        copy.copy(schedule),
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),
    ):
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert twin.following(NOON - HOUR) == schedule.following(NOON - HOUR)


def test_a_dataclass_of_a_dataclass_compares_all_fields():
    @dataclass(frozen=True)
    class Named(Every):
        name: str

        def __init__(self, interval, name):
            Every.__init__(self, interval)
            object.__setattr__(self, "name", name)

    assert Named("1h", "a") == Named("1h", "a")
    assert Named("1h", "a") != Named("1h", "b")


def test_a_slot_that_is_not_after_the_moment_is_refused():
    class Stuck(Tides):
        def following(self, after):
            return after

    with pytest.raises(ValueError, match=r"its slot 2026-03-10 12:00:00.* does not follow"):
        list(Stuck().between(NOON, NOON + HOUR))


def test_slots_of_ones_own_come_back_in_utc():
    class Local(Tides):
        def following(self, after):
            return super().following(after).astimezone(timezone(HOUR))

    [slot] = Local().between(NOON, NOON + 13 * HOUR)
    assert slot.tzinfo is UTC

    class Naive(Tides):
        def following(self, after):
            return super().following(after).replace(tzinfo=None)

    with pytest.raises(ValueError, match=r"its slot=.*use an aware datetime"):
        list(Naive().between(NOON, NOON + HOUR))


@pytest.mark.parametrize("schedule", [Every("1h"), At(NOON), Cron("0 * * * *")])
def test_the_ends_of_the_calendar_can_be_asked_about(schedule):
    for moment in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert list(schedule.between(moment, moment)) == []
        assert schedule.matches(moment) in (True, False)
