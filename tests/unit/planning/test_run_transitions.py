"""How a run changes from its claim to its end, by plain values."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pyramid_cron.planning.followups import retry_of
from pyramid_cron.run import (
    BACKFILL_ORIGIN,
    Progress,
    Run,
    RunReason,
    RunState,
    Trigger,
    WaitReason,
)
from pyramid_cron.run_transitions import (
    Failure,
    abandoned,
    cancelled,
    condition_not_met,
    failed,
    lost,
    progressed,
    released,
    skipped,
    started,
    succeeded,
    taken_over,
)
from tests.apps import NOON

SECOND = timedelta(seconds=1)
LATER = NOON + SECOND
END = NOON + 5 * SECOND
OUTPUTS = {"log": "INFO hello", "stdout": "out", "stderr": "err"}
CLAIM = Run(
    "0" * 26,
    "a",
    NOON,
    2,
    Trigger.RETRY,
    RunState.CLAIMED,
    "web1",
    42,
    payload={"order": 7},
    origin=BACKFILL_ORIGIN,
    claimed=NOON,
    key="order 7",
)
RUNNING = started(CLAIM, LATER)
FAILURE = Failure(RunState.FAILED, "ValueError: no", "Traceback ...")

ENDS = {
    "succeeded": succeeded(RUNNING, END),
    "failed": failed(RUNNING, END, FAILURE),
    "condition": condition_not_met(RUNNING, END),
    "skipped": skipped(CLAIM, RunReason.MISSED),
    "cancelled": cancelled(CLAIM, END),
    "abandoned": abandoned(RUNNING, END, "too long", is_timeout=True, is_killed=False),
    "lost": lost(RUNNING, END),
}


def identity(run):
    return run.id, run.task, run.slot, run.attempt, run.trigger, run.origin, run.payload, run.key


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_every_end_is_final(end):
    assert end.state.is_final


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_run_keeps_its_identity_to_its_end(end):
    assert identity(end) == identity(CLAIM)
    assert (end.host, end.pid) == ("web1", 42)


def test_a_transition_leaves_the_run_it_was_given_as_it_was():
    before = replace(CLAIM)
    started(CLAIM, LATER)
    assert before == CLAIM


class TestStart:
    def test_a_run_that_begins_is_running(self):
        assert (RUNNING.state, RUNNING.started, RUNNING.finished) == (
            RunState.RUNNING,
            LATER,
            None,
        )

    def test_a_run_that_is_taken_over_has_the_worker_s_host_and_pid(self):
        run = taken_over(CLAIM, "worker", 7)
        assert (run.host, run.pid, run.state) == ("worker", 7, RunState.CLAIMED)

    def test_progress_is_all_that_changes_as_a_run_proceeds(self):
        run = progressed(RUNNING, Progress(1, 2, "half"))
        assert replace(run, progress=None) == RUNNING
        assert run.progress == Progress(1, 2, "half")


class TestEndsByItsTask:
    def test_a_success_has_its_duration_and_outputs(self):
        run = succeeded(RUNNING, END, OUTPUTS)
        assert (run.state, run.duration, run.error) == (RunState.SUCCEEDED, 4, None)
        assert (run.log, run.stdout, run.stderr) == ("INFO hello", "out", "err")

    def test_a_success_keeps_its_progress(self):
        run = succeeded(progressed(RUNNING, Progress(2, 2)), END)
        assert run.progress == Progress(2, 2)

    def test_a_failure_has_error_traceback_and_outputs(self):
        run = failed(RUNNING, END, FAILURE, OUTPUTS)
        assert (run.state, run.error, run.traceback) == (
            RunState.FAILED,
            "ValueError: no",
            "Traceback ...",
        )
        assert (run.started, run.finished, run.log) == (LATER, END, "INFO hello")

    @pytest.mark.parametrize("state", [RunState.TIMED_OUT, RunState.CANCELLED])
    def test_an_interruption_ends_a_run_in_its_own_state(self, state):
        assert failed(RUNNING, END, Failure(state, "TaskTimeout: too long")).state is state

    def test_an_error_without_traceback_leaves_none(self):
        run = failed(RUNNING, END, Failure(RunState.FAILED, "exit status 1"))
        assert (run.error, run.traceback) == ("exit status 1", None)

    def test_a_slot_whose_condition_is_false_is_skipped_and_never_began(self):
        run = condition_not_met(RUNNING, END, OUTPUTS)
        assert (run.state, run.reason) == (RunState.SKIPPED, RunReason.CONDITION)
        assert (run.started, run.finished, run.duration) == (None, END, None)

    def test_what_the_condition_logged_is_recorded(self):
        assert condition_not_met(RUNNING, END, OUTPUTS).log == "INFO hello"


class TestReleased:
    WAITING = released(CLAIM, LATER)

    def test_a_released_run_waits_from_now_on_for_room(self):
        run = self.WAITING
        assert (run.state, run.not_before, run.why) == (
            RunState.WAITING,
            LATER,
            WaitReason.ROOM,
        )

    def test_it_is_the_same_run_and_the_same_attempt(self):
        assert identity(self.WAITING) == identity(CLAIM)

    def test_it_is_nobody_s_and_was_never_claimed(self):
        run = self.WAITING
        assert (run.host, run.pid, run.claimed) == ("", 0, None)

    def test_it_has_neither_begun_nor_ended(self):
        run = self.WAITING
        assert (run.started, run.finished, run.error, run.reason) == (None, None, None, None)

    def test_the_claim_it_was_made_of_stays_as_it_was(self):
        before = replace(CLAIM)
        released(CLAIM, LATER)
        assert before == CLAIM

    def test_it_may_be_cancelled_while_it_waits(self):
        run = cancelled(self.WAITING, END)
        assert (run.state, run.claimed, run.finished) == (RunState.CANCELLED, END, END)
        assert (run.not_before, run.why) == (None, None)


class TestSkipped:
    def test_a_skipped_run_stands_for_several_slots(self):
        run = skipped(CLAIM, RunReason.SUPERSEDED, 3)
        assert (run.state, run.reason, run.count) == (RunState.SKIPPED, RunReason.SUPERSEDED, 3)

    def test_it_never_began_and_has_no_end(self):
        run = skipped(CLAIM, RunReason.MISSED)
        assert (run.started, run.finished, run.error) == (None, None, None)

    def test_its_detail_is_its_error(self):
        assert skipped(CLAIM, RunReason.PAUSED, detail="holidays").error == "holidays"

    def test_a_long_detail_is_cut(self):
        error = skipped(CLAIM, RunReason.PAUSED, detail="x" * 5000).error
        assert len(error) == 1000
        assert error.endswith("x…")


class TestEndsByItsProcess:
    def test_a_run_cancelled_before_it_began_has_no_duration(self):
        run = cancelled(CLAIM, END)
        assert (run.state, run.duration) == (RunState.CANCELLED, None)
        assert run.error == "was cancelled before it began"

    def test_a_run_says_what_cancelled_it(self):
        run = cancelled(CLAIM, END, "the process stopped")
        assert run.error == "the process stopped before it began"

    def test_a_run_cancelled_before_it_began_was_claimed_when_it_was(self):
        assert cancelled(CLAIM, END).claimed == NOON

    def test_a_timed_out_run_that_does_not_stop_is_timed_out(self):
        run = abandoned(RUNNING, END, "ran too long", is_timeout=True, is_killed=False)
        assert (run.state, run.duration) == (RunState.TIMED_OUT, 4)
        assert run.error == "ran too long; it did not stop, and its thread may still be running"

    def test_a_cancelled_run_that_does_not_stop_is_cancelled(self):
        run = abandoned(RUNNING, END, "was cancelled", is_timeout=False, is_killed=False)
        assert run.state is RunState.CANCELLED

    def test_a_killed_run_says_so(self):
        run = abandoned(RUNNING, END, "was cancelled", is_timeout=False, is_killed=True)
        assert run.error == "was cancelled; it was killed"

    def test_an_abandoned_run_has_its_outputs_so_far(self):
        run = abandoned(
            RUNNING, END, "was cancelled", is_timeout=False, is_killed=True, outputs=OUTPUTS
        )
        assert (run.log, run.stdout, run.stderr) == ("INFO hello", "out", "err")

    def test_a_lost_run_names_the_process_that_is_silent(self):
        run = lost(RUNNING, END)
        assert (run.state, run.finished) == (RunState.LOST, END)
        assert run.error == "lost: web1 (pid 42) gave no sign of life within its lease"

    def test_a_lost_run_that_no_worker_took_over_names_its_sender(self):
        run = lost(CLAIM, END, is_handed_off=True)
        assert run.error == "lost: web1 (pid 42) sent it, and no worker took it up in time"


class TestRetry:
    def test_a_retry_is_the_next_attempt_at_the_same_slot(self):
        retry = retry_of(ENDS["failed"], END)
        assert (retry.task, retry.slot, retry.attempt) == ("a", NOON, 3)
        assert (retry.trigger, retry.not_before) == (Trigger.RETRY, END)

    def test_a_retry_has_the_run_s_origin_and_payload(self):
        retry = retry_of(ENDS["failed"], END)
        assert (retry.origin, retry.payload) == (BACKFILL_ORIGIN, {"order": 7})

    def test_a_retry_is_another_run_and_waits_since_it_is_one(self):
        retry = retry_of(ENDS["failed"], END)
        assert (retry.id, retry.key, retry.why) == (None, None, WaitReason.RETRY)

    def test_a_retry_has_the_place_of_its_slot(self):
        assert retry_of(ENDS["failed"], END).due_since == NOON
