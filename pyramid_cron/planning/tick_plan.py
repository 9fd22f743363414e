"""What a tick does with the slots that are due: which run, in what order, and which do not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from ..run import RunReason, Trigger
from ..task import REQUEST_EXECUTOR, CatchUp, Overlap, Task
from .capacity import Candidate, allocate
from .catch_up import NO_COUNTS, SLOT_ON_TIME_LIMIT, SkippedSlots, catch_up, is_on_time, total
from .fixed_delay import plan_fixed_delay
from .pauses import active_pause
from .snapshot import BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN, ActiveRun, Snapshot, WaitingRun

INSTANT = timedelta.resolution
SCHEDULED_TRIGGERS = (Trigger.SCHEDULE, Trigger.CATCH_UP)


class DueTask(NamedTuple):
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

    def in_full(self) -> DueTask:
        """Return the same with each of its slots."""
        return self._replace(slots=self.after(self.slots[0] - INSTANT), counts=NO_COUNTS)


@dataclass(frozen=True, slots=True)
class TaskSkip:
    """Slots of a task that do not run, and what else there is to say of it.

    ``asked`` is what was asked for by hand, or has waited, if that is so.
    """

    task: str
    slots: SkippedSlots
    detail: str | None = None
    waiting_run: WaitingRun | None = None


@dataclass(slots=True)
class TickPlan:
    """What to do, in order.

    ``now`` runs in any case. ``patient`` (what more there is to catch up, and backfills) and then
    ``idle`` run while there is time and wait for a later tick otherwise; ``restart`` runs once the
    runs in ``cancel`` have stopped.
    ``idle_cancel`` are runs that have to stop for an idle task, if there is time for that at all.
    ``apart`` runs outside the request, ``queued`` waits until there is room for that. ``keep`` is
    to be put on record as waiting, after ``drop`` was taken off.
    """

    run_now: list[WaitingRun] = field(default_factory=list)
    backlog: list[WaitingRun] = field(default_factory=list)
    idle: list[WaitingRun] = field(default_factory=list)
    restarts: list[WaitingRun] = field(default_factory=list)
    background: list[WaitingRun] = field(default_factory=list)
    over_capacity: list[WaitingRun] = field(default_factory=list)
    skipped: list[TaskSkip] = field(default_factory=list)
    enqueue: list[WaitingRun] = field(default_factory=list)
    dequeue: list[WaitingRun] = field(default_factory=list)
    cancel_ids: list[str] = field(default_factory=list)
    idle_restart_ids: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, task: Task, skipped: Iterable[SkippedSlots], detail: str | None = None) -> None:
        """Note slots that do not run."""
        self.skipped += [TaskSkip(task.name, each, detail) for each in skipped]


def plan_tick(
    due_tasks: Iterable[DueTask], snapshot: Snapshot, now: datetime, capacity: int = 0
) -> TickPlan:
    """Return what to do at ``now`` (aware, UTC) with the slots that are due and what waits.

    ``capacity`` is how much weight may run outside of requests at once.
    """
    decisions = TickPlan()
    waiting = _group_by_task(snapshot.waiting)
    ranks: dict[str, tuple[int, int]] = {}
    outside: dict[str, Task] = {}
    for each in due_tasks:
        ranks[each.task.name] = (-each.task.priority, each.position)
        if each.task.executor != REQUEST_EXECUTOR:
            outside[each.task.name] = each.task
        _plan_task(decisions, each, waiting.get(each.task.name, ()), snapshot, now)

    def rank(pending: WaitingRun) -> tuple[int, datetime, int]:
        priority, position = ranks[pending.task]
        return priority, pending.due_since, position

    for order in (decisions.run_now, decisions.backlog, decisions.idle, decisions.restarts):
        order.sort(key=rank)
    if outside:
        found = _split_off_background(decisions, outside)
        found.sort(key=lambda each: (each.is_last, *rank(each.waiting_run)))
        _allocate_background(decisions, found, capacity - snapshot.background_weight, now)
    return decisions


def _split_off_background(plan: TickPlan, background_tasks: Mapping[str, Task]) -> list[Candidate]:
    """Take what is to run outside the request out of what would run in it."""
    found: list[Candidate] = []
    for order in (plan.run_now, plan.backlog, plan.idle):
        found += [
            Candidate(background_tasks[each.task], each)
            for each in order
            if each.task in background_tasks
        ]
        order[:] = [each for each in order if each.task not in background_tasks]
    return found


def _allocate_background(
    plan: TickPlan, candidates: Sequence[Candidate], room: int, now: datetime
) -> None:
    """Decide what of this begins; the rest is on record as waiting, or has waited too long."""
    shares = allocate(candidates, room, now)
    plan.background, plan.over_capacity = shares.start, shares.wait
    settled, waiting = {*shares.start, *shares.expired}, set(shares.wait)
    kept = [each for each in plan.enqueue if each not in settled and each not in waiting]
    plan.enqueue = [*kept, *shares.wait]
    dropped = [each for each in plan.dequeue if each not in settled and each not in waiting]
    plan.dequeue = [*dropped, *shares.start, *shares.expired]
    plan.skipped += [
        TaskSkip(each.task, SkippedSlots(each.slot, 1, RunReason.CAPACITY), waiting_run=each)
        for each in shares.expired
    ]


def _group_by_task(waiting: Iterable[WaitingRun]) -> Mapping[str, list[WaitingRun]]:
    found: dict[str, list[WaitingRun]] = {}
    for each in waiting:
        found.setdefault(each.task, []).append(each)
    return found


def _plan_task(
    plan: TickPlan,
    due_task: DueTask,
    waiting: Sequence[WaitingRun],
    snapshot: Snapshot,
    now: datetime,
) -> None:
    task = due_task.task
    active = snapshot.active.get(task.name, ())
    if not (waiting or active or snapshot.pause_rules or task.idle) and _is_routine(
        task, due_task.slots, now
    ):
        slot = due_task.slots[0]
        plan.run_now.append(WaitingRun(task.name, slot, Trigger.SCHEDULE, slot))
        return
    begun, filled_in = {each.run.slot for each in active}, _filled_in(waiting)
    due_task = _in_full_around(begun | filled_in, due_task)
    slots: Sequence[datetime] = [slot for slot in due_task.slots if slot not in filled_in]
    late: list[WaitingRun] = []
    if task.fixed_delay is not None:
        found = plan_fixed_delay(task, slots, waiting, snapshot, now)
        slots, waiting, late = found.slots, found.waiting, found.late
        plan.dequeue += found.dequeue
        plan.skipped += [TaskSkip(task.name, *each) for each in found.skipped]
    slots = _skip_paused(plan, due_task, slots, snapshot, now)
    if snapshot.pause_rules and active_pause(task.name, now, snapshot.pause_rules):
        return
    slots = [slot for slot in slots if slot not in begun]
    fresh = [*late, *_new_slots(plan, due_task, slots, now)]
    old = [each for each in waiting if each.trigger in SCHEDULED_TRIGGERS]
    apart = [each for each in waiting if each.trigger not in SCHEDULED_TRIGGERS]
    if task.catch_up is not CatchUp.ALL:
        fresh, old = _supersede_older(plan, task, fresh, old)
    if others := blocking_runs(task, active):
        _apply_overlap(plan, task, fresh, old, others)
        _run_or_backlog(plan, [each for each in apart if each.nonce == PARALLEL_BACKFILL_ORIGIN])
    elif task.idle:
        plan.idle += [*old, *fresh, *apart]
        plan.enqueue += fresh
    else:
        if _is_catch_up_all(task) and not all(
            is_on_time(each.slot, now) for each in (*fresh, *old)
        ):
            fresh, old = _limit_to_oldest(plan, fresh, old)
        plan.run_now += [*old, *fresh]
        plan.dequeue += old
        _run_or_backlog(plan, apart)


def _is_routine(task: Task, slots: Sequence[datetime], now: datetime) -> bool:
    """Return whether there is nothing to decide, as in nearly every case: one slot, on time."""
    one = len(slots) == 1 and is_on_time(slots[0], now)
    return (
        one
        and task.fixed_delay is None
        and (task.grace is None or task.grace >= SLOT_ON_TIME_LIMIT)
    )


def _is_catch_up_all(task: Task) -> bool:
    return task.catch_up is CatchUp.ALL


def _limit_to_oldest(
    plan: TickPlan, new_runs: list[WaitingRun], waiting_runs: list[WaitingRun]
) -> tuple[list[WaitingRun], list[WaitingRun]]:
    """Keep the oldest slot only, which runs in any case; the others run while there is time."""
    oldest = min((*new_runs, *waiting_runs), key=lambda each: each.slot)
    new = [each for each in new_runs if each is not oldest]
    plan.backlog += [*(each for each in waiting_runs if each is not oldest), *new]
    plan.enqueue += new
    return [each for each in new_runs if each is oldest], [
        each for each in waiting_runs if each is oldest
    ]


def _run_or_backlog(plan: TickPlan, waiting: Sequence[WaitingRun]) -> None:
    """Run what waited, but a backfill only while there is time."""
    for each in waiting:
        if each.trigger is Trigger.BACKFILL:
            plan.backlog.append(each)
        else:
            plan.run_now.append(each)
            plan.dequeue.append(each)


def _filled_in(waiting: Sequence[WaitingRun]) -> set[datetime]:
    """Return the slots that are filled in, even before a tick came for them."""
    return {
        each.slot for each in waiting if each.nonce in (BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN)
    }


def _in_full_around(moments: Collection[datetime], due: DueTask) -> DueTask:
    """Return a task with each of its slots, if any of these moments is among them."""
    if due.counts and any(due.slots[0] <= moment <= due.slots[-1] for moment in moments):
        return due.in_full()
    return due


def _skip_paused(
    plan: TickPlan, due: DueTask, slots: Sequence[datetime], snapshot: Snapshot, now: datetime
) -> Sequence[datetime]:
    """Return the slots that no pause covers; paused time is not missed time."""
    if not (slots and snapshot.pause_rules):
        return slots
    task, at_now = due.task, active_pause(due.task.name, now, snapshot.pause_rules)
    pauses = {slot: at_now or active_pause(task.name, slot, snapshot.pause_rules) for slot in slots}
    held = [slot for slot, word in pauses.items() if word]
    if held:
        word = pauses[held[-1]]
        skipped = SkippedSlots(held[-1], total(held, due.counts), RunReason.PAUSED)
        plan.skip(task, [skipped], word.reason if word else None)
    return [slot for slot, word in pauses.items() if not word]


def _new_slots(
    plan: TickPlan, due: DueTask, slots: Sequence[datetime], now: datetime
) -> list[WaitingRun]:
    """Return what of the slots since the last tick is to run."""
    run, skipped = catch_up(due.task, slots, now, due.counts)
    plan.skip(due.task, skipped)
    return [WaitingRun(due.task.name, slot.moment, slot.trigger, slot.moment) for slot in run]


def _supersede_older(
    plan: TickPlan, task: Task, new_runs: list[WaitingRun], waiting_runs: list[WaitingRun]
) -> tuple[list[WaitingRun], list[WaitingRun]]:
    """Keep the newest slot only; the older ones that waited are folded into it.

    It takes their place in the order, too: a task whose slots come often would never have its turn
    if its wait began anew with each of them.
    """
    newest_first = sorted((*new_runs, *waiting_runs), key=lambda each: each.slot, reverse=True)
    if len(newest_first) < 2:
        return new_runs, waiting_runs
    newest, *older = newest_first
    plan.skip(task, [SkippedSlots(older[0].slot, len(older), RunReason.SUPERSEDED)])
    plan.dequeue += [each for each in older if each in waiting_runs]
    heir = replace(newest, not_before=min(each.due_since for each in newest_first))
    return ([heir], []) if newest in new_runs else ([], [heir])


def _apply_overlap(
    plan: TickPlan,
    task: Task,
    new_runs: list[WaitingRun],
    waiting_runs: list[WaitingRun],
    active: Sequence[ActiveRun],
) -> None:
    """Do as the task's ``overlap`` says while a run goes on; what waits, waits on.

    A backfill takes nothing away from the schedule: its slots wait until the run is over. Nor do
    the slots that a task catches up with cancel one another's runs: only a new one does.
    """
    backlog = _is_catch_up_all(task) and not new_runs
    if task.overlap is Overlap.DELAY or all(each.run.nonce == BACKFILL_ORIGIN for each in active):
        plan.enqueue += new_runs
    elif task.overlap is Overlap.RESTART and not backlog:
        plan.enqueue += new_runs
        others = [each.run.id for each in active if new_runs or waiting_runs]
        if task.idle and task.executor == REQUEST_EXECUTOR:
            plan.idle += [*waiting_runs, *new_runs]
            plan.idle_restart_ids[task.name] = others
        else:
            plan.restarts += [*waiting_runs, *new_runs]
            plan.cancel_ids += others
    elif new_runs:
        plan.skipped.append(skipped_for_overlap(task, [each.slot for each in new_runs], active))


def blocking_runs(task: Task, active: Sequence[ActiveRun], nonce: int = 0) -> Sequence[ActiveRun]:
    """Return which of a task's runs keep a slot from beginning beside them."""
    if task.overlap is Overlap.ALLOW or nonce == PARALLEL_BACKFILL_ORIGIN:
        return ()
    return [each for each in active if each.run.nonce != PARALLEL_BACKFILL_ORIGIN]


def skipped_for_overlap(
    task: Task, slots: Sequence[datetime], active: Sequence[ActiveRun]
) -> TaskSkip:
    """Return that slots are skipped since a run goes on, and which one that is."""
    skipped = SkippedSlots(slots[-1], len(slots), RunReason.OVERLAP)
    return TaskSkip(task.name, skipped, f"still going on: {active[-1]}")


def median_duration(durations: Sequence[float]) -> float:
    """Return the seconds that an idle task usually takes, 0 where nothing is known.

    ``durations`` are those of its latest successes; the usual one is their median.
    """
    return sorted(durations)[len(durations) // 2] if durations else 0.0
