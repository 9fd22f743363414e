"""When a process makes a beat, and a tick of its own, by a clock that goes as far as it waits."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from pyramid_cron.errors import StoreError
from pyramid_cron.planning.slots import SlotCalendar
from pyramid_cron.runtime import dispatcher as dispatcher_module
from pyramid_cron.runtime.dispatcher import (
    TICK_SILENCE_SECONDS,
    Dispatcher,
    DispatcherPorts,
    WaitingPeek,
)
from pyramid_cron.schedule import At, Every
from tests.apps import NOON

BUDGET = 60.0


class World:
    """An application whose clock goes on while its dispatcher waits, and what that has done."""

    def __init__(self, *schedules, makes_beats=True):
        self.seconds = 0.0
        self.calendar = SlotCalendar([((schedule,), 0) for schedule in schedules])
        self.window_end = None
        self.waiting = {}
        self.is_draining = self.is_stopping = False
        #: What is to happen as the clock reaches a second.
        self.events = {}
        self.beats, self.ticks, self.budgets, self.waits = [], [], [], []
        self.thread = SimpleNamespace(start=lambda: None, is_alive=lambda: True)
        self.does_run = True
        ports = DispatcherPorts(
            clock=lambda: self.now,
            next_slot=lambda after: self.calendar.next_slot(after),
            window_end=lambda: self.window_end,
            peek=lambda now: self.peek(now),
            is_draining=lambda: self.is_draining,
            beat=lambda *values: self.beat(*values),
            tick=self.tick,
        )
        self.dispatcher = Dispatcher(self, ports, BUDGET, makes_beats)
        self.dispatcher._wake_event = self

    @property
    def now(self):
        return NOON + timedelta(seconds=self.seconds)

    def peek(self, now):
        startable = {name for name, second in self.waiting.items() if second <= self.seconds}
        rest = [second for second in self.waiting.values() if second > self.seconds]
        moment = NOON + timedelta(seconds=min(rest)) if rest else None
        return WaitingPeek(frozenset(startable), moment)

    def beat(self, now, budget, environ):
        self.beats.append(self.seconds)
        self.budgets.append(budget)
        self.window_end = now

    def tick(self, now, environ):
        self.ticks.append(self.seconds)
        self.window_end = now

    # What the dispatcher asks of its supervisor and its event.

    def make_thread(self, name, function):
        return self.thread

    def start_thread(self, name, function):
        if self.does_run:
            function()
        return True

    def wait(self, seconds):
        self.waits.append(seconds)
        assert len(self.waits) < 1000, "it does not rest"
        due = [second for second in self.events if second <= self.seconds + seconds]
        self.seconds = min(due, default=self.seconds + seconds)
        if due:
            self.events.pop(self.seconds)()

    def set(self):
        pass

    def clear(self):
        pass

    # What the test has it do.

    def hit(self):
        with self.hanging_hit():
            pass

    def hanging_hit(self):
        """One whose answer comes when the block ends."""
        self.window_end = self.now
        return self.dispatcher.hit({})

    def run_for(self, seconds):
        self.events[self.seconds + seconds] = self.dispatcher.stop
        self.dispatcher.run()


@pytest.fixture
def world(monkeypatch):
    def make(*schedules, **options):
        world = World(*schedules, **options)
        clock = SimpleNamespace(monotonic=lambda: world.seconds)
        monkeypatch.setattr(dispatcher_module, "time", clock)
        monkeypatch.setattr(dispatcher_module, "BEAT_WAIT_SECONDS", 0.0)
        return world

    return make


class TestBeats:
    def test_a_slot_between_minutes_has_one_at_its_moment(self, world):
        at = world(Every("7s"), At("2026-06-15T12:00:10.500Z"))
        at.hit()
        at.run_for(22)
        # Noon is 1 s after a multiple of 7.
        assert at.beats == pytest.approx(slots_of(Every("7s"), 22, 10.5))

    def test_where_nothing_is_due_there_is_none(self, world):
        at = world()
        at.hit()
        at.run_for(90)
        assert at.beats == []
        assert set(at.waits) == {1.0}

    def test_a_run_that_another_process_lets_wait_is_found_within_a_second(self, world):
        at = world()
        at.hit()
        at.events[3.5] = lambda: at.waiting.update(run=3)
        at.run_for(10)
        assert at.beats == [3.5]  # once, though it goes on waiting

    def test_a_retry_begins_when_its_delay_is_over(self, world):
        at = world()
        at.waiting = {"retry": 4.25}
        at.hit()
        at.run_for(10)
        assert at.beats == [4.25]

    def test_room_that_became_free_is_used_if_something_waits(self, world):
        at = world()
        at.waiting = {"run": 0}
        at.hit()
        at.events |= {2.5: at.dispatcher.wake, 4.5: at.waiting.clear, 5.5: at.dispatcher.wake}
        at.run_for(10)
        assert at.beats == [1.0, 2.5]

    def test_threads_that_go_on_by_themselves_need_none_until_they_have_ended(self, world):
        at = world()
        at.waiting = {"run": 0}
        at.hit()

        def drain(does_drain):
            at.is_draining = does_drain
            at.dispatcher.wake()

        at.events |= {2.5: lambda: drain(True), 6.5: lambda: drain(False)}
        at.run_for(10)
        assert at.beats == [1.0, 6.5]

    def test_it_has_what_is_left_of_the_budget_of_its_tick(self, world):
        at = world(Every("50s"))
        at.hit()
        at.run_for(110)
        assert at.budgets == [BUDGET - at.beats[0], 0.0]

    def test_without_beats_there_is_no_thread(self, world):
        at = world(Every("1s"), makes_beats=False)
        at.hit()
        assert not at.dispatcher.is_awake


class TestRest:
    def test_beats_rest_two_minutes_after_the_last_hit(self, world):
        at = world(Every("1s"))
        at.hit()
        assert at.dispatcher.is_awake
        at.dispatcher.run()
        assert at.beats[-1] == pytest.approx(TICK_SILENCE_SECONDS)
        assert not at.dispatcher.is_awake

    def test_while_a_hit_has_no_answer_they_go_on_and_handle_whole_minutes_too(self, world):
        """It may keep the next hits from coming."""
        at = world()
        at.seconds = 0.5
        with at.hanging_hit():
            at.run_for(4 * TICK_SILENCE_SECONDS)
            assert at.beats == [60.0 * minute for minute in range(1, 9)]
        at.dispatcher.run()
        assert not at.dispatcher.is_awake

    def test_a_minute_is_left_to_its_hit_while_the_last_one_may_soon_be_answered(self, world):
        at = world()
        at.seconds = 55.0
        with at.hanging_hit():
            at.run_for(20)
        assert at.beats == [66.0]

    def test_a_hit_wakes_it(self, world):
        at = world(Every("1s"))
        at.hit()
        at.dispatcher.run()
        at.hit()
        assert at.dispatcher.is_awake
        at.dispatcher.run()
        assert at.beats[-1] == pytest.approx(2 * TICK_SILENCE_SECONDS)

    def test_a_process_that_stops_makes_none(self, world):
        at = world(Every("1s"))
        at.hit()

        def stop():
            at.is_stopping = True

        at.events[2.5] = stop
        at.dispatcher.run()
        assert (at.beats, at.seconds) == ([1.0, 2.0], 2.5)

    def test_one_that_was_forked_has_a_thread_of_its_own_only_after_a_hit(self, world):
        at = world(Every("1s"))
        at.hit()
        at.dispatcher.reset_after_fork()
        assert not at.dispatcher.is_awake
        at.dispatcher._wake_event = at
        at.dispatcher.run()
        assert at.beats == []
        at.hit()
        assert at.dispatcher.is_awake

    def test_without_a_thread_all_waits_for_the_next_hit(self, world):
        def fail():
            raise RuntimeError("can't start new thread")

        at = world(Every("1s"))
        at.thread.start = fail
        at.hit()
        assert not at.dispatcher.is_awake


class TestTrouble:
    def test_a_store_that_is_away_is_asked_once_a_second(self, world):
        at = world(Every("1s"))
        at.hit()

        def fail(now):
            raise StoreError("no")

        at.peek, peek = fail, at.peek
        at.events[30.5] = lambda: setattr(at, "peek", peek)
        at.run_for(31)
        assert len(at.waits) < 40
        assert at.beats[0] == 30.5

    def test_a_trouble_that_lasts_is_logged_once(self, world, caplog):
        def fail(*_):
            at.beats.append(at.seconds)
            raise StoreError("is read-only")

        at = world()
        at.waiting = {"run": 0}
        at.hit()
        at.beat = fail
        at.run_for(10)
        assert len(at.beats) > 5
        assert [record.getMessage() for record in caplog.records] == ["beat failed: is read-only"]

    def test_a_beat_that_fails_is_repeated_a_second_later(self, world, caplog):
        at = world()
        at.waiting = {"run": 0}
        at.hit()
        outcomes = [StoreError("no"), ValueError("no"), None]

        def beat(now, budget, environ):
            at.beats.append(at.seconds)
            if error := outcomes.pop(0):
                raise error

        at.beat = beat
        at.run_for(10)
        assert at.beats == [1.0, 2.0, 3.0]
        assert "beat failed: no" in caplog.text
        assert "beat failed: internal error" in caplog.text

    def test_while_one_waits_for_its_claims_there_is_no_other(self, world):
        at = world(Every("1s"))
        at.hit()
        at.does_run = False
        started = []
        at.start_thread = lambda name, function: started.append(at.seconds) or True

        def claim():
            at.window_end = at.now

        at.events[5.5] = claim
        at.run_for(7.5)
        assert started == [1.0, 6.0]
        assert len(at.waits) < 20

    def test_one_whose_task_hangs_holds_up_no_other(self, world):
        at = world(Every("1s"))
        at.hit()
        started = []

        def start_thread(name, function):
            started.append(at.seconds)
            at.window_end = at.now
            return True

        at.start_thread = start_thread
        at.run_for(4.5)
        assert started == [1.0, 2.0, 3.0, 4.0]


class TestOwnTicks:
    def test_they_come_at_each_minute_from_the_next_one_on(self, world):
        at = world()
        at.seconds = 15.0
        at.dispatcher.start_ticking()
        at.run_for(120)
        assert at.ticks == [60.0, 120.0]

    def test_a_worker_makes_one_at_once(self, world):
        at = world()
        at.seconds = 15.0
        at.dispatcher.start_ticking(at_once=True)
        at.run_for(60)
        assert at.ticks == [15.0, 60.0]

    def test_with_beats_between_them(self, world):
        at = world(Every("20s"))
        at.dispatcher.start_ticking(at_once=True)
        at.run_for(70)
        assert (at.ticks, at.beats) == ([0.0, 60.0], [20.0, 40.0])

    def test_and_without_where_beats_are_off(self, world):
        at = world(Every("20s"), makes_beats=False)
        at.dispatcher.start_ticking(at_once=True)
        at.run_for(70)
        assert (at.ticks, at.beats) == ([0.0, 60.0], [])

    def test_where_the_application_is_made_before_the_fork_its_children_make_them(self, world):
        at = world()
        at.dispatcher.start_ticking(after_fork=True)
        assert not at.dispatcher.is_awake
        at.dispatcher.reset_after_fork()
        assert at.dispatcher.makes_ticks
        assert at.dispatcher.is_awake

    def test_a_process_that_such_a_child_forks_makes_none(self, world):
        at = world()
        at.dispatcher.start_ticking(after_fork=True)
        at.dispatcher.reset_after_fork()
        at.dispatcher.reset_after_fork()
        assert not at.dispatcher.makes_ticks


def slots_of(schedule, until, *more):
    slots = schedule.between(NOON, after(until))
    return sorted([*(seconds(slot) for slot in slots), *more])


def after(second):
    return NOON + timedelta(seconds=second)


def seconds(moment):
    return (moment - NOON).total_seconds()
