"""Schedules of one's own: what they have to say, and what comes of it."""

from datetime import datetime, timedelta, timezone

import pytest

from pyramid_cron.schedule import At, Cron, Every, Schedule

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

    with pytest.raises(TypeError, match=r"abstract.*(describe.*preceding|preceding.*describe)"):
        Never()


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


def test_what_has_the_methods_is_a_schedule_without_being_a_subclass():
    class Never:
        def following(self, after):
            return None

        preceding = following

        def matches(self, moment):
            return False

        def between(self, start, end):
            return iter(())

        def describe(self):
            return "never"

        def crontab(self):
            raise ValueError

    assert isinstance(Never(), Schedule)
    assert not isinstance("0 0 * * *", Schedule)


@pytest.mark.parametrize("schedule", [Every("1h"), At(NOON), Cron("0 * * * *")])
def test_the_ends_of_the_calendar_can_be_asked_about(schedule):
    for moment in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert list(schedule.between(moment, moment)) == []
        assert schedule.matches(moment) in (True, False)
