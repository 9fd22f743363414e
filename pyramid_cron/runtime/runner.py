"""Running one claimed run: call the task, capture its log, record how it ended."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import tzinfo
from functools import partial
from typing import Any

from pyramid.request import Request

from .. import events, logs
from ..clock import Stopwatch
from ..errors import CommandError, GiveUp, RetryLater, StoreError
from ..events import guarded_callbacks
from ..run import Run, RunState, TaskCancelled, TaskInterrupted, TaskTimeout, Trigger, evolve
from ..run_transitions import Failure, condition_not_met, failed, succeeded
from ..store.ends import End, is_file_busy
from ..store.results import Outcome
from ..store.write_buffer import WriteBuffer
from ..task import ONE_ATTEMPT, Retry, Task
from ..text import make_storable, truncate_error
from .execution import Execution, current_execution
from .log_capture import LogCapture, format_traceback, summarize_error
from .supervisor import Supervisor
from .task_session import PlainTransaction, RequestSession, RunTransaction
from .transactions import TaskTransactions

log = logging.getLogger("pyramid_cron")


class _ConditionNotMetError(Exception):
    """The task's ``when`` returned a false value."""


@dataclass(frozen=True, slots=True)
class RequestRunner:
    """Runs claimed runs in one request."""

    request: Request
    transactions: TaskTransactions
    clock: Stopwatch
    #: Seconds until the tick's budget is spent, or the run's timeout is over.
    time_left: Callable[[], float]
    write_buffer: WriteBuffer
    supervisor: Supervisor
    #: The zone of the times in a run's log.
    timezone: tzinfo
    #: What is recorded of a run's end, given whether its process stops.
    outcome_of: Callable[[Run, bool], Outcome]
    #: The application's session; None if it has named none.
    session: RequestSession | None = None

    def run(self, task: Task, run: Run) -> Run | None:
        """Run the task in a transaction of its own; return the run as it ended.

        Nothing a task raises gets out, not even SystemExit: it ends this run and no other. None is
        returned for a run that was released, or lost its lease, before it started.
        """
        execution = self.supervisor.executions.get(run.id)
        if execution is None:
            return None
        try:
            if not (execution.has_valid_lease() or self.supervisor.executions.reclaim(execution)):
                return None
        except StoreError:
            self.supervisor.release_unstarted([run.id])
            return None
        if self.supervisor.is_stopping:
            self.supervisor.release_unstarted([run.id])
            return None
        if execution.interruption is not None:
            return self.supervisor.executions.cancel_unstarted(execution)
        execution.is_transactional = self.session is not None and self.session.is_transactional(
            task
        )
        if not execution.start(task.timeout, partial(self._record_change, execution)):
            return None
        try:
            self._start_and_finish(task, execution)
        except BaseException as error:
            # Not the task's own, such as one of a logging filter; the run must not stay running.
            execution.update(self._failed(execution, describe_failure(error, task.retry)))
            if not isinstance(error, Exception):
                raise
            logs.log_internal_error(execution.run, error)
        finally:
            execution.has_returned = True
        return execution.run

    def _record_change(self, execution: Execution, run: Run, by_shutdown: bool) -> None:
        is_success = run.state is RunState.SUCCEEDED
        outcome = self.outcome_of(run, by_shutdown)
        if run.state.is_final and (execution.has_end or execution.is_contested):
            has_end = is_success and execution.has_end
            outcome = outcome._replace(has_end=has_end, is_contested=not has_end)
        self.write_buffer.add_outcome(outcome)

    def _start_and_finish(self, task: Task, execution: Execution) -> None:
        with guarded_callbacks(self.request, f"{task.name} run={execution.run.id}"):
            execution.update(self._carry_out(task, execution))
        if execution.is_abandoned:  # its end was announced at that moment
            logs.log_finished(execution.run)
        else:
            self.announce_end(execution.run, execution.by_shutdown)

    def _announce_start(self, run: Run) -> None:
        logs.log_started(run)
        self.notify(events.RunStarted, run)

    def announce_end(self, run: Run, by_shutdown: bool = False) -> None:
        """Log how a run ended, and notify subscribers of that and of a retry."""
        logs.log_finished(run)
        self.notify(events.END_EVENTS[run.state], run)
        if not (run.state.is_failure or by_shutdown):
            return
        for waiting_run in self.outcome_of(run, by_shutdown).followups:
            if waiting_run.trigger is Trigger.RETRY:
                self.notify(events.RunRetrying, run, waiting_run.attempt, waiting_run.not_before)

    def notify(self, event_class: type[events.Event], *values: Any) -> None:
        """Call the application's subscribers, each in a transaction of its own."""
        events.notify_subscribers(
            event_class, self.request, *values, call=self.transactions.call_subscriber
        )

    def _carry_out(self, task: Task, execution: Execution) -> Callable[[Run], Run]:
        """Ask the task's condition, then call the task; return the transition that ends the run.

        A run whose condition is not met has not started, as far as others can see.
        """
        capture = LogCapture(self.timezone)
        execution.outputs["log"] = capture.text
        system = self._make_system(execution)
        try:
            if task.when is not None:
                with capture:
                    self._ask_condition(task, execution, task.when, system)
        except _ConditionNotMetError:
            now, outputs = self.clock.now(), execution.collect_outputs()
            return lambda run: condition_not_met(run, now, outputs)
        except BaseException as error:
            self._announce_start(execution.run)
            return self._failed_by(task, execution, error)
        self._announce_start(execution.run)
        return self._call_task(task, execution, capture, system)

    def _ask_condition(
        self,
        task: Task,
        execution: Execution,
        when: Callable[..., Any],
        system: Mapping[str, Any],
    ) -> None:
        session = None if self.session is None else self.session.transaction()
        description = f"cron {task.name}"
        self.transactions.run(
            description, _check_condition, execution, when, system, session=session
        )

    def _call_task(
        self, task: Task, execution: Execution, capture: LogCapture, system: Mapping[str, Any]
    ) -> Callable[[Run], Run]:
        """Call the task in a transaction of its own; return the transition that ends the run."""
        values = (task.function, system) if task.takes_system else (task.function,)
        session = self._make_session_transaction(execution)
        try:
            with capture:
                self.transactions.run(
                    f"cron {task.name}", execution.call_interruptibly, *values, session=session
                )
        except BaseException as error:
            if isinstance(session, RunTransaction) and session.has_begun:
                if is_file_busy(error):
                    session.close_refused()
                return self._settle(task, execution, error)
            return self._failed_by(task, execution, error)
        execution.has_end = isinstance(session, RunTransaction) and session.has_end
        return self._succeeded(execution)

    def _make_session_transaction(self, execution: Execution) -> PlainTransaction | None:
        if self.session is None:
            return None
        if not execution.is_transactional:
            return self.session.transaction()
        return self.session.run_transaction(lambda: self._end_of(execution, RunState.SUCCEEDED))

    def _end_of(self, execution: Execution, state: RunState) -> End:
        return End(execution.run.id, state, execution.run.started, self.clock.now())

    def _settle(
        self, task: Task, execution: Execution, error: BaseException
    ) -> Callable[[Run], Run]:
        """Return the transition of a run whose commit raised; only the database knows its end.

        Its work is undone where others have kept a SQLite file locked: as good as lost.
        """
        assert self.session is not None
        own_state = RunState.LOST if is_file_busy(error) else RunState.FAILED
        try:
            state = self.session.settle_end(self._end_of(execution, own_state))
        except StoreError:
            state = None
        if state is RunState.SUCCEEDED:
            execution.has_end = True
            run, cause = execution.run, summarize_error(error)
            log.warning("%s run=%s: committed, though that raised: %s", run.task, run.id, cause)
            return self._succeeded(execution)
        execution.is_contested = state is None
        if state not in (None, own_state):
            error = TaskCancelled("lease expired")
        elif own_state is RunState.LOST:
            logs.log_failure(execution.run, error)
            cause = truncate_error(f"lost: its work was not committed: {summarize_error(error)}")
            return self._failed(execution, Failure(RunState.LOST, cause))
        return self._failed_by(task, execution, error)

    def _succeeded(self, execution: Execution) -> Callable[[Run], Run]:
        now, outputs = self.clock.now(), execution.collect_outputs()
        return lambda run: succeeded(run, now, outputs)

    def _failed_by(
        self, task: Task, execution: Execution, error: BaseException
    ) -> Callable[[Run], Run]:
        """Return the transition of a run that ends with an error."""
        logs.log_failure(execution.run, error)
        failure = describe_failure(error, task.retry)
        caller = current_execution.get()
        if caller is not None and caller.interruption is not None:
            # The caller was interrupted, not this run.
            failure = replace(failure, state=RunState.CANCELLED)
        return self._failed(execution, failure)

    def _failed(self, execution: Execution, failure: Failure) -> Callable[[Run], Run]:
        now, outputs = self.clock.now(), execution.collect_outputs()
        return lambda run: failed(run, now, failure, outputs)

    def _make_system(self, execution: Execution) -> Mapping[str, Any]:
        """Return what the task and its condition are called with."""
        run = execution.run
        if run.payload is not None:
            # The task may change its payload; another attempt gets the one in the store.
            run = evolve(run, payload=deepcopy(run.payload))
        return {
            "request": self.request,
            "registry": self.request.registry,
            "time_left": self.time_left,
            "run": run,
            "payload": run.payload,
            "progress": execution.progress,
        }


def _check_condition(
    execution: Execution, when: Callable[..., Any], system: Mapping[str, Any]
) -> None:
    if not execution.call_interruptibly(when, system):
        raise _ConditionNotMetError


def _state_for_error(error: BaseException) -> RunState:
    if isinstance(error, TaskTimeout):
        return RunState.TIMED_OUT
    return RunState.CANCELLED if isinstance(error, TaskCancelled) else RunState.FAILED


def describe_failure(error: BaseException, retry: Retry = ONE_ATTEMPT) -> Failure:
    """Return how a run ends whose task raised this, and what that means for the next attempt."""
    try:
        failure = Failure(_state_for_error(error), *_error_and_traceback(error))
    except Exception as format_error:  # an exception's own methods may raise
        kind = type(format_error).__name__
        failure = Failure(RunState.FAILED, f"raised what can't be shown, but raises {kind}")
    errors = _members_of(error)
    waits = [one.after for one in errors if isinstance(one, RetryLater)]
    if waits and not any(isinstance(one, GiveUp) for one in errors):
        return replace(failure, retry_after=max(waits))
    return replace(failure, is_given_up=not all(_is_covered(one, retry) for one in errors))


def _members_of(error: BaseException) -> list[BaseException]:
    """Return the errors in a group, such as asyncio's TaskGroup raises; of others, the error."""
    if sys.version_info >= (3, 11) and isinstance(error, BaseExceptionGroup):  # noqa: F821
        return [member for one in error.exceptions for member in _members_of(one)]
    return [error]


def _is_covered(error: BaseException, retry: Retry) -> bool:
    # An interruption says how the run ended, not why: a process that stops interrupts, too.
    return not isinstance(error, GiveUp) and (
        isinstance(error, TaskInterrupted) or retry.covers(type(error))
    )


def _error_and_traceback(error: BaseException) -> tuple[str, str | None]:
    """Return the error's text and its traceback from the task's own frames on.

    The error of a program has no traceback.
    """
    if isinstance(error, CommandError):
        return truncate_error(str(error)), None
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__package__") == __package__:
        frames = frames.tb_next
    text = format_traceback(error, frames or error.__traceback__)
    return truncate_error(summarize_error(error)), make_storable(text)
