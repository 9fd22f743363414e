"""How the tasks are, by what is on record of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pyramid_cron.planning.health import (
    Health,
    HealthState,
    TaskHealth,
    TaskHealthInput,
    assess,
    assess_task,
)
from pyramid_cron.planning.snapshot import ActiveRun, PauseRule
from pyramid_cron.run import Run, RunState
from pyramid_cron.schedule import At, Cron, Every
from pyramid_cron.task import Retry, Task

from .builders import BY_HAND, HOUR, MINUTE, SECOND, active, at, pause, run, run_id, show, task

HOURLY = Cron("0 * * * *")


def record(
    task: Task | None,
    *,
    until: str | None = "12:00",
    running: tuple[ActiveRun, ...] = (),
    waiting_since: str | None = None,
    next_waiting_at: str | None = None,
    pause: PauseRule | None = None,
    last: Run | None = None,
    failed: bool = False,
    missed: bool = False,
    mean_duration: float | None = None,
    waits: bool = False,
    retry_waits: bool = False,
) -> TaskHealthInput:
    """Return what is known of a task; None is one that is not registered any more."""
    return TaskHealthInput(
        "gone" if task is None else task.name,
        task,
        window_end=None if until is None else at(until),
        active=running,
        waiting_since=None if waiting_since is None else at(waiting_since),
        next_waiting_at=None if next_waiting_at is None else at(next_waiting_at),
        pause=pause,
        last_run=last,
        has_failed=failed,
        has_missed=missed,
        mean_duration=mean_duration,
        is_waiting=waits or retry_waits,
        is_retry_waiting=retry_waits,
    )


def health_of(task_input: TaskHealthInput, now: str) -> TaskHealth:
    """Return how one task is at a moment."""
    return assess_task(task_input, at(now), show)


def state_of(task_input: TaskHealthInput, now: str) -> str:
    """Return the state of one task at a moment."""
    return health_of(task_input, now).state.value


def next_slot(task_input: TaskHealthInput, now: str) -> str | None:
    """Return the next slot of one task at a moment."""
    slot = health_of(task_input, now).next
    return None if slot is None else show(slot)


def health_at(*task_input: TaskHealthInput, last_tick: str | None, now: str) -> Health:
    """Return how everything is at a moment."""
    return assess(task_input, None if last_tick is None else at(last_tick), at(now), show)


class TestApplication:
    def test_all_is_well_where_ticks_come_and_tasks_succeed(self) -> None:
        last = run()
        health = health_at(record(task(), last=last), last_tick="12:00", now="12:00:30")
        assert health == Health(
            True,
            (TaskHealth("a", HealthState.OK, None, at("12:01"), last),),
            at("12:00"),
            30.0,
        )
        assert health.describe_problems() == []
        assert health.describe_silence() is None

    def test_where_no_tick_ever_came_it_is_not_healthy(self) -> None:
        health = health_at(record(task(), until=None), last_tick=None, now="12:00")
        assert not health.is_healthy
        assert (health.last_tick, health.since_last_tick) == (None, None)
        assert health.tasks[0].state is HealthState.OK
        assert health.describe_problems() == ["no tick has come yet"]

    def test_two_minutes_without_a_tick_are_healthy(self) -> None:
        health = health_at(last_tick="12:00", now="12:02")
        assert health.is_healthy
        assert health.is_ticking
        assert health.describe_problems() == []

    def test_more_than_two_minutes_without_a_tick_are_not(self) -> None:
        health = health_at(last_tick="12:00", now="12:02:01")
        assert not health.is_healthy
        assert not health.is_ticking
        assert health.describe_problems() == ["no tick has come for 121 s"]

    def test_a_tick_by_a_clock_that_is_ahead_has_just_come(self) -> None:
        health = health_at(last_tick="12:05", now="12:00")
        assert health.is_healthy
        assert health.since_last_tick == 0.0

    def test_a_task_in_a_bad_state_makes_it_unhealthy_and_says_so_in_a_line(self) -> None:
        tasks = [
            record(task("a"), last=run("a", state=RunState.FAILED, error="E: no"), failed=True),
            record(task("b")),
            record(task("c", HOURLY), missed=True),
        ]
        health = health_at(*tasks, last_tick="12:00", now="12:00:30")
        assert not health.is_healthy
        assert health.describe_problems() == [
            f"a: failing, run {run_id(at('12:00'))} failed: E: no",
            "c: missed, no tick came in time for its newest slot",
        ]

    def test_silence_comes_before_the_tasks(self) -> None:
        health = health_at(record(task(), missed=True), last_tick=None, now="12:00")
        assert [line.split(",")[0] for line in health.describe_problems()] == [
            "no tick has come yet",
            "a: missed",
        ]

    def test_without_tasks_only_ticks_count(self) -> None:
        assert health_at(last_tick="12:00", now="12:00") == Health(True, (), at("12:00"), 0.0)


class TestState:
    @pytest.mark.parametrize("state", list(HealthState))
    def test_a_state_equals_its_own_text(self, state: HealthState) -> None:
        assert state == str(state) == state.value == state.name.lower()

    def test_nobody_has_to_look_after_the_others(self) -> None:
        assert {state.value for state in HealthState if state.is_healthy} == {
            "running",
            "waiting",
            "paused",
            "ok",
            "orphaned",
        }


class TestLate:
    def test_a_slot_that_no_tick_came_for_is_late_after_three_minutes(self) -> None:
        task_input = record(task("a", Cron("5 * * * *")), until="12:00")
        assert state_of(task_input, "12:08") == "ok"
        late = health_of(task_input, "12:08:01")
        assert late.state is HealthState.LATE
        assert late.detail == "due since 12:05, and no tick has come for it"

    def test_it_is_not_late_once_a_tick_came(self) -> None:
        task_input = record(task("a", Cron("5 * * * *")), until="12:09")
        assert state_of(task_input, "12:30") == "ok"

    def test_a_new_task_is_not_late_for_slots_from_before(self) -> None:
        assert state_of(record(task("a", Cron("0 2 * * *")), until=None), "12:00") == "ok"

    def test_a_task_on_demand_is_never_late(self) -> None:
        assert state_of(record(task("a", None)), "2027-01-01 12:00") == "ok"

    def test_a_waiting_run_is_late_after_three_minutes(self) -> None:
        task_input = record(task("a", HOURLY), until="12:00", waiting_since="12:00:31")
        assert state_of(task_input, "12:03:31") == "ok"
        late = health_of(task_input, "12:03:32")
        assert (late.state, late.detail) == (HealthState.LATE, "waits to run since 12:00:31")

    def test_a_run_that_is_to_run_later_is_not_late(self) -> None:
        assert state_of(record(task("a", HOURLY), waiting_since="12:30"), "12:10") == "ok"

    def test_a_run_that_waits_for_an_active_one_is_not_late(self) -> None:
        task_input = record(task("a", HOURLY), waiting_since="12:00", running=(active(),))
        assert state_of(task_input, "12:09") == "running"

    @pytest.mark.parametrize(
        "policy", [task("a", None, idle=True), task("a", None, catch_up="all")]
    )
    def test_idle_runs_and_backlog_may_wait_for_an_hour(self, policy: Task) -> None:
        task_input = record(policy, waiting_since="12:00")
        assert state_of(task_input, "13:00") == "ok"
        assert state_of(task_input, "13:00:01") == "late"

    def test_a_slot_no_tick_came_for_is_named_before_a_waiting_run(self) -> None:
        task_input = record(task(), until="12:00", waiting_since="11:00")
        detail = health_of(task_input, "12:10").detail
        assert detail == "due since 12:01, and no tick has come for it"


class TestMissed:
    def test_a_task_whose_newest_slot_was_missed_says_so(self) -> None:
        missed = health_of(record(task(), missed=True), "12:00:30")
        assert missed.state is HealthState.MISSED
        assert missed.detail == "no tick came in time for its newest slot"

    def test_a_late_task_is_late_and_not_missed(self) -> None:
        assert state_of(record(task(), missed=True), "12:10") == "late"

    def test_a_missed_task_is_not_failing(self) -> None:
        assert state_of(record(task(), missed=True, failed=True), "12:00:30") == "missed"


class TestFailing:
    def test_a_task_whose_newest_run_failed_says_why(self) -> None:
        last = run("a", state=RunState.FAILED, error="ValueError: no\nway")
        failing = health_of(record(task(), last=last, failed=True), "12:00:30")
        assert failing.state is HealthState.FAILING
        assert failing.detail == f"run {last.id} failed: ValueError: no"

    def test_the_detail_has_the_state_of_the_run(self) -> None:
        last = run("a", state=RunState.TIMED_OUT)
        failing = health_of(record(task(), last=last, failed=True), "12:00:30")
        assert failing.detail == f"run {last.id} timed_out"

    def test_a_failure_is_known_even_once_its_run_is_pruned(self) -> None:
        failing = health_of(record(task(), failed=True), "12:00:30")
        assert (failing.state, failing.detail) == (
            HealthState.FAILING,
            "its newest run failed",
        )

    def test_whether_it_fails_does_not_depend_on_its_newest_run(self) -> None:
        last = run("a", state=RunState.FAILED, error="E")
        health = health_of(record(task(), last=last), "12:00:30")
        assert (health.state, health.detail, health.last) == (HealthState.OK, None, last)


class TestRetrying:
    def test_a_task_is_not_failing_while_another_attempt_waits(self) -> None:
        last = run("a", state=RunState.FAILED, error="ValueError: no")
        health = health_of(record(task(), last=last, failed=True, retry_waits=True), "12:00:30")
        assert health.state is HealthState.WAITING
        assert health.detail == f"for another attempt: run {last.id} failed: ValueError: no"
        assert health.state.is_healthy

    def test_nor_while_another_attempt_runs(self) -> None:
        first = active("a", "12:00")
        again = replace(first, run=replace(first.run, attempt=2))
        assert state_of(record(task(), failed=True, running=(again,)), "12:00:30") == "running"

    def test_a_first_attempt_at_another_slot_makes_no_difference(self) -> None:
        assert state_of(record(task(), failed=True, running=(active(),)), "12:00:30") == "failing"


class TestActivity:
    def test_a_task_with_an_active_run_is_running(self) -> None:
        assert state_of(record(task(), running=(active(),)), "12:00:30") == "running"

    def test_a_task_of_which_a_run_could_begin_is_waiting(self) -> None:
        health = health_of(record(task(), waits=True, waiting_since="12:00"), "12:00:30")
        assert (health.state, health.detail) == (HealthState.WAITING, "since 12:00")

    def test_a_task_that_has_nothing_to_run_yet_is_ok(self) -> None:
        assert state_of(record(task("a", None)), "12:00:30") == "ok"
        assert state_of(record(task("a", None), waiting_since="13:00"), "12:00:30") == "ok"


class TestGaveUp:
    RULE = replace(pause("a", "11:00", reason="3 failures in a row"), is_give_up=True)

    def test_a_task_that_gave_up_is_unhealthy_and_says_why(self) -> None:
        health = health_of(record(task(), failed=True, pause=self.RULE), "12:00")
        assert health.state is HealthState.GAVE_UP
        assert health.detail == "since 11:00: 3 failures in a row"
        assert not health.state.is_healthy
        assert health.next is None

    def test_it_has_not_given_up_once_somebody_pauses_it(self) -> None:
        assert state_of(record(task(), failed=True, pause=pause("a")), "12:00") == "paused"


class TestOrder:
    def test_tasks_to_look_after_come_first_the_worst_first(self) -> None:
        health = health_at(
            record(task("fine")),
            record(task("failing"), failed=True),
            record(task("paused"), pause=pause()),
            record(task("missed"), missed=True),
            record(task("gave up"), pause=TestGaveUp.RULE),
            last_tick="12:00",
            now="12:00",
        )
        names = [task.name for task in health.tasks_by_urgency]
        assert names == ["gave up", "missed", "failing", "fine", "paused"]
        assert [task.name for task in health.unhealthy_tasks] == names[:3]

    def test_tasks_are_counted_by_state(self) -> None:
        health = health_at(record(task("a")), record(task("b")), last_tick=None, now="12:00")
        counts = health.count_states()
        assert counts.pop(HealthState.OK) == 2
        assert set(counts.values()) == {0}


class TestStuck:
    def test_a_run_with_an_expired_lease_is_stuck(self) -> None:
        ongoing = active("a", "12:00", lease="12:05")
        task_input = record(task("a", HOURLY), running=(ongoing,))
        assert state_of(task_input, "12:05") == "running"
        stuck = health_of(task_input, "12:05:01")
        assert stuck.state is HealthState.STUCK
        assert stuck.detail == (
            f"gave no sign of life within its lease: run {ongoing.run.id} on web1"
            " (pid 4711), lease until 12:05"
        )

    def test_a_run_that_takes_longer_than_its_timeout_is_stuck(self) -> None:
        ongoing = active("a", "12:00")
        task_input = record(task("a", HOURLY, timeout=MINUTE), running=(ongoing,))
        assert state_of(task_input, "12:01") == "running"
        stuck = health_of(task_input, "12:01:01")
        assert stuck.state is HealthState.STUCK
        assert stuck.detail == f"running for 61 s, limit 60 s: {ongoing.describe(show)}"

    def test_a_timeout_counts_for_more_than_the_mean_duration(self) -> None:
        task_input = record(
            task("a", HOURLY, timeout=MINUTE), running=(active("a", "12:00"),), mean_duration=600.0
        )
        assert state_of(task_input, "12:01:01") == "stuck"

    def test_a_run_that_takes_ten_times_as_long_as_usual_is_stuck(self) -> None:
        task_input = record(task("a", HOURLY), running=(active("a", "12:00"),), mean_duration=120.0)
        assert state_of(task_input, "12:20") == "running"
        assert state_of(task_input, "12:20:01") == "stuck"

    def test_a_run_of_a_task_that_is_usually_quick_may_take_ten_minutes(self) -> None:
        task_input = record(task("a", HOURLY), running=(active("a", "12:00"),), mean_duration=1.0)
        assert state_of(task_input, "12:10") == "running"
        assert state_of(task_input, "12:10:01") == "stuck"

    def test_a_first_run_without_a_timeout_may_take_as_long_as_it_likes(self) -> None:
        task_input = record(task("a", HOURLY), running=(active("a", "12:00", lease="23:59"),))
        assert state_of(replace(task_input, window_end=at("23:00")), "23:30") == "running"

    def test_a_run_that_has_not_begun_does_not_take_long_yet(self) -> None:
        ongoing = active("a", "12:00", RunState.CLAIMED)
        task_input = record(task("a", HOURLY, timeout=MINUTE), running=(ongoing,))
        assert state_of(task_input, "12:10") == "running"

    def test_any_of_several_runs_may_be_stuck(self) -> None:
        running = (active("a", "12:09"), active("a", "12:00"))
        task_input = record(task("a", HOURLY, timeout=5 * MINUTE), running=running)
        detail = health_of(task_input, "12:10").detail
        assert detail is not None
        assert detail.endswith(running[1].describe(show))

    @pytest.mark.parametrize("timeout", [None, 5 * SECOND, 2 * HOUR])
    def test_a_run_that_no_worker_takes_over_is_stuck_after_three_minutes(
        self, timeout: timedelta | None
    ) -> None:
        policy = task("a", HOURLY, executor="celery", timeout=timeout)
        ongoing = active("a", "12:00", RunState.CLAIMED)
        task_input = record(policy, running=(ongoing,))
        assert state_of(task_input, "12:03") == "running"
        stuck = health_of(task_input, "12:03:01")
        assert stuck.state is HealthState.STUCK
        assert stuck.detail == (
            f"was sent, and no worker has taken it up within 3 minutes: {ongoing.describe(show)}"
        )

    def test_how_long_a_run_waited_before_it_was_sent_does_not_count(self) -> None:
        ongoing = active("a", "12:00", RunState.CLAIMED)
        sent = replace(ongoing, run=replace(ongoing.run, claimed=at("12:05")))
        task_input = record(task("a", HOURLY, executor="celery"), running=(sent,))
        assert state_of(task_input, "12:08") == "running"
        assert state_of(task_input, "12:08:01") == "stuck"

    def test_a_run_that_a_worker_took_over_is_not(self) -> None:
        policy = task("a", HOURLY, executor="celery")
        assert state_of(record(policy, running=(active("a", "12:00"),)), "12:10") == "running"

    @pytest.mark.parametrize("executor", ["request", "thread"])
    def test_a_run_that_waits_for_its_turn_in_a_process_is_not(self, executor: str) -> None:
        policy = task("a", HOURLY, executor=executor)
        task_input = record(policy, running=(active("a", "12:00", RunState.CLAIMED),))
        assert state_of(task_input, "12:10") == "running"

    def test_a_stuck_task_is_stuck_even_while_it_is_paused(self) -> None:
        task_input = record(task(), running=(active(lease="12:01"),), pause=pause())
        assert state_of(task_input, "12:02") == "stuck"


class TestPaused:
    def test_a_paused_task_says_since_when(self) -> None:
        health = health_of(record(task(), pause=pause("*", "11:00")), "12:00")
        assert (health.state, health.detail) == (HealthState.PAUSED, "since 11:00")

    def test_a_paused_task_has_no_next_run(self) -> None:
        rule = pause("*", "11:00", until="12:30")
        assert next_slot(record(task(), pause=rule), "12:00") is None

    def test_it_says_until_when_and_why(self) -> None:
        rule = pause("*", "11:00", until="13:00", reason="moving house")
        health = health_of(record(task(), pause=rule), "12:00")
        assert health.detail == "since 11:00 until 13:00: moving house"

    def test_a_paused_task_is_neither_late_nor_missed_nor_failing(self) -> None:
        task_input = record(task(), pause=pause(), missed=True, failed=True, waiting_since="11:00")
        assert state_of(task_input, "14:00") == "paused"


class TestOrphaned:
    def test_a_task_that_is_not_registered_any_more_is_orphaned(self) -> None:
        last = run("gone", state=RunState.FAILED)
        health = health_of(record(None, last=last, failed=True), "12:00")
        assert health == TaskHealth(
            "gone", HealthState.ORPHANED, "on record, but not registered", None, last
        )

    def test_nothing_else_on_record_changes_that(self) -> None:
        task_input = record(
            None,
            running=(active("gone", lease="11:00"),),
            pause=pause(),
            missed=True,
            waiting_since="10:00",
            next_waiting_at="12:30",
        )
        assert state_of(task_input, "12:00") == "orphaned"
        assert next_slot(task_input, "12:00") is None


class TestNextSlot:
    def test_the_next_slot_comes_after_those_that_are_handled(self) -> None:
        assert next_slot(record(task("a", HOURLY), until="12:00"), "12:30") == "13:00"

    def test_the_next_slot_of_a_new_task_comes_after_now(self) -> None:
        assert next_slot(record(task("a", HOURLY), until=None), "12:30") == "13:00"

    def test_a_slot_that_is_due_already_is_not_the_next(self) -> None:
        task_input = record(task("a", Cron("5 * * * *")), until="12:00")
        assert next_slot(task_input, "12:04:59") == "12:05"
        assert next_slot(task_input, "12:05") == "13:05"
        assert next_slot(task_input, "12:09") == "13:05"

    def test_a_window_that_ends_in_the_future_hides_no_slot(self) -> None:
        """The clock was set back, or that of another host is ahead."""
        assert next_slot(record(task("a", HOURLY), until="15:30"), "12:30") == "13:00"
        assert state_of(record(task("a", HOURLY), until="15:30"), "12:30") == "ok"

    def test_a_task_on_demand_or_whose_moment_is_over_has_none(self) -> None:
        assert next_slot(record(task("a", None)), "12:00") is None
        assert next_slot(record(task("a", At(at("11:00")))), "12:00") is None

    def test_the_next_slot_with_fixed_delay_is_the_waiting_one(self) -> None:
        policy = task("a", Every("1h"), overlap="delay")
        assert next_slot(record(policy, next_waiting_at="12:20"), "12:02") == "12:20"

    def test_it_may_be_due_already(self) -> None:
        policy = task("a", Every("1h"), overlap="delay")
        assert next_slot(record(policy, next_waiting_at="12:20"), "12:21") == "12:20"

    def test_a_slot_further_ahead_does_not_count(self) -> None:
        policy = task("a", Every("1h"), overlap="delay")
        assert next_slot(record(policy, next_waiting_at="13:03"), "12:02") == "13:03"
        assert next_slot(record(policy, next_waiting_at="13:04"), "12:02") == "13:00"

    def test_a_retry_may_be_further_ahead(self) -> None:
        policy = task("a", Every("5m"), overlap="delay", retry=Retry(attempts=2, delay=1800))
        assert next_slot(record(policy, next_waiting_at="12:30"), "12:00") == "12:30"

    def test_a_waiting_run_of_a_task_without_fixed_delay_is_not_its_next_slot(self) -> None:
        assert next_slot(record(task("a", HOURLY), next_waiting_at="12:20"), "12:02") == "13:00"

    def test_a_task_with_fixed_delay_is_not_late_by_its_schedule_while_a_slot_waits(self) -> None:
        policy = task("a", Every("5m"), overlap="delay")
        waits = record(policy, until="12:00", next_waiting_at="12:12")
        assert state_of(waits, "12:10") == "ok"
        assert state_of(replace(waits, next_waiting_at=None), "12:10") == "late"

    def test_nor_while_a_run_is_active(self) -> None:
        policy = task("a", Every("5m"), overlap="delay")
        task_input = record(policy, until="12:00", running=(active("a", origin=BY_HAND),))
        assert state_of(task_input, "12:10") == "running"
        assert next_slot(task_input, "12:12") == "12:15"
