"""``request.cron``: the tasks and their runs, to look at and to control."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pyramid.registry import Registry
from pyramid.request import Request

from . import events, logs
from .action_record import ActionKind, ActionRecord, make_action
from .app import CronApp, get_cron
from .health_report import HealthReport, assess_health, read_health_report
from .planning.followups import floor_to_second, retry_of
from .planning.health import Health, HealthState, TaskHealth
from .planning.schedule_book import StoredSchedule
from .planning.snapshot import (
    PauseRule,
    WaitingRun,
    active_pause,
    check_pattern,
    matches_any,
)
from .run import (
    BACKFILL_ORIGIN,
    PARALLEL_BACKFILL_ORIGIN,
    Run,
    RunState,
    Trigger,
    as_payload,
    make_adhoc_origin,
    make_run_ids,
)
from .runtime.deferral import (
    Caller,
    callers_transaction,
    change_schedule_at_commit,
    defer_until_commit,
    find_caller,
    find_pending_change,
)
from .runtime.dispatcher import go_on_with_queue
from .runtime.queues import run_handed_off
from .runtime.request_scope import find_actor, is_by_hand, own_request, run_manually
from .runtime.task_session import as_session
from .schedule import At
from .schedule.quantities import parse_count, parse_duration
from .schedule.zones import to_utc
from .schedule_control import (
    ScheduleStatus,
    describe_new,
    describe_schedules,
    make_schedule,
)
from .serializers import task_data
from .store.action_log import record_action
from .store.handoff import cancel_handed_off_run
from .store.queries import list_task_names
from .store.results import DeferredRun
from .store.store import enqueue_or_advance
from .store.stored_schedules import (
    ScheduleChange,
    ScheduleFilter,
    find_schedule,
    list_schedules,
)
from .store.waiting import (
    SlotRange,
    add_backfill,
    cancel_waiting,
    find_waiting_ids,
    list_waiting,
    reschedule_run,
)
from .task import TASK_NAME_PATTERN, Task
from .text import format_instant

ORIGIN_BY_OVERLAP = {"delay": BACKFILL_ORIGIN, "allow": PARALLEL_BACKFILL_ORIGIN}
"""The origins of a backfill's runs, by its argument ``overlap``."""

CANCEL_BATCH_SIZE = 500
"""Waiting runs that one transaction cancels, so that it is short."""

RUN_ID_BEGINNING = re.compile(r"[0-9a-f]{1,25}")
"""Matches the beginning of a run's id."""

MIN_RUN_ID_CHARACTERS = 4
"""Characters that a run's id may be shortened to."""

MAX_NAMED_RUNS = 3
"""Runs that the error of an ambiguous id names."""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The state of one task at the moment of the call."""

    #: The task itself.
    task: Task
    #: Its state of health, as pages, ``pcron`` and metrics have it.
    state: HealthState
    #: Why it is in this state, in a line.
    detail: str | None
    #: Its next slot (aware, UTC); None if there is none, and while it is paused.
    next: datetime | None
    #: Its newest run that is over and was not skipped.
    last: Run | None
    #: Its active runs on all hosts: claimed or running.
    running: tuple[Run, ...]
    #: How many of its runs wait for a later tick.
    waiting: int = 0
    #: The pause in effect; None if it is not paused.
    paused: PauseRule | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what it says as JSON values, with the keys that pages and ``pcron`` have."""
        health = TaskHealth(self.task.name, self.state, self.detail, self.next, self.last)
        return task_data(
            health, self.task, running=self.running, waiting=self.waiting, pause=self.paused
        )


def make_task_status(task: Task, report: HealthReport) -> TaskStatus:
    """Return the state of a registered task."""
    health = report.task_health(task.name)
    return TaskStatus(
        task,
        state=health.state,
        detail=health.detail,
        next=health.next,
        last=health.last,
        running=report.running(task.name),
        waiting=report.waiting_counts[task.name],
        paused=report.pause(task.name),
    )


class Scheduler:
    """The tasks of an application and their runs on all hosts; ``request.cron`` is one.

    Moments that it takes are aware, in any zone; moments that it returns are in UTC. A method
    raises :exc:`~pyramid_cron.StoreError` where the store can't be read or written.
    """

    def __init__(
        self,
        registry: Registry,
        request: Request | None = None,
        tm: Any = None,
        session: Any = None,
    ) -> None:
        self._registry = registry
        self._request = request
        self._tm = tm
        self._session = session

    @property
    def _caller(self) -> Caller:
        return find_caller(self._registry, self._request, self._tm, self._session)

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
        return make_task_status(cron.task_registry.get(name), read_health_report(cron))

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
        action = self._make_action(ActionKind.RUN, task=name)
        with self._own_request() as request:
            commit_first = request is self._request
            return run_manually(cron, request, task, payload, action, commit_first=commit_first)

    def defer(
        self,
        name: str,
        payload: Any = None,
        at: datetime | str | None = None,
        after: str | float | timedelta | None = None,
        key: str | None = None,
        *,
        replace: bool = False,
    ) -> Run:
        """Run a task once, at a moment or soon after; return the run, which waits.

        ``at`` is an aware datetime or ISO 8601 text with an offset; ``after`` is an interval from
        the beginning of this second: text such as ``"10m"``, seconds, or a timedelta. With neither
        it is as soon as possible. ``payload`` is a JSON value, which the task has as
        ``system["payload"]``.

        Of several calls for a task with the same ``key`` only the first counts, until its run is
        over and deleted (``cron.retention``): later ones return the run of the first. With
        ``replace`` a run that still waits is moved, and has the new payload.

        In a transaction (of pyramid_tm, of the task that calls, or of the manager that
        :func:`scheduler` was given) the run is recorded at its commit, and dropped if it is
        aborted, or rolled back to a savepoint before the call; otherwise it is recorded at once.

        Raises LookupError if there is no such task, TypeError or ValueError for a payload that is
        not JSON, and for a wrong moment, interval or key, StoreError.
        """
        self._cron.task_registry.get(name)
        payload = as_payload(payload)
        if key is not None:
            _check_key(key)
        elif replace:
            raise ValueError("replace=True: needs a key, by which the run to replace is known")
        slot = _parse_moment(self._cron.clock(), at, after)
        waiting_run = WaitingRun(
            name,
            slot,
            Trigger.DEFERRED,
            slot,
            origin=make_adhoc_origin(),
            payload=payload,
            id=make_run_ids(slot, 1)[0],
            key=key,
        )
        action = None
        if is_by_hand(self._request):  # otherwise it is the application's work
            details = {"not_before": format_instant(slot), "key": key}
            action = self._make_action(
                ActionKind.DEFER, task=name, run=waiting_run.id, details=details
            )
        deferred_run = DeferredRun(waiting_run, replaces=replace, action=action)
        return defer_until_commit(self._cron, self._caller, deferred_run)

    def schedule(
        self, name: str, task: str, payload: Any = None, enabled: bool = True, **when: Any
    ) -> ScheduleStatus:
        """Make a recurring schedule of a registered task, or replace the one of this name.

        ``when`` says when, as in :func:`~pyramid_cron.directives.add_cron_task`: the fields
        ``min``, ``hour``, ``day``, ``month``, ``dow``, or ``schedule``, ``every``, ``at``; with
        ``timezone`` (default: the task's), ``jitter``, and the moments ``starting`` and ``ending``.
        ``payload`` is a JSON value, which the task has as ``system["payload"]``. One that is not
        ``enabled`` is kept, and makes no slots.

        Slots count that are later than the call. All of the task's policies apply to each of its
        schedules by itself: they do not overlap each other, and each is retried and paused alone.
        It is recorded with the transaction as in :meth:`defer`; every process and host acts on it
        with its next tick or beat.

        Raises ValueError naming the argument that is wrong (an unknown task, the name of a task, a
        payload that is not JSON), StoreError.
        """
        cron = self._cron
        stored, times = make_schedule(cron, name, task, payload, enabled, when)
        details = {"when": times.describe(), "enabled": enabled}
        action = self._make_action(ActionKind.SCHEDULE, task=task, schedule=name, details=details)
        change = ScheduleChange(stored, action=action)
        change_schedule_at_commit(cron, self._caller, change)
        return describe_new(cron, stored)

    def unschedule(self, name: str) -> None:
        """Remove the stored schedule of this name; what waits for it is cancelled.

        Raises LookupError if there is none, StoreError.
        """
        stored = self._find_schedule(name)
        removed = dataclasses.replace(stored, changed=self._cron.clock(), is_enabled=False)
        action = self._make_action(ActionKind.UNSCHEDULE, task=stored.task, schedule=stored.name)
        change = ScheduleChange(removed, is_removed=True, action=action)
        change_schedule_at_commit(self._cron, self._caller, change)

    def schedules(self, task: str | None = None) -> list[ScheduleStatus]:
        """Return the stored schedules of a task, or all, by their names.

        Those of a task that is away are among them. What the current transaction has changed is
        not. Raises StoreError.
        """
        cron = self._cron
        with cron.store.read_session() as session:
            stored = list_schedules(session, ScheduleFilter(task))
        return describe_schedules(cron, stored)

    def get_schedule(self, name: str) -> ScheduleStatus:
        """Return the stored schedule of this name; LookupError if there is none, StoreError."""
        [status] = describe_schedules(self._cron, [self._find_schedule(name)])
        return status

    def _find_schedule(self, name: str) -> StoredSchedule:
        cron, caller, stored = self._cron, self._caller, None
        pending = find_pending_change(cron, caller, name)
        if pending is not None:
            stored = None if pending.is_removed else pending.schedule
        elif isinstance(name, str) and TASK_NAME_PATTERN.fullmatch(name):
            with callers_transaction(cron, caller) as session:
                if session is not None:
                    stored = find_schedule(session, name)
            if session is None:
                with cron.store.read_session() as own_session:
                    stored = find_schedule(own_session, name)
        if stored is None:
            raise LookupError(f"there is no stored schedule named {name!r}")
        return stored

    def waiting(
        self, name: str | None = None, limit: int = 50, *, trigger: Trigger | str | None = None
    ) -> list[Run]:
        """Return the runs that wait, the next first: of one task, or with one trigger, or all.

        Each has the moment ``not_before``, ``why`` it waits, its ``key`` and ``payload``. Raises
        ValueError for an unknown trigger, or a limit below 1 or above 2147483647, StoreError.
        """
        limit, wanted = parse_count("limit", limit), _parse_trigger(trigger)
        if name is not None and not _may_be_name(name):
            return []
        return list_waiting(self._cron.store, name, limit, wanted)

    def reschedule(
        self,
        run_id: str,
        at: datetime | str | None = None,
        after: str | float | timedelta | None = None,
    ) -> Run:
        """Let a waiting run begin at another moment; return it.

        ``at`` and ``after`` are as in :meth:`defer`. Raises LookupError if there is no such run,
        ValueError if it does not wait any more, and for a wrong moment or interval, StoreError.
        """
        run = self._get_run(run_id)
        moment = _parse_moment(self._cron.clock(), at, after)
        details = {"not_before": format_instant(moment)}
        action = self._make_action_on(run, ActionKind.RESCHEDULE, details=details)
        moved = reschedule_run(self._cron.store, run.id, moment, action)
        if moved is None:
            state = self._get_run(run.id).state
            raise ValueError(f"run {run.id} can't be rescheduled: it does not wait, it is {state}")
        self._cron.on_deferred()
        return moved

    def cancel_all(self, name: str, trigger: Trigger | str | None = None) -> int:
        """Cancel all waiting runs of a task, or those with a trigger; return how many.

        ``name`` may be a pattern, as for :meth:`pause`: then it is those of all tasks that match.

        Raises LookupError if there is no such task and nothing of it waits, ValueError for a wrong
        pattern or an unknown trigger, StoreError.
        """
        wanted = _parse_trigger(trigger)
        if not self._is_task_name(name):
            names = self._match_tasks(name)
            return sum(self._cancel_waiting(each, wanted) for each in names)
        return self._cancel_waiting(name, wanted)

    def _cancel_waiting(self, name: str, wanted: Trigger | None) -> int:
        cron, count = self._cron, 0

        def action_for(count: int) -> ActionRecord:
            details = {"count": count, "trigger": wanted and wanted.value}
            return self._make_action(ActionKind.CANCEL_ALL, task=name, details=details)

        # Found once: a cancelled slot of a task with fixed delay has one that follows.
        run_ids = find_waiting_ids(cron.store, name, wanted)
        for start in range(0, len(run_ids), CANCEL_BATCH_SIZE):
            batch = run_ids[start : start + CANCEL_BATCH_SIZE]
            now = cron.clock()
            ended = cancel_waiting(cron.store, batch, now, cron.outcome_of, action_for)
            self._announce_cancelled(ended)
            count += len(ended)
        return count

    def _is_task_name(self, name: Any) -> bool:
        """Return whether this is the name of a task, or that of one that is gone and waits."""
        if not _may_be_name(name):
            return False
        cron = self._cron
        return name in cron.task_registry.by_name or bool(list_waiting(cron.store, name, 1))

    def _match_tasks(self, pattern: str) -> list[str]:
        """Return the names of the tasks that a pattern matches, those that are gone too.

        Raises LookupError if there are none, ValueError for a wrong pattern, StoreError.
        """
        _check_is_text(pattern)
        check_pattern(pattern)
        registered = self._cron.task_registry.by_name
        known = [*registered, *sorted(list_task_names(self._cron.store) - registered.keys())]
        names = [name for name in known if matches_any(pattern, (name,), self._command_of(name))]
        if not names:
            self._cron.task_registry.get(pattern)  # whose error names the nearest
        return names

    def execute(self, run_id: str) -> Run | None:
        """Run a run that was handed off to a queue; for the queue's worker to call.

        The run has a request and a transaction of its own. Returns the run as it ended, or None if
        it has started or ended elsewhere: a message that comes twice is run once.

        Raises LookupError if the run or its task is unknown here, as in an older version of the
        application, and StoreError if the run can't be taken over. The worker should then try
        again later, or leave it to another worker.
        """
        cron = self._cron
        run = run_handed_off(cron, self._registry, run_id)
        if run is not None:
            go_on_with_queue(cron, self._registry, run)
        return run

    def pause(
        self, pattern: str = "*", until: datetime | None = None, reason: str | None = None
    ) -> list[str]:
        """Pause the tasks and stored schedules whose names match; return those names.

        ``pattern`` is a glob, or with ``re:`` in front a regular expression. With ``command:``
        before that it is for the command lines of tasks instead, as in ``command:*pg_dump*``. A
        pause lasts until the aware moment ``until``, or until :meth:`resume`. Active runs go on;
        slots that fall due are skipped with the reason ``paused``, and are not caught up.

        Raises ValueError for a wrong pattern or moment, LookupError if no task matches, StoreError.
        """
        now = self._cron.clock()
        if until is not None and (until := to_utc(until, "until")) <= now:
            raise ValueError(f"until={until!r}: must be an aware moment in the future")
        if reason is not None and not isinstance(reason, str):
            raise ValueError(f"reason={reason!r}: must be text")
        details = {"until": until and format_instant(until), "reason": reason}
        rule = PauseRule(now, True, pattern, until, reason)
        names, _ = self._add_pause_rule(rule, ActionKind.PAUSE, details)
        self._notify([(events.TaskPaused, name, until, reason) for name in names])
        return names

    def resume(self, pattern: str = "*") -> list[str]:
        """End the pauses of tasks and stored schedules whose names match; return those paused.

        All tasks that match count their failures for ``pause_after`` anew.

        Raises ValueError for a wrong pattern, LookupError if no task matches, StoreError.
        """
        rule = PauseRule(self._cron.clock(), False, pattern)
        matching, earlier_rules = self._add_pause_rule(rule, ActionKind.RESUME)
        names = [name for name in matching if self._is_paused(name, rule.since, earlier_rules)]
        self._notify([(events.TaskResumed, name) for name in names])
        return names

    def _is_paused(self, name: str, at: datetime, rules: Sequence[PauseRule]) -> bool:
        """Return whether a task or stored schedule was paused at a moment."""
        task_name = self._cron.schedule_book.task_of(name)
        command = self._command_of(task_name)
        return active_pause(task_name, at, rules, name, command=command) is not None

    def _command_of(self, task_name: str) -> str | None:
        task = self._cron.find_task(task_name)
        return None if task is None else task.command

    def _notify(self, queued_events: Sequence[tuple[Any, ...]]) -> None:
        with self._own_request() as request:
            for kind, *values in queued_events:
                events.notify_subscribers(kind, request, *values)

    def _add_pause_rule(
        self, rule: PauseRule, kind: ActionKind, details: Mapping[str, Any] | None = None
    ) -> tuple[list[str], list[PauseRule]]:
        """Record a pause rule; return the names that it matches, and the rules before it."""
        check_pattern(rule.pattern)
        cron = self._cron
        cron.refresh_schedules()
        known = *cron.task_registry.by_name, *cron.schedule_book.names()
        names = [
            name for name in known if matches_any(rule.pattern, (name,), self._command_of(name))
        ]
        if not names:
            raise LookupError(f"no cron task matches {rule.pattern!r}")
        task = schedule = None
        if len(names) == 1:
            task = cron.schedule_book.task_of(names[0])
            schedule = None if task == names[0] else names[0]
        action = self._make_action(
            kind, task=task, schedule=schedule, pattern=rule.pattern, details=details or {}
        )
        return names, self._cron.store.add_pause_rule(rule, action)

    def cancel(self, run_id: str) -> Run:
        """Cancel a waiting run, or request that of an active one, which ends a moment later.

        Returns the run: ``cancelled``, or still active with ``is_cancel_requested``. An active run
        may be on any host. Raises LookupError if there is no such run, ValueError if it is over,
        StoreError.
        """
        run, cron = self._get_run(run_id), self._cron
        if run.state.is_final:
            raise ValueError(f"run {run.id} is over: it has {run.state}")
        action, now = self._make_action_on(run, ActionKind.CANCEL), cron.clock()
        ended = cancel_waiting(cron.store, [run.id], now, cron.outcome_of, lambda _: action)
        if not ended:
            handed_off = cancel_handed_off_run(cron.store, run.id, now, cron.outcome_of, action)
            ended = [] if handed_off is None else [handed_off]
        if ended:
            self._announce_cancelled(ended)
            return ended[0]
        cron.store.request_cancel(run.id, action)
        cron.supervisor.cancel(run.id)  # without delay, if it is in this process
        return self._get_run(run.id)

    def _announce_cancelled(self, runs: Sequence[Run]) -> None:
        for run in runs:
            logs.log_finished(run)
        self._notify([(events.RunCancelled, run) for run in runs])

    def retry(self, run_id: str) -> Run:
        """Run the slot of a run that failed or was cancelled again, as soon as possible.

        With ``config.set_cron_session`` that is part of the request's transaction. Returns the next
        attempt, which waits. Raises LookupError if there is no such run, ValueError if it has not
        failed, StoreError.
        """
        run = self._get_run(run_id)
        if not (run.state.is_failure or run.state is RunState.CANCELLED):
            raise ValueError(f"run {run.id} can't be tried again: it is {run.state}")
        self._cron.task_registry.get(run.task)
        retry = retry_of(run, floor_to_second(self._cron.clock()))
        attempt = self._cron.store.newest_ended_attempt(run) + 1
        retry = dataclasses.replace(retry, attempt=attempt)
        action = self._make_action_on(run, ActionKind.RETRY)
        with callers_transaction(self._cron, self._caller) as session:
            if session is not None:
                record_action(session, action)
                return enqueue_or_advance(session, retry)
        waiting_run = self._cron.store.enqueue_or_advance(retry, action)
        self._cron.on_deferred()
        return waiting_run

    def backfill(
        self,
        pattern: str,
        since: datetime,
        until: datetime,
        overlap: Literal["delay", "allow"] = "delay",
    ) -> int:
        """Run a task for its slots with ``since < slot <= until``; return how many there are.

        ``pattern`` is a task's name, or a pattern as for :meth:`pause`: then it is all registered
        tasks that match.

        They run at the next ticks, oldest first, while these have time left. Slots that have run or
        wait already are left out; skipped slots are not. A slot that is due but not claimed yet
        runs once, as part of the backfill. Moments are aware.

        With ``overlap="delay"`` a slot waits while another run of the task is active, and the
        task's scheduled slots wait for the backfill's active run. With ``"allow"`` they run side by
        side, as far as there is capacity: those of tasks outside of the request, or of ticks at the
        same time. A task whose own ``overlap`` is ``"allow"`` does so anyway.

        Raises LookupError if there is no such task, ValueError for a wrong pattern, for moments
        that are naive, in the future or in the wrong order, and for any other ``overlap``,
        StoreError.
        """
        tasks = self.match_tasks(pattern)
        if to_utc(since, "since") > to_utc(until, "until"):
            raise ValueError(f"until={until!r} is before since={since!r}: swap them")
        if until > self._cron.clock():
            raise ValueError(
                f"until={until!r} is in the future: those slots will run by themselves"
            )
        if overlap not in ORIGIN_BY_OVERLAP:
            raise ValueError(f"overlap={overlap!r}: must be one of 'delay', 'allow'")
        for task in tasks:
            if overlap == "allow" and task.lock is not None:
                raise ValueError(
                    f"overlap={overlap!r}: {task.name} has the lock {task.lock!r}; use 'delay'"
                )
        start, end = to_utc(since, "since"), to_utc(until, "until")
        return sum(self._backfill(task, start, end, ORIGIN_BY_OVERLAP[overlap]) for task in tasks)

    def _backfill(self, task: Task, since: datetime, until: datetime, origin: str) -> int:
        def action_for(count: int) -> ActionRecord:
            span = {"since": format_instant(since), "until": format_instant(until)}
            details = {**span, "count": count}
            return self._make_action(ActionKind.BACKFILL, task=task.name, details=details)

        slots = SlotRange(task.name, since, until, task.between(since, until))
        return add_backfill(self._cron.store, slots, origin, action_for)

    def match_tasks(self, pattern: str) -> list[Task]:
        """Return the registered task of this name, or those that a pattern matches.

        The pattern is as for :meth:`pause`. Raises LookupError if there is none, ValueError for a
        wrong pattern.
        """
        _check_is_text(pattern)
        by_name = self._cron.task_registry.by_name
        if pattern in by_name:
            return [by_name[pattern]]
        check_pattern(pattern)
        tasks = [
            task for task in by_name.values() if matches_any(pattern, (task.name,), task.command)
        ]
        return tasks or [self._cron.task_registry.get(pattern)]  # whose error names the nearest

    def _make_action_on(self, run: Run, kind: ActionKind, **more: Any) -> ActionRecord:
        """Return an action on a run, for the record."""
        return self._make_action(kind, task=run.task, schedule=run.schedule, run=run.id, **more)

    def _make_action(self, kind: ActionKind, **what: Any) -> ActionRecord:
        """Return an action of whoever calls, for the record."""
        return make_action(kind, self._cron.clock(), find_actor(self._request), **what)

    def get_run(self, run_id: str) -> Run:
        """Return the run with all its texts.

        ``run_id`` may be shortened to any unambiguous beginning of at least four characters. Raises
        LookupError if there is no such run, or if there are several, StoreError.
        """
        return self._get_run(run_id)

    def _get_run(self, run_id: str) -> Run:
        store = self._cron.store
        run = store.get_run(run_id)
        if run is None and isinstance(run_id, str) and RUN_ID_BEGINNING.fullmatch(run_id):
            run = store.get_run(self._complete_run_id(run_id))
        if run is None:
            raise LookupError(f"there is no run {run_id!r}")
        return run

    def _complete_run_id(self, beginning: str) -> str:
        """Return the id that begins so; what is no id where there is none."""
        if len(beginning) < MIN_RUN_ID_CHARACTERS:
            raise LookupError(
                f"{beginning!r} is too short for a run's id: give {MIN_RUN_ID_CHARACTERS}"
                " characters or more"
            )
        found = self._cron.store.find_run_ids(beginning, MAX_NAMED_RUNS + 1)
        if len(found) > 1:
            named, is_all = ", ".join(found[:MAX_NAMED_RUNS]), len(found) <= MAX_NAMED_RUNS
            number = f"{len(found)} runs" if is_all else f"more than {MAX_NAMED_RUNS} runs"
            raise LookupError(
                f"the ids of {number} begin with {beginning!r}: {named}{'' if is_all else '…'};"
                " give more characters"
            )
        return found[0] if found else beginning

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


def _check_is_text(pattern: Any) -> None:
    if not isinstance(pattern, str):
        raise LookupError(f"there is no cron task named {pattern!r}: a name is text")


def _may_be_name(name: Any) -> bool:
    """Return whether a task may have this name; some databases refuse to compare others."""
    return isinstance(name, str) and TASK_NAME_PATTERN.fullmatch(name) is not None


def _parse_trigger(trigger: Any) -> Trigger | None:
    if trigger is None:
        return None
    try:
        return Trigger(trigger)
    except ValueError:
        triggers = ", ".join(Trigger)
        raise ValueError(f"trigger={trigger!r}: must be one of {triggers}") from None


def _parse_state(state: Any) -> RunState:
    try:
        return RunState(state)
    except ValueError:
        states = ", ".join(RunState)
        raise ValueError(f"state={state!r}: must be one of {states}") from None


def scheduler(registry: Registry, tm: Any = None, session: Any = None) -> Scheduler:
    """Return the scheduler of this application, for use outside of any request.

    ``tm`` is a transaction manager, as ``transaction.manager``: what is deferred is recorded when
    its transaction is committed, and dropped if that is aborted. Without one it is recorded at
    once, or in a task with the task's own transaction.

    ``session`` is a SQLAlchemy session or connection into the store's own database: what is
    deferred is a row of its transaction, which the caller commits. Without it there is a moment
    after the commit in which a process that is killed loses what it has deferred, unless
    ``config.set_cron_session`` names the session of the current request, and that has the
    transaction in question.

    Its methods raise LookupError if the application does not include pyramid_cron, and those that
    write raise StoreError if ``session`` is in another database. TypeError for what is no session.
    """
    own_session = None if session is None else as_session(session)
    if session is not None and own_session is None:
        raise TypeError(f"session={session!r}: must be a SQLAlchemy session or connection")
    return Scheduler(registry, tm=tm, session=own_session)


def request_scheduler(request: Request) -> Scheduler:
    """Return ``request.cron``."""
    return Scheduler(request.registry, request)
