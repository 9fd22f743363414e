"""What became of every slot, by the record and by the lines that tasks left as they began.

A line is ``task slot attempt`` and whatever else; no trouble with the store can take it back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from sqlalchemy import func, select

from pyramid_cron.app import CronApp
from pyramid_cron.run import Run
from pyramid_cron.store.store import Store
from pyramid_cron.store.waiting import list_waiting

FAULTS = ("twice", "unrecorded", "unfounded", "counted_twice", "stuck")


@dataclass(frozen=True)
class Account:
    """What came of it. Those from ``twice`` on are faults.

    ``twice`` are slots that started more often than the task's attempts allow, or one attempt of
    which started twice; ``unrecorded`` slots that were due and of which the store knows nothing;
    ``unfounded`` starts of which it knows nothing; ``counted_twice`` slots that it counts more than
    once; ``stuck`` runs that still seem to go on though their leases have passed.
    """

    ticks: int
    slots: int
    starts: int
    states: dict[str, int]
    twice: list[str]
    unrecorded: list[str]
    unfounded: list[str]
    counted_twice: list[str]
    stuck: list[str]


def account(cron: CronApp, starts: Path, until: datetime | None = None) -> Account:
    """Account for all slots, or for those until a moment that a tick has come for."""
    known = cron.store.history(limit=10**7)
    first, last, ticks = _span(cron.store)
    end = until or last
    runs = [run for run in known if run.slot <= end]
    begun = [start for start in map(_start, lines(starts)) if start[1] <= end]
    due = {task.name: list(task.between(first, last)) for task in cron.task_registry.tasks}
    attempts = {task.name: task.retry.attempts for task in cron.task_registry.tasks}
    covered = {name: _covered(slots, known, name) for name, slots in due.items()}
    waiting = waiting_slots(cron.store)
    judged = [(name, slot) for name, slots in due.items() for slot in slots if slot <= end]
    return Account(
        ticks=ticks,
        slots=len(judged),
        starts=len(begun),
        states=dict(Counter(str(run.reason or run.state) for run in runs)),
        # Those that are deferred within one second have one slot.
        twice=_twice([start for start in begun if due[start[0]]], attempts),
        unrecorded=[
            f"{name} {slot.isoformat()}"
            for name, slot in judged
            if not covered[name][slot] and (name, slot) not in waiting
        ],
        unfounded=_unfounded(begun, runs),
        counted_twice=[
            f"{name} {slot.isoformat()}" for name, slot in judged if covered[name][slot] > 1
        ],
        stuck=[f"{run.task} {run.id} {run.state}" for run in runs if not run.state.is_final],
    )


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def waiting_slots(store: Store) -> set[tuple[str, datetime]]:
    """Return what waits for a later tick."""
    return {(run.task, run.slot) for run in list_waiting(store, None, 10**7)}


def _span(store: Store) -> tuple[datetime, datetime, int]:
    """Return the moment after which slots were due, the last one, and how many ticks came."""
    ticks, task_sets, runs = store.tables.ticks, store.tables.task_sets, store.tables.runs
    with store.database.read() as connection:
        first = connection.scalar(select(func.min(runs.c.id)))
        last = connection.scalar(select(func.max(task_sets.c.window_end)))
        count = connection.scalar(select(func.count()).select_from(ticks))
    begin = datetime.fromtimestamp(int(first[:12], 16) / 1000, timezone.utc)
    return begin.replace(second=0, microsecond=0) - timedelta.resolution, last, count


Start = tuple[str, datetime, int]


def _start(line: str) -> Start:
    task, slot, attempt, *_ = line.split()
    return task, datetime.fromisoformat(slot), int(attempt)


def _covered(due: Sequence[datetime], runs: Iterable[Run], name: str) -> Counter[datetime]:
    """Return how often the record speaks of each slot; a skipped run may stand for several."""
    covered: Counter[datetime] = Counter()
    for run in runs:
        if run.task == name and run.attempt == 1:
            end = bisect_right(due, run.slot)
            covered.update(due[max(0, end - run.count) : end])
    return covered


def _twice(starts: Sequence[Start], attempts: dict[str, int]) -> list[str]:
    same = [start for start, times in Counter(starts).items() if times > 1]
    slots = Counter((task, slot) for task, slot, _ in starts)
    often = [(*each, times) for each, times in slots.items() if times > attempts[each[0]]]
    return [f"{task} {slot.isoformat()} {number}" for task, slot, number in (*same, *often)]


def _unfounded(starts: Iterable[Start], runs: Iterable[Run]) -> list[str]:
    recorded = {(run.task, run.slot, run.attempt) for run in runs if run.started or run.error}
    unknown = [each for each in starts if each not in recorded]
    return [f"{task} {slot.isoformat()} {attempt}" for task, slot, attempt in unknown]
