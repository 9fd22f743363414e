"""How an application's cron is: what is on record and what is registered, put together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from .due.facts import Active
from .due.health import Health, Show, TaskFacts, assess
from .due.pauses import paused
from .logs import instant
from .run import Reason, RunState, Trigger, first_id
from .state import Cronwork, Tasks
from .store.overview import Overview, Queue, overview
from .store.totals import Total

RECENT = timedelta(days=7)
"""How long a task that is not registered any more is of interest."""

WAITING = tuple(trigger for trigger in Trigger if trigger is not Trigger.BACKFILL)
"""What may not wait for long."""

OF_SCHEDULES = (Trigger.SCHEDULE, Trigger.CATCH_UP, Trigger.RETRY)
"""What a task that paces itself may go on with."""

T = TypeVar("T", Total, Queue)


def health(cron: Cronwork, show: Show = instant) -> Health:
    """Return how the application's cron is now. Raises StoreError if the store can't be read."""
    return assess_record(cron, overview(cron.store, cron.tasks.roster), cron.clock(), show)


def assess_record(cron: Cronwork, record: Overview, now: datetime, show: Show = instant) -> Health:
    """Return how the application's cron is at a moment (aware, UTC), by what is on record."""
    last_ticks = dict(record.last_ticks)
    if cron.latest is not None:  # it reaches the store a moment later
        mine = last_ticks.get(cron.tasks.roster, cron.latest)
        last_ticks[cron.tasks.roster] = max(mine, cron.latest)
    last_tick = max(last_ticks.values(), default=None)
    return assess(_facts(cron.tasks, record, last_ticks, now), last_tick, now, show)


def _facts(
    tasks: Tasks, record: Overview, last_ticks: Mapping[str, datetime], now: datetime
) -> list[TaskFacts]:
    """Return what is known of each task: the registered ones in order, then the orphaned."""
    totals, queues = _by_task(record.totals), _by_task(record.queues)
    active = _active_by_task(record.active)
    since = first_id(now - RECENT)
    recent = {name for name, ones in totals.items() if any(one.newest >= since for one in ones)}
    orphaned = (recent | queues.keys() | active.keys()) - tasks.by_name.keys()
    return [
        TaskFacts(
            name,
            tasks.by_name.get(name),
            ticked=_ticked(name, tasks.roster, record, last_ticks),
            active=active.get(name, ()),
            waits_since=_oldest(queues.get(name, ()), WAITING),
            goes_on=_oldest(queues.get(name, ()), OF_SCHEDULES),
            pause=paused(name, now, record.words),
            last=record.last.get(name),
            failed=_failed(totals.get(name, ())),
            missed=_missed(totals.get(name, ())),
            usual=_usual(totals.get(name, ())),
        )
        for name in (*tasks.by_name, *sorted(orphaned))
    ]


def _by_task(found: Iterable[T]) -> dict[str, list[T]]:
    by_task: dict[str, list[T]] = {}
    for each in found:
        by_task.setdefault(each.task, []).append(each)
    return by_task


def _active_by_task(found: Iterable[Active]) -> dict[str, list[Active]]:
    by_task: dict[str, list[Active]] = {}
    for each in found:
        by_task.setdefault(each.run.task, []).append(each)
    return by_task


def _ticked(
    name: str, mine: str, record: Overview, last_ticks: Mapping[str, datetime]
) -> datetime | None:
    """Return the last tick that knew the task, in whatever version of the application."""
    known = [last_ticks[id_] for id_, names in record.rosters.items() if name in names]
    if mine in last_ticks:
        known.append(last_ticks[mine])
    return max(known, default=None)


def _oldest(queues: Iterable[Queue], triggers: Collection[Trigger]) -> datetime | None:
    return min((each.oldest for each in queues if each.trigger in triggers), default=None)


def _failed(totals: Iterable[Total]) -> bool:
    ran = [each for each in totals if not each.skipped]
    return bool(ran) and RunState(max(ran, key=_newest).state).failure


def _missed(totals: Iterable[Total]) -> bool:
    found = list(totals)
    return bool(found) and max(found, key=_newest).reason == Reason.MISSED.value


def _newest(total: Total) -> str:
    return total.newest


def _usual(totals: Iterable[Total]) -> float | None:
    for each in totals:
        if each.state == RunState.SUCCEEDED.value and each.timed:
            return each.duration / each.timed
    return None
