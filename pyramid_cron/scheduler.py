"""``request.cron``: ask what is registered and what happened, and run a task by hand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.scripting import prepare

from . import events, logs
from .app import CronApp, get_cron
from .health_report import assess_health
from .planning.followups import floor_to_second, retry_of
from .planning.health import Health
from .planning.pauses import PauseRule, active_pause, name_matcher
from .planning.snapshot import BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN, WaitingRun
from .run import Run, RunState, Trigger, as_payload
from .runtime.deferral import defer_until_commit
from .runtime.queues import run_handed_off
from .runtime.request_scope import run_manually
from .schedule import At
from .schedule.quantities import parse_count, parse_duration
from .schedule.zones import to_utc
from .store.backfill import SlotRange
from .store.results import DeferredRun
from .task import TASK_NAME_PATTERN, Task

BACKFILL_ORIGINS = {"delay": BACKFILL_ORIGIN, "allow": PARALLEL_BACKFILL_ORIGIN}
"""What may be said of a backfill's ``overlap``."""

FINAL_STATES = tuple(state for state in RunState if state.is_final)


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How a task stands.

    ``next`` is its next slot (aware, UTC; None if there is none), ``last`` its newest run that is
    over, ``running`` the runs that are not, ``waiting`` how many slots wait for a later tick, and
    ``paused`` the pause it is in, if any.
    """

    task: Task
    next: datetime | None
    last: Run | None
    running: tuple[Run, ...]
    waiting: int = 0
    paused: PauseRule | None = None


class Scheduler:
    """What an application asks of its cron; ``request.cron`` is one.

    What it tells comes from the store, so it covers the runs of every host.
    """

    def __init__(self, registry: Registry, request: Request | None = None) -> None:
        self._registry = registry
        self._request = request

    @property
    def _cron(self) -> CronApp:
        cron = get_cron(self._registry)
        cron.refresh_sources()  # there are processes that no tick reaches
        return cron

    def tasks(self) -> list[Task]:
        """Return the registered tasks, in order of registration."""
        return list(self._cron.task_registry.tasks)

    def status(self, name: str) -> TaskStatus:
        """Return how the task of this name stands. Raises LookupError if there is none."""
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

        Raises ValueError for a state there is not, or a limit below 1 or above 2147483647.
        """
        states = None if state is None else (_parse_state(state),)
        return self._cron.store.history(name, states, parse_count("limit", limit))

    def health(self) -> Health:
        """Return how things stand: whether ticks come, and how each task is.

        Raises StoreError if the store can't be read.
        """
        return assess_health(self._cron)

    def run(self, name: str, payload: Any = None) -> Run:
        """Run a task now, in this request; return the run as it ended.

        The task has a transaction of its own. What the request did before is committed first, and
        what it does afterwards is in a new transaction. The task finds ``payload``, a JSON value,
        in its ``system``. A task that fails raises nothing here: look at the run's ``state``.

        Raises LookupError if there is no such task, TypeError or ValueError if the payload is not
        JSON, StoreError if the run can't be recorded, and what committing the request's own work
        raises.
        """
        cron = self._cron
        task = cron.task_registry.get(name)
        with self._own_request() as request:
            keep = request is self._request
            return run_manually(cron, request, task, payload, cron.clock(), commit_first=keep)

    def defer(
        self,
        name: str,
        payload: Any = None,
        at: datetime | str | None = None,
        after: str | float | timedelta | None = None,
        key: str | None = None,
    ) -> WaitingRun:
        """Run a task once, at the first tick that comes at a moment or later; return what waits.

        ``at`` is an aware datetime or ISO 8601 text with an offset, ``after`` an interval from the
        beginning of this second; with neither it is the next tick. The task finds ``payload``, a
        JSON value, in its ``system``. Of several calls for a task with the same ``key`` only the
        first counts, until it has run and its run is forgotten.

        Where there is a transaction (of pyramid_tm, or of the task that asks) it is on record once
        that is committed, and dropped if that is aborted, or a savepoint before it rolled back;
        otherwise at once.

        Raises LookupError if there is no such task, TypeError or ValueError for what is not JSON,
        no moment, no interval or no key, StoreError if it is to be put on record at once and can't.
        """
        self._cron.task_registry.get(name)
        given = as_payload(payload)
        if key is not None:
            _check_key(key)
        slot = _parse_moment(self._cron.clock(), at, after)
        nonce = secrets.randbits(62) + 2
        pending = WaitingRun(name, slot, Trigger.DEFERRED, slot, nonce=nonce, payload=given)
        defer_until_commit(self._cron, self._request, DeferredRun(pending, key))
        return pending

    def execute(self, run_id: str) -> Run | None:
        """Carry out a run that was sent to a queue; for the queue's worker to call.

        The run has a request and a transaction of its own. Returned is the run as it ended, or None
        if there is nothing to do: a message that comes twice is carried out once. Raises
        LookupError if the run or its task is not known here, as in an older version of the
        application, and StoreError if the store can't be reached to take the run up. Both are to
        be tried again later, here or by another worker.
        """
        return run_handed_off(self._cron, self._registry, run_id)

    def pause(
        self, pattern: str = "*", until: datetime | None = None, reason: str | None = None
    ) -> list[str]:
        """Pause the tasks whose names match; return those names.

        ``pattern`` is a glob, or with ``re:`` in front a regular expression. A pause lasts until
        the aware moment ``until``, or until :meth:`resume`. What runs goes on; slots that come due
        are skipped with the reason ``paused``, and nothing is made up for them.

        Raises ValueError for a wrong pattern or moment, LookupError if no task matches.
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
        """End the pauses of the tasks whose names match; return the names of the paused ones.

        For all that match, ``pause_after`` counts anew. Raises ValueError for a wrong pattern,
        LookupError if no task matches.
        """
        word = PauseRule(self._cron.clock(), False, pattern)
        matching, before = self._add_pause_rule(word)
        names = [name for name in matching if active_pause(name, word.since, before)]
        self._notify([(events.TaskResumed, name) for name in names])
        return names

    def _notify(self, queued_events: Sequence[tuple[Any, ...]]) -> None:
        with self._own_request() as request:
            for kind, *values in queued_events:
                events.notify_subscribers(kind, request, *values)

    def _add_pause_rule(self, rule: PauseRule) -> tuple[list[str], list[PauseRule]]:
        """Put a word on record; return the tasks it is about, and what had been said before."""
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
        """Ask for the end of a run, wherever it goes on; its state tells when it has come.

        Raises LookupError if there is no such run, ValueError if it is over.
        """
        run = self._get_run(run_id)
        if run.state.is_final:
            raise ValueError(f"run {run_id} is over: it has {run.state}")
        cron = self._cron
        ended = cron.store.cancel_handed_off(run_id, cron.clock(), cron.outcome_of)
        if ended is None:
            cron.store.request_cancel(run_id)
            cron.supervisor.cancel(run_id)  # at once, if it is here
        else:
            logs.log_finished(ended)
            self._notify([(events.RunCancelled, ended)])

    def retry(self, run_id: str) -> None:
        """Try the slot of a run that went wrong or was cancelled once more, at the next tick.

        Raises LookupError if there is no such run, ValueError if it has not gone wrong.
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

        They run at the next ticks, oldest first, while these have time left. A slot that has run
        already, or waits to, is left out; one that was skipped is not. One that no tick has come
        for yet runs as one of them, and so once. Moments are aware.

        With ``overlap="delay"`` each waits until no other run of the task goes on, and the task's
        scheduled slots wait in turn while one does. With ``"allow"`` they run beside one another,
        and beside what is scheduled, as far as there is room; only tasks outside of the request
        and ticks at the same time do so. A task whose own ``overlap`` is ``"allow"`` does anyway.

        Raises LookupError if there is no such task, ValueError for moments that are naive, still to
        come, or in the wrong order, and for any other ``overlap``.
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
        return self._cron.store.add_backfill(slots, BACKFILL_ORIGINS[overlap])

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
        with prepare(registry=self._registry) as made:
            yield made["request"]


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
    """Return the scheduler of this application, outside of any request."""
    return Scheduler(registry)


def request_scheduler(request: Request) -> Scheduler:
    """Return ``request.cron``."""
    return Scheduler(request.registry, request)
