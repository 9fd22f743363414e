"""What a tick does with the slots that are due: which run, in what order, and which do not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from ..run import Reason, Trigger
from ..task import REQUEST, CatchUp, Overlap, Task
from .apart import Candidate, share
from .catch_up import NO_COUNTS, ON_TIME, Skipped, catch_up, on_time, total
from .facts import BACKFILL, BESIDE, Active, Facts, Pending
from .pace import paced
from .pauses import paused

INSTANT = timedelta.resolution
FROM_SCHEDULE = (Trigger.SCHEDULE, Trigger.CATCH_UP)


class Due(NamedTuple):
    """What one task has to do at a tick: its slots since the last one, oldest first.

    ``counts`` are how many slots a slot stands for, itself included, where these are several.
    """

    task: Task
    position: int
    slots: Sequence[datetime] = ()
    counts: Mapping[datetime, int] = NO_COUNTS

    def after(self, since: datetime) -> Sequence[datetime]:
        """Return its slots after a moment, each of them."""
        if not self.counts:
            return self.slots[bisect_right(self.slots, since) :]
        return self.task.between(max(since, self.slots[0] - INSTANT), self.slots[-1])

    def in_full(self) -> Due:
        """Return the same with each of its slots."""
        return self._replace(slots=self.after(self.slots[0] - INSTANT), counts=NO_COUNTS)


@dataclass(frozen=True, slots=True)
class Skip:
    """Slots of a task that do not run, and what else there is to say of it.

    ``asked`` is what was asked for by hand, or has waited, if that is so.
    """

    task: str
    skipped: Skipped
    detail: str | None = None
    asked: Pending | None = None


@dataclass(slots=True)
class Decisions:
    """What to do, in order.

    ``now`` runs in any case. ``patient`` (what more there is to catch up, and backfills) and then
    ``idle`` run while there is time and wait for a later tick otherwise; ``restart`` runs once the
    runs in ``cancel`` have stopped.
    ``idle_cancel`` are runs that have to stop for an idle task, if there is time for that at all.
    ``apart`` runs outside the request, ``queued`` waits until there is room for that. ``keep`` is
    to be put on record as waiting, after ``drop`` was taken off.
    """

    now: list[Pending] = field(default_factory=list)
    patient: list[Pending] = field(default_factory=list)
    idle: list[Pending] = field(default_factory=list)
    restart: list[Pending] = field(default_factory=list)
    apart: list[Pending] = field(default_factory=list)
    queued: list[Pending] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    keep: list[Pending] = field(default_factory=list)
    drop: list[Pending] = field(default_factory=list)
    cancel: list[str] = field(default_factory=list)
    idle_cancel: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, task: Task, skipped: Iterable[Skipped], detail: str | None = None) -> None:
        """Note slots that do not run."""
        self.skipped += [Skip(task.name, each, detail) for each in skipped]


def decide(due: Iterable[Due], facts: Facts, now: datetime, capacity: int = 0) -> Decisions:
    """Return what to do at ``now`` (aware, UTC) with the slots that are due and what waits.

    ``capacity`` is how much weight may run outside of requests at once.
    """
    decisions = Decisions()
    waiting = _by_task(facts.waiting)
    ranks: dict[str, tuple[int, int]] = {}
    outside: dict[str, Task] = {}
    for each in due:
        ranks[each.task.name] = (-each.task.priority, each.position)
        if each.task.executor != REQUEST:
            outside[each.task.name] = each.task
        _decide_one(decisions, each, waiting.get(each.task.name, ()), facts, now)

    def rank(pending: Pending) -> tuple[int, datetime, int]:
        priority, position = ranks[pending.task]
        return priority, pending.due_since, position

    for order in (decisions.now, decisions.patient, decisions.idle, decisions.restart):
        order.sort(key=rank)
    if outside:
        found = _taken_out(decisions, outside)
        found.sort(key=lambda each: (each.last, *rank(each.pending)))
        _set_apart(decisions, found, capacity - facts.load, now)
    return decisions


def _taken_out(decisions: Decisions, outside: Mapping[str, Task]) -> list[Candidate]:
    """Take what is to run outside the request out of what would run in it."""
    found: list[Candidate] = []
    for order in (decisions.now, decisions.patient, decisions.idle):
        found += [Candidate(outside[each.task], each) for each in order if each.task in outside]
        order[:] = [each for each in order if each.task not in outside]
    return found


def _set_apart(
    decisions: Decisions, candidates: Sequence[Candidate], room: int, now: datetime
) -> None:
    """Decide what of this begins; the rest is on record as waiting, or has waited too long."""
    shares = share(candidates, room, now)
    decisions.apart, decisions.queued = shares.begin, shares.wait
    settled, waiting = {*shares.begin, *shares.expired}, set(shares.wait)
    kept = [each for each in decisions.keep if each not in settled and each not in waiting]
    decisions.keep = [*kept, *shares.wait]
    dropped = [each for each in decisions.drop if each not in settled and each not in waiting]
    decisions.drop = [*dropped, *shares.begin, *shares.expired]
    decisions.skipped += [
        Skip(each.task, Skipped(each.slot, 1, Reason.CAPACITY), asked=each)
        for each in shares.expired
    ]


def _by_task(waiting: Iterable[Pending]) -> Mapping[str, list[Pending]]:
    found: dict[str, list[Pending]] = {}
    for each in waiting:
        found.setdefault(each.task, []).append(each)
    return found


def _decide_one(
    decisions: Decisions, due: Due, waiting: Sequence[Pending], facts: Facts, now: datetime
) -> None:
    task = due.task
    active = facts.active.get(task.name, ())
    if not (waiting or active or facts.words or task.idle) and _is_simple(task, due.slots, now):
        slot = due.slots[0]
        decisions.now.append(Pending(task.name, slot, Trigger.SCHEDULE, slot))
        return
    begun, filled_in = {each.run.slot for each in active}, _filled_in(waiting)
    due = _in_full_around(begun | filled_in, due)
    slots: Sequence[datetime] = [slot for slot in due.slots if slot not in filled_in]
    late: list[Pending] = []
    if task.pace is not None:
        found = paced(task, slots, waiting, facts, now)
        slots, waiting, late = found.slots, found.waiting, found.late
        decisions.drop += found.drop
        decisions.skipped += [Skip(task.name, *each) for each in found.skipped]
    slots = _unpaused(decisions, due, slots, facts, now)
    if facts.words and paused(task.name, now, facts.words):
        return
    slots = [slot for slot in slots if slot not in begun]
    fresh = [*late, *_fresh(decisions, due, slots, now)]
    old = [each for each in waiting if each.trigger in FROM_SCHEDULE]
    apart = [each for each in waiting if each.trigger not in FROM_SCHEDULE]
    if task.catch_up is not CatchUp.ALL:
        fresh, old = _folded(decisions, task, fresh, old)
    if others := in_the_way(task, active):
        _overlapping(decisions, task, fresh, old, others)
        _at_once(decisions, [each for each in apart if each.nonce == BESIDE])
    elif task.idle:
        decisions.idle += [*old, *fresh, *apart]
        decisions.keep += fresh
    else:
        if _all(task) and not all(on_time(each.slot, now) for each in (*fresh, *old)):
            fresh, old = _patiently(decisions, fresh, old)
        decisions.now += [*old, *fresh]
        decisions.drop += old
        _at_once(decisions, apart)


def _is_simple(task: Task, slots: Sequence[datetime], now: datetime) -> bool:
    """Return whether there is nothing to decide, as in nearly every case: one slot, on time."""
    one = len(slots) == 1 and on_time(slots[0], now)
    return one and task.pace is None and (task.grace is None or task.grace >= ON_TIME)


def _all(task: Task) -> bool:
    return task.catch_up is CatchUp.ALL


def _patiently(
    decisions: Decisions, fresh: list[Pending], old: list[Pending]
) -> tuple[list[Pending], list[Pending]]:
    """Keep the oldest slot only, which runs in any case; the others run while there is time."""
    oldest = min((*fresh, *old), key=lambda each: each.slot)
    new = [each for each in fresh if each is not oldest]
    decisions.patient += [*(each for each in old if each is not oldest), *new]
    decisions.keep += new
    return [each for each in fresh if each is oldest], [each for each in old if each is oldest]


def _at_once(decisions: Decisions, waiting: Sequence[Pending]) -> None:
    """Run what waited, but a backfill only while there is time."""
    for each in waiting:
        if each.trigger is Trigger.BACKFILL:
            decisions.patient.append(each)
        else:
            decisions.now.append(each)
            decisions.drop.append(each)


def _filled_in(waiting: Sequence[Pending]) -> set[datetime]:
    """Return the slots that are filled in, even before a tick came for them."""
    return {each.slot for each in waiting if each.nonce in (BACKFILL, BESIDE)}


def _in_full_around(moments: Collection[datetime], due: Due) -> Due:
    """Return a task with each of its slots, if any of these moments is among them."""
    if due.counts and any(due.slots[0] <= moment <= due.slots[-1] for moment in moments):
        return due.in_full()
    return due


def _unpaused(
    decisions: Decisions, due: Due, slots: Sequence[datetime], facts: Facts, now: datetime
) -> Sequence[datetime]:
    """Return the slots that no pause covers; paused time is not missed time."""
    if not (slots and facts.words):
        return slots
    task, at_now = due.task, paused(due.task.name, now, facts.words)
    pauses = {slot: at_now or paused(task.name, slot, facts.words) for slot in slots}
    held = [slot for slot, word in pauses.items() if word]
    if held:
        word = pauses[held[-1]]
        skipped = Skipped(held[-1], total(held, due.counts), Reason.PAUSED)
        decisions.skip(task, [skipped], word.reason if word else None)
    return [slot for slot, word in pauses.items() if not word]


def _fresh(
    decisions: Decisions, due: Due, slots: Sequence[datetime], now: datetime
) -> list[Pending]:
    """Return what of the slots since the last tick is to run."""
    run, skipped = catch_up(due.task, slots, now, due.counts)
    decisions.skip(due.task, skipped)
    return [Pending(due.task.name, slot.moment, slot.trigger, slot.moment) for slot in run]


def _folded(
    decisions: Decisions, task: Task, fresh: list[Pending], old: list[Pending]
) -> tuple[list[Pending], list[Pending]]:
    """Keep the newest slot only; the older ones that waited are folded into it.

    It takes their place in the order, too: a task whose slots come often would never have its turn
    if its wait began anew with each of them.
    """
    newest_first = sorted((*fresh, *old), key=lambda each: each.slot, reverse=True)
    if len(newest_first) < 2:
        return fresh, old
    newest, *older = newest_first
    decisions.skip(task, [Skipped(older[0].slot, len(older), Reason.SUPERSEDED)])
    decisions.drop += [each for each in older if each in old]
    heir = replace(newest, not_before=min(each.due_since for each in newest_first))
    return ([heir], []) if newest in fresh else ([], [heir])


def _overlapping(
    decisions: Decisions,
    task: Task,
    fresh: list[Pending],
    old: list[Pending],
    active: Sequence[Active],
) -> None:
    """Do as the task's ``overlap`` says while a run goes on; what waits, waits on.

    A backfill takes nothing away from the schedule: its slots wait until the run is over. Nor do
    the slots that a task catches up with cancel one another's runs: only a new one does.
    """
    backlog = _all(task) and not fresh
    if task.overlap is Overlap.DELAY or all(each.run.nonce == BACKFILL for each in active):
        decisions.keep += fresh
    elif task.overlap is Overlap.RESTART and not backlog:
        decisions.keep += fresh
        others = [each.run.id for each in active if fresh or old]
        if task.idle and task.executor == REQUEST:
            decisions.idle += [*old, *fresh]
            decisions.idle_cancel[task.name] = others
        else:
            decisions.restart += [*old, *fresh]
            decisions.cancel += others
    elif fresh:
        decisions.skipped.append(overlapping(task, [each.slot for each in fresh], active))


def in_the_way(task: Task, active: Sequence[Active], nonce: int = 0) -> Sequence[Active]:
    """Return which of a task's runs keep a slot from beginning beside them."""
    if task.overlap is Overlap.ALLOW or nonce == BESIDE:
        return ()
    return [each for each in active if each.run.nonce != BESIDE]


def overlapping(task: Task, slots: Sequence[datetime], active: Sequence[Active]) -> Skip:
    """Return that slots are skipped since a run goes on, and which one that is."""
    skipped = Skipped(slots[-1], len(slots), Reason.OVERLAP)
    return Skip(task.name, skipped, f"still going on: {active[-1]}")


def usual_duration(durations: Sequence[float]) -> float:
    """Return the seconds that an idle task usually takes, 0 where nothing is known.

    ``durations`` are those of its latest successes; the usual one is their median.
    """
    return sorted(durations)[len(durations) // 2] if durations else 0.0
