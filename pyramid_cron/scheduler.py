"""``request.cron``: the tasks and their runs, to look at and to control."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from pyramid.registry import Registry
from pyramid.request import Request

from . import events, logs
from .app import CronApp, get_cron
from .health_report import assess_health
from .planning.followups import floor_to_second, retry_of
from .planning.health import Health
from .planning.pauses import PauseRule, active_pause, name_matcher
from .planning.snapshot import BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN, WaitingRun
from .run import Run, RunState, Trigger, as_payload
from .runtime.deferral import defer_until_commit
from .runtime.own_request import own_request
from .runtime.queues import run_handed_off
from .runtime.request_scope import run_manually
from .schedule import At
from .schedule.quantities import parse_count, parse_duration
from .schedule.zones import to_utc
from .store.backfill import SlotRange, add_backfill
from .store.handoff import cancel_handed_off_run
from .store.results import DeferredRun
from .task import TASK_NAME_PATTERN, Task

BACKFILL_ORIGINS = {"delay": BACKFILL_ORIGIN, "allow": PARALLEL_BACKFILL_ORIGIN}
"""The origins of a backfill's runs, by its argument ``overlap``."""

FINAL_STATES = tuple(state for state in RunState if state.is_final)


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The state of one task at the moment of the call."""

    #: The task itself.
    task: Task
    #: Its next slot (aware, UTC); None if there is none.
    next: datetime | None
    #: Its newest run that is over.
    last: Run | None
    #: Its active runs on all hosts: claimed or running.
    running: tuple[Run, ...]
    #: How many of its runs wait for a later tick.
    waiting: int = 0
    #: The pause in effect; None if it is not paused.
    paused: PauseRule | None = None


class Scheduler:
    """The tasks of an application and their runs on all hosts; ``request.cron`` is one.

    Moments that it takes are aware, in any zone; moments that it returns are in UTC. A method
    raises :exc:`~pyramid_cron.StoreError` where the store can't be read or written.
    """

    def __init__(self, registry: Registry, request: Request | None = None) -> None:
        self._registry = registry
        self._request = request

    @property
    def _cron(self) -> CronApp:
        cron = get_cron(self._registry)
        cron.refresh_sources()  # a process without ticks does so nowhere else
        return cron

    def tasks(self) -> list[Task]:
        """Return the registered tasks, in order of registration. The store is not read."""
        return list(self._cron.task_registry.tasks)

    def status(self, name: str) -> TaskStatus:
        """Return the state of the task of this name.

        Raises LookupError if there is none, StoreError.
        """
        cron = self._cron
        task = cron.task_registry.get(name)
        return TaskStatus(
            task,
            next=task.following(cron.clock()),
            last=next(iter(cron.store.history(name, FINAL_STATES, limit=1)), None),
            running=tuple(cron.store.active_runs(name)),
            waiting=cron.store.count_waiting(name),
            paused=active_pause(name, cron.clock(), cron.store.pause_rules()),
        )

    def history(
        self, name: str | None = None, state: RunState | str | None = None, limit: int = 50
    ) -> list[Run]:
        """Return the newest runs, newest first: of one task, or in one state, or all.

        Raises ValueError for an unknown state, or a limit below 1 or above 2147483647, StoreError.
        """
        states = None if state is None else (_parse_state(state),)
        return self._cron.store.history(name, states, parse_count("limit", limit))

    def health(self) -> Health:
        """Return whether ticks come, and the health of each task. Raises StoreError."""
        return assess_health(self._cron)

    def run(self, name: str, payload: Any = None) -> Run:
        """Run a task now, in this request; return the run as it ended.

        The task has a transaction of its own: the request's work so far is committed before it, and
        the request goes on in a new transaction. ``payload`` is a JSON value, which the task has as
        ``system["payload"]``. A task that fails raises nothing here: see the run's ``state``.

        Raises LookupError if there is no such task, TypeError or ValueError if the payload is not
        JSON, StoreError, and what the commit of the request's work raises.
        """
        cron = self._cron
        task = cron.task_registry.get(name)
        with self._own_request() as request:
            commit_first = request is self._request
            return run_manually(
                cron, request, task, payload, cron.clock(), commit_first=commit_first
            )

    def defer(
        self,
        name: str,
        payload: Any = None,
        at: datetime | str | None = None,
        after: str | float | timedelta | None = None,
        key: str | None = None,
    ) -> WaitingRun:
        """Run a task once, at the first tick at a moment or later; return the run that waits.

        ``at`` is an aware datetime or ISO 8601 text with an offset; ``after`` is an interval from
        the beginning of this second: text such as ``"10m"``, seconds, or a timedelta. With neither
        it is the next tick. ``payload`` is a JSON value, which the task has as
        ``system["payload"]``. Of several calls for a task with the same ``key`` only the first
        counts, until its run is over and deleted (``cron.retention``).

        In a transaction (of pyramid_tm, or of the task that calls) the run is recorded at its
        commit, and dropped if it is aborted, or rolled back to a savepoint before the call;
        otherwise it is recorded at once.

        Raises LookupError if there is no such task, TypeError or ValueError for a payload that is
        not JSON, and for a wrong moment, interval or key, StoreError outside of a transaction.
        """
        self._cron.task_registry.get(name)
        payload = as_payload(payload)
        if key is not None:
            _check_key(key)
        slot = _parse_moment(self._cron.clock(), at, after)
        nonce = secrets.randbits(62) + 2
        waiting_run = WaitingRun(name, slot, Trigger.DEFERRED, slot, nonce=nonce, payload=payload)
        defer_until_commit(self._cron, self._request, DeferredRun(waiting_run, key))
        return waiting_run

    def execute(self, run_id: str) -> Run | None:
        """Run a run that was handed off to a queue; for the queue's worker to call.

        The run has a request and a transaction of its own. Returns the run as it ended, or None if
        it has started or ended elsewhere: a message that comes twice is run once.

        Raises LookupError if the run or its task is unknown here, as in an older version of the
        application, and StoreError if the run can't be taken over. The worker should then try
        again later, or leave it to another worker.
        """
        return run_handed_off(self._cron, self._registry, run_id)

    def pause(
        self, pattern: str = "*", until: datetime | None = None, reason: str | None = None
    ) -> list[str]:
        """Pause the tasks whose names match; return those names.

        ``pattern`` is a glob, or with ``re:`` in front a regular expression. A pause lasts until
        the aware moment ``until``, or until :meth:`resume`. Active runs go on; slots that fall due
        are skipped with the reason ``paused``, and are not caught up.

        Raises ValueError for a wrong pattern or moment, LookupError if no task matches, StoreError.
        """
        now = self._cron.clock()
        if until is not None and (until := to_utc(until, "until")) <= now:
            raise ValueError(f"until={until!r}: must be an aware moment in the future")
        if reason is not None and not isinstance(reason, str):
            raise ValueError(f"reason={reason!r}: must be text")
        names, _ = self._add_pause_rule(PauseRule(now, True, pattern, until, reason))
        self._notify([(events.TaskPaused, name, until, reason) for name in names])
        return names

    def resume(self, pattern: str = "*") -> list[str]:
        """End the pauses of the tasks whose names match; return those that were paused.

        All tasks that match count their failures for ``pause_after`` anew.

        Raises ValueError for a wrong pattern, LookupError if no task matches, StoreError.
        """
        rule = PauseRule(self._cron.clock(), False, pattern)
        matching, earlier_rules = self._add_pause_rule(rule)
        names = [name for name in matching if active_pause(name, rule.since, earlier_rules)]
        self._notify([(events.TaskResumed, name) for name in names])
        return names

    def _notify(self, queued_events: Sequence[tuple[Any, ...]]) -> None:
        with self._own_request() as request:
            for kind, *values in queued_events:
                events.notify_subscribers(kind, request, *values)

    def _add_pause_rule(self, rule: PauseRule) -> tuple[list[str], list[PauseRule]]:
        """Record a pause rule; return the names that it matches, and the rules before it."""
        if not isinstance(rule.pattern, str):
            raise ValueError(
                f"pattern={rule.pattern!r}: must be text, a glob, or a regular expression after re:"
            )
        matches = name_matcher(rule.pattern)
        names = [name for name in self._cron.task_registry.by_name if matches(name)]
        if not names:
            raise LookupError(f"no cron task matches {rule.pattern!r}")
        return names, self._cron.store.add_pause_rule(rule)

    def cancel(self, run_id: str) -> None:
        """Request the cancellation of an active run, on whatever host; it ends a moment later.

        Raises LookupError if there is no such run, ValueError if it is over, StoreError.
        """
        run = self._get_run(run_id)
        if run.state.is_final:
            raise ValueError(f"run {run_id} is over: it has {run.state}")
        cron = self._cron
        ended = cancel_handed_off_run(cron.store, run_id, cron.clock(), cron.outcome_of)
        if ended is None:
            cron.store.request_cancel(run_id)
            cron.supervisor.cancel(run_id)  # without delay, if it is in this process
        else:
            logs.log_finished(ended)
            self._notify([(events.RunCancelled, ended)])

    def retry(self, run_id: str) -> None:
        """Run the slot of a run that failed or was cancelled again, at the next tick.

        Raises LookupError if there is no such run, ValueError if it has not failed, StoreError.
        """
        run = self._get_run(run_id)
        if not (run.state.is_failure or run.state is RunState.CANCELLED):
            raise ValueError(f"run {run_id} can't be tried again: it is {run.state}")
        self._cron.task_registry.get(run.task)
        retry = retry_of(run, floor_to_second(self._cron.clock()))
        attempt = self._cron.store.newest_attempt(run) + 1
        self._cron.store.enqueue_or_advance(replace(retry, attempt=attempt))

    def backfill(
        self,
        name: str,
        since: datetime,
        until: datetime,
        overlap: Literal["delay", "allow"] = "delay",
    ) -> int:
        """Run a task for its slots with ``since < slot <= until``; return how many there are.

        They run at the next ticks, oldest first, while these have time left. Slots that have run or
        wait already are left out; skipped slots are not. A slot that is due but not claimed yet
        runs once, as part of the backfill. Moments are aware.

        With ``overlap="delay"`` a slot waits while another run of the task is active, and the
        task's scheduled slots wait for the backfill's active run. With ``"allow"`` they run side by
        side, as far as there is capacity: those of tasks outside of the request, or of ticks at the
        same time. A task whose own ``overlap`` is ``"allow"`` does so anyway.

        Raises LookupError if there is no such task, ValueError for moments that are naive, in the
        future or in the wrong order, and for any other ``overlap``, StoreError.
        """
        task = self._cron.task_registry.get(name)
        if to_utc(since, "since") > to_utc(until, "until"):
            raise ValueError(f"until={until!r} is before since={since!r}: swap them")
        if until > self._cron.clock():
            raise ValueError(
                f"until={until!r} is in the future: those slots will run by themselves"
            )
        if overlap not in BACKFILL_ORIGINS:
            raise ValueError(f"overlap={overlap!r}: must be one of 'delay', 'allow'")
        slots = SlotRange(name, since, until, task.between(since, until))
        return add_backfill(self._cron.store, slots, BACKFILL_ORIGINS[overlap])

    def _get_run(self, run_id: str) -> Run:
        run = self._cron.store.get_run(run_id)
        if run is None:
            raise LookupError(f"there is no run {run_id!r}")
        return run

    @contextmanager
    def _own_request(self) -> Iterator[Request]:
        if self._request is not None:
            yield self._request
            return
        with own_request(self._registry) as request:
            yield request


def _parse_moment(
    now: datetime, at: datetime | str | None, after: str | float | timedelta | None
) -> datetime:
    if at is not None and after is not None:
        raise ValueError(f"at={at!r} and after={after!r} each say when; use one of them")
    if at is not None:
        return At(at).moment
    start = floor_to_second(now)
    return start if after is None else start + parse_duration(after, argument="after")


def _check_key(key: Any) -> None:
    if not isinstance(key, str) or not TASK_NAME_PATTERN.fullmatch(key):
        raise ValueError(f"key={key!r}: must be text of 1 to 200 printable characters")


def _parse_state(state: Any) -> RunState:
    try:
        return RunState(state)
    except ValueError:
        states = ", ".join(RunState)
        raise ValueError(f"state={state!r}: must be one of {states}") from None


def scheduler(registry: Registry) -> Scheduler:
    """Return the scheduler of this application, for use outside of any request.

    Its methods raise LookupError if the application does not include pyramid_cron.
    """
    return Scheduler(registry)


def request_scheduler(request: Request) -> Scheduler:
    """Return ``request.cron``."""
    return Scheduler(request.registry, request)
