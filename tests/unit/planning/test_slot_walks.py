"""The calendar goes on from window to window, and answers any other window as well."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from itertools import islice

import pytest

from pyramid_cron.planning.slots import SlotCalendar
from pyramid_cron.schedule import At, Cron, Every, Schedule

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 6, 10, 12, tzinfo=timezone.utc)


class Counted(Schedule):
    """A schedule of one's own: every so many minutes, it counts how often it is asked."""

    def __init__(self, minutes: int) -> None:
        self.every = Every(f"{minutes}m")
        self.questions = 0

    def following(self, after: datetime) -> datetime | None:
        self.questions += 1
        return self.every.following(after)


def calendar_of(*schedules, offset: int = 0) -> SlotCalendar:
    """One task for each schedule."""
    return SlotCalendar([((schedule,), offset) for schedule in schedules])


def minutes(slots) -> list[tuple[int, int]]:
    return [((slot - NOON) // MINUTE, position) for slot, position in slots]


def test_the_next_window_asks_only_the_schedules_that_are_due() -> None:
    schedules = [Counted(1), Counted(7), Counted(10_000)]
    calendar = calendar_of(*schedules)
    calendar.due(NOON - MINUTE, NOON)
    before = [schedule.questions for schedule in schedules]
    for minute in range(20):
        calendar.due(NOON + minute * MINUTE, NOON + (minute + 1) * MINUTE)
    questions = [schedule.questions - n for schedule, n in zip(schedules, before, strict=True)]
    assert questions == [20, 3, 0]


@pytest.mark.parametrize(
    "elsewhere", [-10_000 * MINUTE, timedelta(seconds=-30), timedelta(days=400)]
)
def test_another_window_in_between_leaves_the_next_one_cheap(elsewhere) -> None:
    seldom = Counted(10_000_000)
    calendar = calendar_of(seldom, Every("1m"))
    calendar.due(NOON - MINUTE, NOON)
    if elsewhere < timedelta(0):
        calendar.due(NOON + elsewhere, NOON + elsewhere + MINUTE)
    else:
        list(islice(calendar.slots_after(NOON + elsewhere), 3))
    before = seldom.questions
    assert minutes(calendar.due(NOON, NOON + MINUTE)) == [(1, 1)]
    assert seldom.questions == before


def test_two_ticks_at_a_time_with_windows_of_their_own_are_both_cheap() -> None:
    seldom = Counted(10_000_000)
    calendar = calendar_of(seldom, Every("1m"))
    half = MINUTE / 2
    for minute in range(10):
        since = NOON + minute * MINUTE
        assert minutes(calendar.due(since, since + MINUTE)) == [(minute + 1, 1)]
        assert minutes(calendar.due(since - half, since + half)) == [(minute, 1)]
    assert seldom.questions == 2


def test_after_the_clock_was_set_back_it_goes_on_from_there() -> None:
    seldom = Counted(10_000_000)
    calendar = calendar_of(seldom, Every("1m"))
    calendar.due(NOON, NOON + MINUTE)
    for minute in range(-100, -90):
        start = NOON + minute * MINUTE
        assert minutes(calendar.due(start, start + MINUTE)) == [(minute + 1, 1)]
    assert seldom.questions == 2


def test_slots_between_two_windows_are_left_out() -> None:
    calendar = calendar_of(Cron("* * * * *"), Every("7m"))
    calendar.due(NOON - MINUTE, NOON)
    assert minutes(calendar.due(NOON + 30 * MINUTE, NOON + 31 * MINUTE)) == [(31, 0)]
    assert minutes(calendar.due(NOON, NOON + MINUTE)) == [(1, 0)]


def test_a_window_may_be_asked_for_again() -> None:
    calendar = calendar_of(Cron("*/2 * * * *"), At(NOON + MINUTE))
    windows = [calendar.due(NOON, NOON + 3 * MINUTE) for _ in range(3)]
    assert [minutes(slots) for slots in windows] == [[(1, 1), (2, 0)]] * 3


def test_threads_may_share_a_calendar() -> None:
    schedules = [Cron("* * * * *"), Cron("*/7 * * * *", timezone="Europe/Berlin"), Every("90s")]
    calendar = calendar_of(*schedules)
    chance = random.Random(1)
    windows = [
        (NOON + chance.randrange(300) * MINUTE, chance.randrange(1, 9) * MINUTE) for _ in range(400)
    ]
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda window: calendar.due(window[0], sum(window, MINUTE)), windows)
        for (since, length), slots in zip(windows, answers, strict=True):
            assert slots == calendar_of(*schedules).due(since, since + length + MINUTE)


def test_the_next_slot_of_all() -> None:
    calendar = calendar_of(Cron("*/5 * * * *"), Every("90s"), offset=10)
    calendar.due(NOON - MINUTE, NOON)
    assert calendar.next_slot(NOON) == NOON + timedelta(seconds=10)
    assert calendar.next_slot(NOON + timedelta(seconds=10)) == NOON + timedelta(seconds=100)
    assert calendar.next_slot(NOON - 3 * MINUTE) == NOON + timedelta(seconds=-170)
    assert calendar.next_slot(NOON + 60 * MINUTE) == NOON + timedelta(hours=1, seconds=10)


def test_asking_for_the_next_slot_takes_nothing_from_the_next_window() -> None:
    calendar = calendar_of(Cron("* * * * *"))
    calendar.due(NOON - MINUTE, NOON)
    assert calendar.next_slot(NOON + MINUTE) == NOON + 2 * MINUTE
    assert minutes(calendar.due(NOON, NOON + MINUTE)) == [(1, 0)]


def test_the_next_slot_is_known_where_the_last_window_ended() -> None:
    schedule = Counted(3)
    calendar = calendar_of(schedule)
    calendar.due(NOON, NOON + MINUTE)
    before = schedule.questions
    assert calendar.next_slot(NOON + MINUTE) == NOON + 3 * MINUTE
    assert schedule.questions == before


def test_next_slots_one_after_the_other_cost_what_is_passed_by() -> None:
    schedules = [Counted(minute) for minute in (2, 3, 50, 51, 52)]
    calendar = calendar_of(*schedules)
    calendar.next_slot(NOON)
    before = sum(schedule.questions for schedule in schedules)
    found = [calendar.next_slot(NOON + minute * MINUTE) for minute in range(5)]
    assert found == [NOON + minute * MINUTE for minute in (2, 2, 3, 4, 6)]
    assert sum(schedule.questions for schedule in schedules) - before == 3


class TestChanges:
    def test_an_entry_that_comes_and_goes_is_asked_alone(self) -> None:
        others = [Counted(minute) for minute in (2, 3, 5)]
        calendar = calendar_of(*others)
        calendar.due(NOON - MINUTE, NOON)
        before = sum(schedule.questions for schedule in others)
        new = Counted(1)
        calendar.add(7, ((new,), 0))
        assert minutes(calendar.due(NOON, NOON + MINUTE)) == [(1, 7)]
        calendar.drop(7, ((new,), 0))
        assert sum(schedule.questions for schedule in others) == before
        assert minutes(calendar.due(NOON + MINUTE, NOON + 3 * MINUTE)) == [(2, 0), (3, 1)]

    def test_equal_schedules_come_and_go_one_by_one(self) -> None:
        calendar = calendar_of(Every("1m"), Every("1m"))
        calendar.due(NOON - MINUTE, NOON)
        calendar.drop(0, ((Every("1m"),), 0))
        assert minutes(calendar.due(NOON, NOON + MINUTE)) == [(1, 1)]
        calendar.add(0, ((Every("1m"), Every("90s")), 0))
        assert minutes(calendar.due(NOON + MINUTE, NOON + 2 * MINUTE)) == [
            (1, 0),
            (2, 0),
            (2, 1),
        ]
        for position, schedules in enumerate([(Every("1m"), Every("90s")), (Every("1m"),)]):
            calendar.drop(position, (schedules, 0))
        assert calendar.due(NOON + 2 * MINUTE, NOON + 5 * MINUTE) == []
        assert calendar.next_slot(NOON + 5 * MINUTE) is None

    def test_many_that_have_gone_are_not_kept(self) -> None:
        calendar = calendar_of(Every("1m"))
        calendar.due(NOON - MINUTE, NOON)
        for number in range(1000):
            entry = ((At(NOON + timedelta(days=1 + number)),), 0)
            calendar.add(1, entry)
            calendar.drop(1, entry)
        [walk] = calendar._walks
        assert len(walk._heap) < 300
        assert minutes(calendar.due(NOON, NOON + MINUTE)) == [(1, 0)]

    def test_one_that_has_gone_is_not_asked_again(self) -> None:
        silent = Counted(1)
        calendar = calendar_of(Every("1m"))
        calendar.due(NOON - MINUTE, NOON)
        calendar.add(1, ((silent,), 0))
        calendar.drop(1, ((silent,), 0))
        questions = silent.questions
        calendar.due(NOON, NOON + 3 * MINUTE)
        assert silent.questions == questions


def test_without_further_slots_there_is_no_next_slot() -> None:
    assert calendar_of().next_slot(NOON) is None
    calendar = calendar_of(At(NOON))
    assert calendar.next_slot(NOON - MINUTE) == NOON
    assert calendar.next_slot(NOON) is None


def test_all_slots_after_a_moment_come_one_after_the_other() -> None:
    calendar = calendar_of(Cron("0 * * * *"), Cron("*/30 * * * *"))
    slots = islice(calendar.slots_after(NOON), 3)
    assert [((slot - NOON) // MINUTE, list(positions)) for slot, positions in slots] == [
        (30, [1]),
        (60, [0, 1]),
        (90, [1]),
    ]


class NoonOnly(Cron):
    """Every minute, as a cron; but it has slots at noon only."""

    __slots__ = ()

    def following(self, after: datetime) -> datetime | None:
        return Cron("0 12 * * *").following(after)


def test_a_schedule_of_ones_own_is_asked_for_its_slots() -> None:
    calendar = calendar_of(Cron("* * * * *"), NoonOnly("* * * * *"))
    assert minutes(calendar.due(NOON - MINUTE, NOON + MINUTE)) == [(0, 0), (0, 1), (1, 0)]


class Broken(Every):
    """Raises for a while."""

    __slots__ = ()
    raises = False

    def following(self, after: datetime) -> datetime | None:
        if Broken.raises:
            raise OSError("no holidays today")
        return super().following(after)


def test_a_schedule_that_raises_leaves_the_others_alone(monkeypatch, caplog) -> None:
    calendar = calendar_of(Every("1m"), Broken("1m"))
    calendar.due(NOON - MINUTE, NOON)
    monkeypatch.setattr(Broken, "raises", True)
    assert minutes(calendar.due(NOON, NOON + MINUTE)) == [(1, 0), (1, 1)]
    assert minutes(calendar.due(NOON + MINUTE, NOON + 2 * MINUTE)) == [(2, 0)]
    assert minutes(calendar_of(Every("1m"), Broken("1m")).due(NOON, NOON + MINUTE)) == [(1, 0)]
    [message, *_] = caplog.messages
    assert message == "schedule Broken('1m') failed: its tasks have no slots as long as it does"
    assert "no holidays today" in caplog.text
    monkeypatch.setattr(Broken, "raises", False)
    assert minutes(calendar.due(NOON + 2 * MINUTE, NOON + 3 * MINUTE)) == [(3, 0), (3, 1)]


class Stuck(Every):
    """Always says the moment that it is asked about."""

    __slots__ = ()

    def following(self, after: datetime) -> datetime | None:
        return after


def test_a_schedule_that_does_not_move_on_is_due_never(caplog) -> None:
    assert calendar_of(Stuck("1m")).due(NOON, NOON + MINUTE) == []
    assert "Stuck('1m'): its slot 2026-06-10 12:00:00+00:00 does not follow" in caplog.text


class Announced(Every):
    """Has slots once they are announced."""

    __slots__ = ()
    slots = ()

    def following(self, after: datetime) -> datetime | None:
        return min((slot for slot in Announced.slots if slot > after), default=None)


def test_a_schedule_of_ones_own_without_slots_may_have_some_later(monkeypatch) -> None:
    calendar = calendar_of(Announced("1m"), At(NOON))
    assert minutes(calendar.due(NOON - MINUTE, NOON)) == [(0, 1)]
    monkeypatch.setattr(Announced, "slots", (NOON + MINUTE, NOON + 5 * MINUTE))
    assert minutes(calendar.due(NOON, NOON + MINUTE)) == [(1, 0)]
    assert minutes(calendar.due(NOON + MINUTE, NOON + 9 * MINUTE)) == [(5, 0)]
    monkeypatch.setattr(Announced, "slots", (NOON + 10 * MINUTE,))
    assert minutes(calendar.due(NOON + 9 * MINUTE, NOON + 10 * MINUTE)) == [(10, 0)]


class OnHours(Cron):
    """A cron's slots in some hours, which it keeps itself."""

    def __init__(self, expression: str, *hours: int) -> None:
        super().__init__(expression)
        self.hours = hours

    def following(self, after: datetime) -> datetime | None:
        slot = super().following(after)
        while slot is not None and slot.hour not in self.hours:
            slot = super().following(slot)
        return slot


def test_schedules_that_differ_in_attributes_of_their_own_are_asked_apart() -> None:
    calendar = calendar_of(OnHours("0 * * * *", 13), OnHours("0 * * * *", 14, 15))
    assert minutes(calendar.due(NOON, NOON + 180 * MINUTE)) == [(60, 0), (120, 1), (180, 1)]


def test_slots_of_ones_own_may_be_in_any_zone() -> None:
    class Local(Every):
        __slots__ = ()

        def following(self, after: datetime) -> datetime | None:
            slot = super().following(after)
            return slot and slot.astimezone(timezone(timedelta(hours=2)))

    [(slot, _)] = calendar_of(Local("1m")).due(NOON, NOON + MINUTE)
    assert slot.tzinfo is timezone.utc


def test_limits_of_a_schedule_are_obeyed() -> None:
    limited = Every("1m").starting(NOON + 2 * MINUTE).ending(NOON + 9 * MINUTE)
    limited = limited.excluding(Cron("3-6 * * * *"))
    calendar = calendar_of(limited)
    windows = [calendar.due(NOON + n * MINUTE, NOON + (n + 1) * MINUTE) for n in range(12)]
    assert [minute for window in windows for minute, _ in minutes(window)] == [2, 7, 8, 9]
    assert calendar.next_slot(NOON + 2 * MINUTE) == NOON + 7 * MINUTE
