"""Executions are changed by several threads: no event is lost or goes to two of them."""

import sys
import threading
from datetime import timedelta

import pytest

from pyramid_cron.clock import Stopwatch
from pyramid_cron.run import Run, RunState, TaskCancelled, TaskTimeout, Trigger, WaitReason
from pyramid_cron.run_transitions import succeeded
from pyramid_cron.runtime.executions import Executions
from pyramid_cron.store.results import FailurePause, Outcome, WriteBatch
from pyramid_cron.store.write_buffer import WriteBuffer
from tests.apps import NOON

NOTHING = WriteBatch()


@pytest.fixture
def buffer():
    return WriteBuffer()


@pytest.fixture
def executions(buffer):
    """Executions that need no store."""
    return Executions(
        None, buffer, timedelta(minutes=1), lambda run, by_shutdown: Outcome(run), lambda: NOON
    )


@pytest.fixture
def execution(executions):
    """The execution of a claimed run."""
    run = Run("id", "task", NOON, 1, Trigger.SCHEDULE, RunState.CLAIMED, "host", 1)
    executions.add([run], Stopwatch(NOON, lambda: 0.0))
    return executions.get("id")


def start(execution):
    return execution.start(None, lambda run, by_shutdown: None)


def test_an_event_that_is_drained_while_others_are_added_is_not_drained_again(executions):
    executions.settle(NOTHING, [FailurePause("a", "3 failures in a row")])
    drained = []

    def pauses():
        drained.extend(executions.drain_events())  # as another thread does meanwhile
        yield FailurePause("b", "3 failures in a row")

    executions.settle(NOTHING, pauses())
    drained += executions.drain_events()
    assert [task for _, task, *_ in drained] == ["a", "b"]


def test_each_event_goes_to_one_of_the_threads_that_drain_them(executions):
    drained, stop = [], threading.Event()

    def drain():
        while not stop.is_set():
            drained.extend(executions.drain_events())

    threads = [threading.Thread(target=drain) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for number in range(3000):
            executions.settle(NOTHING, [FailurePause(str(number), "")])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    drained += executions.drain_events()
    assert sorted(int(task) for _, task, *_ in drained) == list(range(3000))


def test_of_two_threads_that_abandon_a_run_one_records_its_end(executions, execution, buffer):
    start(execution)
    execution.interrupt(TaskTimeout("ran longer than its timeout"))
    executions.abandon(execution)
    executions.abandon(execution)
    [(_, run)] = executions.drain_events()
    assert run.state is RunState.TIMED_OUT
    with buffer.drain() as batch:
        assert [outcome.run for outcome in batch.outcomes] == [run]


def test_a_run_that_has_ended_is_not_abandoned(executions, execution):
    start(execution)
    execution.update(lambda run: succeeded(run, NOON))
    executions.abandon(execution)
    assert not execution.is_abandoned
    assert not executions.has_events


def test_a_run_that_is_released_does_not_start_and_waits_again(executions, execution, buffer):
    run = executions.release(execution)
    assert (run.state, run.not_before, run.why) == (RunState.WAITING, NOON, WaitReason.ROOM)
    assert (run.claimed, run.host, run.pid) == (None, "", 0)
    assert not start(execution)
    assert executions.release(execution) is None
    with buffer.drain() as batch:
        assert [outcome.run for outcome in batch.outcomes] == [run]


def test_a_run_whose_cancellation_was_requested_is_not_released(executions, execution):
    execution.interrupt(TaskCancelled("was cancelled"))
    execution.interrupt(TaskCancelled("the process stopped"), by_shutdown=True)
    run = executions.release(execution)
    assert (run.state, run.error) == (RunState.CANCELLED, "was cancelled before it began")


def test_a_run_that_a_stopping_process_interrupts_is_released(executions, execution):
    execution.interrupt(TaskCancelled("the process stopped"), by_shutdown=True)
    assert executions.release(execution).state is RunState.WAITING


def test_a_run_that_has_started_is_not_released(executions, execution):
    assert start(execution)
    execution.interrupt(TaskCancelled("was cancelled"))
    assert executions.release(execution) is None
    assert executions.cancel_unstarted(execution) is None
    assert execution.run.state is RunState.RUNNING


def test_a_lease_lasts_here_no_longer_than_in_the_store(executions):
    seconds = 0.0
    clock = Stopwatch(NOON, lambda: seconds)
    in_store = executions.new_lease(clock)
    run = Run("claimed", "task", NOON, 1, Trigger.SCHEDULE, RunState.CLAIMED, "host", 1)
    executions.note_leases([run], in_store)
    seconds = 30.0  # while the claim is written
    [claimed] = executions.add([run], clock)
    assert claimed.lease_until == in_store == NOON + timedelta(minutes=1)
    [again] = executions.add([run], clock)
    assert again.lease_until == NOON + timedelta(seconds=90)
