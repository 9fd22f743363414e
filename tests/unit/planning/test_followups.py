"""What waits once a run is over: another attempt, or the next slot of a task with fixed delay."""

from __future__ import annotations

import pytest

from pyramid_cron.planning.followups import (
    floor_to_second,
    followups,
    is_exhausted,
)
from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import (
    BACKFILL_ORIGIN,
    PARALLEL_BACKFILL_ORIGIN,
    RunState,
    TaskTimeout,
    Trigger,
    WaitReason,
)
from pyramid_cron.schedule import At, Cron, Every
from pyramid_cron.task import Retry

from .builders import BY_HAND, HOUR, SECOND, at, run, show, slots, task

FAILURES = [RunState.FAILED, RunState.TIMED_OUT, RunState.LOST]
TWICE = Retry(attempts=2, delay=60)


class TestRetry:
    @pytest.mark.parametrize("state", FAILURES)
    def test_a_failed_run_is_retried(self, state: RunState) -> None:
        slot = run("a", "12:00", state, finished="12:00:10")
        assert followups(task(retry=TWICE), slot) == [
            WaitingRun("a", at("12:00"), Trigger.RETRY, at("12:01:10"), attempt=2)
        ]

    def test_it_is_another_run_and_waits_because_it_is_a_retry(self) -> None:
        [retry] = followups(task(retry=TWICE), run("a", "12:00", RunState.FAILED))
        assert (retry.id, retry.why) == (None, WaitReason.RETRY)

    @pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.CANCELLED, RunState.SKIPPED])
    def test_nothing_follows_a_run_that_did_not_fail(self, state: RunState) -> None:
        assert followups(task(retry=TWICE), run("a", "12:00", state)) == []

    @pytest.mark.parametrize("state", FAILURES)
    def test_nothing_follows_the_last_attempt(self, state: RunState) -> None:
        assert followups(task(retry=TWICE), run("a", "12:00", state, attempt=2)) == []

    def test_nothing_follows_a_failure_of_a_task_without_retries(self) -> None:
        assert followups(task(), run("a", "12:00", RunState.FAILED)) == []

    def test_the_wait_counts_from_the_second_in_which_the_run_ended(self) -> None:
        slot = run("a", "12:00", RunState.FAILED, finished="12:00:00.300")
        [retry] = followups(task(retry=TWICE), slot)
        assert retry.not_before == at("12:01")

    @pytest.mark.parametrize(
        ("attempt", "due"), [(1, "12:01"), (2, "12:02"), (3, "12:04"), (4, "12:05")]
    )
    def test_each_wait_is_longer_than_the_one_before_up_to_a_limit(
        self, attempt: int, due: str
    ) -> None:
        retry = Retry(attempts=9, delay=60, factor=2, max_delay=300)
        slot = run("a", "11:00", RunState.FAILED, finished="12:00", attempt=attempt)
        [following_run] = followups(task(retry=retry), slot)
        assert show(following_run.not_before) == due
        assert following_run.attempt == attempt + 1

    def test_an_attempt_has_the_payload_of_the_one_before(self) -> None:
        slot = run("a", "12:00", RunState.FAILED, origin=BY_HAND, payload="parcel 5")
        [retry] = followups(task(retry=TWICE), slot)
        assert (retry.payload, retry.origin) == ("parcel 5", BY_HAND)

    @pytest.mark.parametrize("origin", [BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN])
    def test_a_retry_of_a_backfill_is_part_of_the_backfill(self, origin: str) -> None:
        slot = run("a", "12:00", RunState.FAILED, origin=origin, trigger=Trigger.BACKFILL)
        [retry] = followups(task(retry=TWICE), slot)
        assert (retry.origin, retry.trigger) == (origin, Trigger.RETRY)

    def test_a_wait_of_nothing_is_due_at_once(self) -> None:
        slot = run("a", "12:00", RunState.FAILED, finished="12:00:10.500")
        [retry] = followups(task(retry=Retry(attempts=2, delay=0)), slot)
        assert retry.not_before == at("12:00:10")


class TestWhatTheErrorSays:
    def test_nothing_follows_a_run_that_gave_up(self) -> None:
        assert followups(task(retry=TWICE), run(state=RunState.FAILED, is_given_up=True)) == []

    def test_the_next_attempt_is_when_the_error_says(self) -> None:
        slot = run("a", "12:00", RunState.FAILED, finished="12:00:10", retry_after=2 * HOUR)
        [retry] = followups(task(retry=TWICE), slot)
        assert (retry.attempt, retry.not_before) == (2, at("14:00:10"))

    def test_it_counts_as_an_attempt(self) -> None:
        slot = run("a", "12:00", RunState.FAILED, attempt=2, retry_after=HOUR)
        assert followups(task(retry=TWICE), slot) == []
        assert followups(task(), run("a", "12:00", RunState.FAILED, retry_after=HOUR)) == []

    @pytest.mark.parametrize(
        ("on", "follows"), [(TaskTimeout, True), (BaseException, True), (Exception, False)]
    )
    def test_a_timeout_is_an_error_of_its_own(self, on: type[BaseException], follows: bool) -> None:
        policy = task(retry=Retry(attempts=2, on=on))
        assert len(followups(policy, run("a", "12:00", RunState.TIMED_OUT))) == follows

    def test_a_lost_run_and_one_that_was_stopped_raised_none(self) -> None:
        policy = task(retry=Retry(attempts=2, on=ConnectionError))
        assert followups(policy, run("a", "12:00", RunState.LOST))
        assert followups(policy, run("a", "12:00", RunState.CANCELLED), is_shutdown=True)

    def test_a_run_that_gave_up_has_failed_for_good(self) -> None:
        assert is_exhausted(task(retry=TWICE), run(state=RunState.FAILED, is_given_up=True))
        policy = task(retry=Retry(attempts=2, on=ConnectionError))
        assert is_exhausted(policy, run(state=RunState.TIMED_OUT))


class TestCancelled:
    @pytest.mark.parametrize("state", FAILURES)
    def test_a_run_whose_cancellation_was_requested_is_not_retried(self, state: RunState) -> None:
        slot = run("a", "12:00", state, is_cancel_requested=True)
        assert followups(task(retry=TWICE), slot) == []

    def test_a_run_cancelled_by_shutdown_is_retried(self) -> None:
        slot = run("a", "12:00", RunState.CANCELLED, finished="12:00:10")
        [retry] = followups(task(retry=TWICE), slot, is_shutdown=True)
        assert (retry.attempt, retry.not_before) == (2, at("12:01:10"))

    def test_it_is_not_retried_without_attempts_left(self) -> None:
        slot = run("a", "12:00", RunState.CANCELLED, attempt=2)
        assert followups(task(retry=TWICE), slot, is_shutdown=True) == []

    def test_a_run_that_succeeded_in_a_shutdown_is_not_retried(self) -> None:
        slot = run("a", "12:00", RunState.SUCCEEDED)
        assert followups(task(retry=TWICE), slot, is_shutdown=True) == []

    def test_a_run_that_failed_in_a_shutdown_is_retried(self) -> None:
        slot = run("a", "12:00", RunState.FAILED)
        assert len(followups(task(retry=TWICE), slot, is_shutdown=True)) == 1


class TestFixedDelay:
    def test_the_next_slot_counts_from_the_minute_in_which_the_run_ended(self) -> None:
        slot = run("a", "12:00", finished="12:03:20")
        assert followups(task("a", Every("5m"), overlap="delay"), slot) == [
            WaitingRun("a", at("12:08"), Trigger.SCHEDULE, at("12:08"))
        ]

    def test_the_next_slot_is_a_run_that_is_to_come_later(self) -> None:
        [slot] = followups(task("a", Every("5m"), overlap="delay"), run("a", "12:00"))
        assert (slot.id, slot.why) == (None, WaitReason.LATER)

    def test_of_a_minute_it_counts_from_the_minute_too(self) -> None:
        slot = run("a", "12:00", finished="12:00:59")
        assert slots(followups(task("a", Every("1m"), overlap="delay"), slot)) == ["a 12:01"]

    def test_of_seconds_it_counts_from_the_second(self) -> None:
        slot = run("a", "12:00", finished="12:00:20.700")
        assert slots(followups(task("a", Every("30s"), overlap="delay"), slot)) == ["a 12:00:50"]

    @pytest.mark.parametrize(
        "state", [RunState.SUCCEEDED, RunState.CANCELLED, RunState.SKIPPED, *FAILURES]
    )
    def test_the_next_slot_follows_however_the_run_ended(self, state: RunState) -> None:
        slot = run("a", "12:00", state)
        assert slots(followups(task("a", Every("5m"), overlap="delay"), slot)) == ["a 12:05"]

    def test_the_next_slot_follows_a_run_whose_cancellation_was_requested(self) -> None:
        slot = run("a", "12:00", RunState.LOST, is_cancel_requested=True)
        policy = task("a", Every("5m"), overlap="delay", retry=TWICE)
        assert slots(followups(policy, slot)) == ["a 12:05"]

    def test_a_retry_comes_before_the_next_slot(self) -> None:
        policy = task("a", Every("5m"), overlap="delay", retry=TWICE)
        [retry] = followups(policy, run("a", "12:00", RunState.FAILED))
        assert (retry.trigger, retry.slot) == (Trigger.RETRY, at("12:00"))

    def test_the_next_slot_follows_the_last_attempt(self) -> None:
        policy = task("a", Every("5m"), overlap="delay", retry=TWICE)
        slot = run("a", "12:00", RunState.FAILED, attempt=2, finished="12:02")
        [next_slot] = followups(policy, slot)
        assert (next_slot.slot, next_slot.attempt) == (at("12:07"), 1)

    @pytest.mark.parametrize("origin", [BY_HAND, BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN])
    def test_nothing_follows_a_run_that_is_not_of_the_schedule(self, origin: str) -> None:
        slot = run("a", "12:00", origin=origin)
        assert followups(task("a", Every("5m"), overlap="delay"), slot) == []

    @pytest.mark.parametrize("overlap", ["skip", "allow", "restart"])
    def test_an_interval_alone_is_no_fixed_delay(self, overlap: str) -> None:
        assert followups(task("a", Every("5m"), overlap=overlap), run()) == []

    @pytest.mark.parametrize("schedule", [Cron("*/5 * * * *"), At(at("12:05")), None])
    def test_other_schedules_have_no_fixed_delay(self, schedule: Cron | At | None) -> None:
        assert followups(task("a", schedule, overlap="delay"), run()) == []


class TestExhausted:
    @pytest.mark.parametrize(
        ("state", "attempt", "exhausts"),
        [
            (RunState.FAILED, 1, False),
            (RunState.FAILED, 2, True),
            (RunState.TIMED_OUT, 2, True),
            (RunState.LOST, 3, True),
            (RunState.CANCELLED, 2, False),
            (RunState.SUCCEEDED, 2, False),
        ],
    )
    def test_a_failure_counts_once_no_attempt_is_left(
        self, state: RunState, attempt: int, exhausts: bool
    ) -> None:
        slot = run("a", "12:00", state, attempt=attempt)
        assert is_exhausted(task(retry=TWICE), slot) is exhausts


def test_delays_count_from_the_beginning_of_a_second() -> None:
    assert floor_to_second(at("12:00:01.999")) == at("12:00:01")
    assert floor_to_second(at("12:00:01")) - at("12:00") == SECOND
