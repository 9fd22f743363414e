"""Carrying out one claimed run: call the task, keep what it logged, tell how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pyramid.request import Request

from .. import events, logs
from ..clock import Stopwatch
from ..run import (
    CommandError,
    Reason,
    Run,
    RunState,
    TaskCancelled,
    TaskTimeout,
    Trigger,
    brief,
    changed,
    storable,
)
from ..store.engine import StoreError
from ..store.journal import Journal
from ..store.outcomes import Outcome
from ..task import Task
from .capture import Captured, Listener
from .live import Live, current
from .supervise import Supervisor
from .transaction import Transactions


class _ConditionNotMetError(Exception):
    """The task's ``when`` gave a false answer."""


@dataclass(frozen=True, slots=True)
class Runner:
    """What all runs of one tick share."""

    request: Request
    transactions: Transactions
    clock: Stopwatch
    time_left: Callable[[], float]
    journal: Journal
    supervisor: Supervisor
    outcome: Callable[[Run, bool], Outcome]
    listener: Listener

    def carry_out(self, task: Task, claimed: Run) -> Run | None:
        """Run the task in a transaction of its own; return the run as it ended.

        Nothing a task raises gets out, not even SystemExit: it ends this run and no other. None is
        returned for a run that somebody else took for lost before it began.
        """
        held = self.supervisor.held
        live = held.live(claimed.id)
        if live is None or live.given_up:
            return None
        try:
            if not (live.ours() or held.regain(live)):
                return None
        except StoreError:
            return self.supervisor.leave(live)
        if self.supervisor.stopping:
            return self.supervisor.leave(live)
        if live.interruption is not None:
            return self.supervisor.held.call_off(live)
        started = self.clock.now()
        live.run = changed(claimed, state=RunState.RUNNING, started=started)
        live.deadline = None if task.timeout is None else started + task.timeout
        live.changed = self._note
        try:
            self._begin_to_end(task, live)
        except BaseException as error:
            # Not the task's own, such as that of a filter of the log; it must not be left going on.
            live.change(finished=self.clock.now(), **live.written(), **_ended_by(error))
            if not isinstance(error, Exception):
                raise
            logs.beside_the_run(live.run, error)
        return live.run

    def _note(self, run: Run, stopped: bool) -> None:
        self.journal.note(self.outcome(run, stopped))

    def _begin_to_end(self, task: Task, live: Live) -> None:
        logs.log_started(live.run)
        self.tell(events.RunStarted, live.run)
        live.change(**self._attempt(task, live))
        if live.given_up:  # which everybody was told of then
            logs.log_finished(live.run)
        else:
            self.ended(live.run, live.stopped)

    def ended(self, run: Run, stopped: bool = False) -> None:
        """Tell everybody how a run ended, and whether its slot will be tried again."""
        logs.log_finished(run)
        self.tell(events.ENDS[run.state], run)
        if not (run.state.failure or stopped):
            return
        for then in self.outcome(run, stopped).then:
            if then.trigger is Trigger.RETRY:
                self.tell(events.RunRetrying, run, then.attempt, then.not_before)

    def tell(self, kind: type[events.Event], *values: Any) -> None:
        """Call the application's subscribers, each in a transaction of its own."""
        events.notify(kind, self.request, *values, call=self.transactions.call)

    def _attempt(self, task: Task, live: Live) -> dict[str, Any]:
        """Return what changed in the run."""
        captured = Captured(self.listener)
        live.texts["logged"] = captured.text
        outcome: dict[str, Any] = {"state": RunState.SUCCEEDED}
        try:
            with captured:
                self.transactions.run(f"cron {task.name}", self._call, task, live)
        except _ConditionNotMetError:
            outcome = {"state": RunState.SKIPPED, "reason": Reason.CONDITION, "started": None}
        except BaseException as error:
            logs.run_failed(live.run, error)
            outcome = _ended_by(error)
            caller = current.get()
            if caller is not None and caller.interruption is not None:
                outcome["state"] = RunState.CANCELLED  # it was the caller's time that was up
        return {"finished": self.clock.now(), **live.written(), **outcome}

    def _call(self, task: Task, live: Live) -> None:
        run = live.run
        if run.payload is not None:
            # The task may change what it is given; what is on record stays, as for another attempt.
            run = changed(run, payload=deepcopy(run.payload))
        system = {
            "request": self.request,
            "registry": self.request.registry,
            "time_left": self.time_left,
            "run": run,
            "payload": run.payload,
            "progress": live.progress,
        }
        when = task.when
        if when is not None and not live.call(when, system):
            raise _ConditionNotMetError
        live.call(task.function, system)


def _state_after(error: BaseException) -> RunState:
    if isinstance(error, TaskTimeout):
        return RunState.TIMED_OUT
    return RunState.CANCELLED if isinstance(error, TaskCancelled) else RunState.FAILED


def _ended_by(error: BaseException) -> dict[str, Any]:
    """Return how a run has ended that raised this."""
    try:
        return {"state": _state_after(error), **_description(error)}
    except Exception as wrong:  # what is raised may do as it likes when it is looked at
        kind = type(wrong).__name__
        return {"state": RunState.FAILED, "error": f"raised what can't be shown, but raises {kind}"}


def _description(error: BaseException) -> dict[str, str]:
    """Return what the error says and its traceback, from the task's own frames on.

    What happened in a program has no traceback here.
    """
    if isinstance(error, CommandError):
        return {"error": brief(str(error))}
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__package__") == __package__:
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
    return {
        "error": brief("".join(traceback.format_exception_only(error)).strip()),
        "traceback": storable("".join(lines)),
    }
