"""What a tick does with due slots and waiting runs: which run, in what order, and which do not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from ..run import (
    BACKFILL_ORIGIN,
    PARALLEL_BACKFILL_ORIGIN,
    RunReason,
    RunState,
    TaskKey,
    Trigger,
    WaitReason,
)
from ..task import REQUEST_EXECUTOR, CatchUp, Overlap, Task
from .capacity import NO_WORKER, Allocation, Candidate, WorkerThreads, allocate
from .catch_up import (
    NO_COUNTS,
    SLOT_ON_TIME_LIMIT,
    SkippedSlots,
    catch_up,
    count_slots,
    is_on_time,
    skip_slots,
)
from .followups import plan_fixed_delay
from .slots import SLOT_RESOLUTION
from .snapshot import (
    ActiveRun,
    PauseRule,
    Snapshot,
    WaitingRun,
    is_stuck,
    make_slot_run,
    pause_of,
)

FRESH_CLAIM_LIMIT = timedelta(seconds=2)
"""How long after its claim a run that has not begun is about to begin, or to be released."""


class DueTask(NamedTuple):
    """A task that has due slots or waiting runs at a tick, of its own or of a stored schedule."""

    task: Task
    #: Its place in the order of registration.
    position: int
    #: Its slots since the last tick, oldest first; of many, a few that stand for all.
    slots: Sequence[datetime] = ()
    #: How many slots a slot stands for, itself included, where these are several.
    counts: Mapping[datetime, int] = NO_COUNTS
    #: Whether it is a stored schedule that has changed since the last tick, which knew nothing.
    is_news: bool = False

    def after(self, since: datetime) -> Sequence[datetime]:
        """Return all of its slots after a moment."""
        if not self.counts:
            return self.slots[bisect_right(self.slots, since) :]
        return self.task.between(max(since, self.slots[0] - SLOT_RESOLUTION), self.slots[-1])

    def in_full(self) -> DueTask:
        """Return the task with all of its slots."""
        return self._replace(slots=self.after(self.slots[0] - SLOT_RESOLUTION), counts=NO_COUNTS)


@dataclass(slots=True)
class TickPlan:
    """What a tick does; runs are in the order in which they begin."""

    #: Run in the request in any case.
    run_now: list[WaitingRun] = field(default_factory=list)
    #: Slots to catch up with beyond the oldest, and backfills: run while there is time, after that.
    backlog: list[WaitingRun] = field(default_factory=list)
    #: Run last, while there is time; otherwise they wait for a later tick.
    idle: list[WaitingRun] = field(default_factory=list)
    #: Run once the runs of ``cancel_ids`` have stopped.
    restarts: list[WaitingRun] = field(default_factory=list)
    #: Run outside the request.
    background: list[WaitingRun] = field(default_factory=list)
    #: Wait until there is room outside the request.
    over_capacity: list[WaitingRun] = field(default_factory=list)
    skipped: list[SkippedSlots] = field(default_factory=list)
    #: New ones to put on record as waiting, and waiting ones that take an earlier place.
    enqueue: list[WaitingRun] = field(default_factory=list)
    #: Waiting for what will not come: taken off the record.
    dequeue: list[WaitingRun] = field(default_factory=list)
    cancel_ids: list[str] = field(default_factory=list)
    #: By task or stored schedule, the runs to cancel for an idle run if there is time for it.
    idle_restart_ids: dict[TaskKey, list[str]] = field(default_factory=dict)


def plan_tick(
    due_tasks: Iterable[DueTask],
    snapshot: Snapshot,
    now: datetime,
    capacity: int = 0,
    worker: WorkerThreads = NO_WORKER,
) -> TickPlan:
    """Return what a tick at ``now`` (aware, UTC) does with due slots and waiting runs.

    ``capacity`` is how much weight may run outside of requests at once, ``worker`` what this
    process does as a worker.
    """
    plan = TickPlan()
    waiting_runs = _group_by_task(snapshot.waiting)
    tasks: dict[TaskKey, DueTask] = {}
    for due_task in due_tasks:
        key = due_task.task.key
        tasks[key] = due_task
        _plan_task(plan, due_task, waiting_runs.get(key, ()), snapshot, now)

    def rank(waiting_run: WaitingRun) -> tuple[int, datetime, int]:
        due_task = tasks[waiting_run.task_key]
        return -due_task.task.priority, waiting_run.due_since, due_task.position

    for runs in (plan.run_now, plan.backlog, plan.idle, plan.restarts):
        runs.sort(key=rank)
    if any(due_task.task.executor != REQUEST_EXECUTOR for due_task in tasks.values()):
        candidates = _split_off_background(plan, tasks)
        candidates.sort(key=lambda candidate: (candidate.is_last, *rank(candidate.waiting_run)))
        room = capacity - snapshot.background_weight
        held_locks = {tasks[run.task_key].task.lock for run in plan.run_now}
        _apply_allocation(plan, allocate(candidates, room, now, worker, held_locks))
    return plan


def _group_by_task(waiting_runs: Iterable[WaitingRun]) -> Mapping[TaskKey, list[WaitingRun]]:
    by_task: dict[TaskKey, list[WaitingRun]] = {}
    for run in waiting_runs:
        by_task.setdefault(run.task_key, []).append(run)
    return by_task


def _plan_task(
    plan: TickPlan,
    due_task: DueTask,
    waiting_runs: Sequence[WaitingRun],
    snapshot: Snapshot,
    now: datetime,
) -> None:
    """Plan all runs of one task: first which of its slots still count, then what runs."""
    task = due_task.task
    active_runs = snapshot.active_of(task.key)
    is_free = not (snapshot.lock_holders(task.lock) or is_stuck(task, snapshot.stuck_tasks))
    is_alone = is_free and not (waiting_runs or active_runs or snapshot.pause_rules)
    if is_alone and _is_routine(due_task, now):
        plan.run_now.append(make_slot_run(task, due_task.slots[0]))
        return
    active_slots = {active_run.run.slot for active_run in active_runs}
    # A slot may be due again where the clock was set back.
    waiting_slots = {
        run.slot for run in waiting_runs if run.is_backfill or run.origin == task.origin
    }
    due_task = _in_full_around(active_slots | waiting_slots, due_task)
    slots: Sequence[datetime] = [slot for slot in due_task.slots if slot not in waiting_slots]
    new_runs: list[WaitingRun] = []
    if task.fixed_delay is not None:
        work = plan_fixed_delay(task, slots, waiting_runs, snapshot, now)
        slots, waiting_runs = work.slots, work.waiting
        new_runs += work.late
        plan.dequeue += work.dequeue
        plan.skipped += work.skipped
    slots = _skip_paused(plan, due_task, slots, snapshot, now)
    if _is_paused(task, now, snapshot):
        return
    slots = [slot for slot in slots if slot not in active_slots]
    if is_stuck(task, snapshot.stuck_tasks):
        if slots:
            count = count_slots(slots, due_task.counts)
            plan.skipped.append(skipped_as_stuck(task, slots[-1], count))
        return
    runs, skipped = catch_up(task, slots, now, due_task.counts)
    plan.skipped += skipped
    blocking = find_blocking(task, snapshot)
    _plan_runs(plan, task, [*new_runs, *runs], waiting_runs, blocking, now)


def _is_routine(due_task: DueTask, now: datetime) -> bool:
    """Return whether there is nothing to decide, as in nearly every case: one slot, on time."""
    task, slots = due_task.task, due_task.slots
    return (
        len(slots) == 1
        and is_on_time(slots[0], now)
        and not task.idle
        and task.fixed_delay is None
        and (task.grace is None or task.grace >= SLOT_ON_TIME_LIMIT)
    )


def _is_paused(task: Task, now: datetime, snapshot: Snapshot) -> bool:
    rules = snapshot.pause_rules
    return bool(rules) and pause_of(task, now, rules) is not None


def _in_full_around(moments: Collection[datetime], due_task: DueTask) -> DueTask:
    """Return a task with all of its slots, if any of these moments is among them."""
    slots = due_task.slots
    if due_task.counts and any(slots[0] <= moment <= slots[-1] for moment in moments):
        return due_task.in_full()
    return due_task


def _skip_paused(
    plan: TickPlan,
    due_task: DueTask,
    slots: Sequence[datetime],
    snapshot: Snapshot,
    now: datetime,
) -> Sequence[datetime]:
    """Return the slots that no pause covers; paused time is not missed time."""
    if not (slots and snapshot.pause_rules):
        return slots
    task, rules = due_task.task, snapshot.pause_rules

    def pause_at(moment: datetime) -> PauseRule | None:
        return pause_of(task, moment, rules)

    at_now = pause_at(now)
    pauses = {slot: pause for slot in slots if (pause := at_now or pause_at(slot))}
    if pauses:
        newest, count = max(pauses), count_slots(list(pauses), due_task.counts)
        detail = pauses[newest].reason
        plan.skipped.append(skip_slots(task, newest, count, RunReason.PAUSED, detail))
    return [slot for slot in slots if slot not in pauses]


def _plan_runs(
    plan: TickPlan,
    task: Task,
    new_runs: list[WaitingRun],
    waiting_runs: Sequence[WaitingRun],
    blocking: Sequence[ActiveRun],
    now: datetime,
) -> None:
    """Plan the runs of a task that is not paused: of its new slots, and those that waited."""
    scheduled = [run for run in waiting_runs if run.trigger.is_scheduled]
    unscheduled = [run for run in waiting_runs if not run.trigger.is_scheduled]
    heirs: list[WaitingRun] = []
    # A new slot that is skipped must not take its turn from one that waits for the lock.
    has_turn = bool(blocking) and task.lock is not None and task.overlap is Overlap.SKIP
    if task.catch_up is not CatchUp.ALL and not has_turn:
        stored = scheduled
        new_runs, scheduled = _supersede_older(plan, task, new_runs, scheduled)
        heirs = [run for run in scheduled if run not in stored]
    if blocking or task.idle or task.executor != REQUEST_EXECUTOR:
        plan.enqueue += heirs  # each goes on waiting in the place that it inherited
    if blocking:
        _apply_overlap(plan, task, new_runs, scheduled, blocking, now)
        if task.lock is None:
            parallel = [run for run in unscheduled if run.origin == PARALLEL_BACKFILL_ORIGIN]
            _run_or_backlog(plan, parallel)
    elif task.idle:
        new_runs = _waiting_for(WaitReason.TIME, new_runs)
        plan.idle += [*scheduled, *new_runs, *unscheduled]
        plan.enqueue += new_runs
    else:
        if not all(is_on_time(run.slot, now) for run in (*new_runs, *scheduled)):
            new_runs, scheduled = _limit_to_oldest(plan, new_runs, scheduled)
        plan.run_now += [*scheduled, *new_runs]
        _run_or_backlog(plan, unscheduled)


def _waiting_for(why: WaitReason, waiting_runs: Iterable[WaitingRun]) -> list[WaitingRun]:
    return [replace(run, why=why) for run in waiting_runs]


def _supersede_older(
    plan: TickPlan, task: Task, new_runs: list[WaitingRun], waiting_runs: list[WaitingRun]
) -> tuple[list[WaitingRun], list[WaitingRun]]:
    """Keep the newest slot only, of the new ones and of those that waited.

    It inherits the oldest one's place in the order; otherwise a frequent task would never reach
    the front.
    """
    newest_first = sorted((*new_runs, *waiting_runs), key=lambda run: run.slot, reverse=True)
    if len(newest_first) < 2:
        return new_runs, waiting_runs
    newest, *older = newest_first
    new = [run for run in older if run.id is None]
    if new:
        skip = skip_slots(task, new[0].slot, len(new), RunReason.SUPERSEDED)
        plan.skipped.append(skip)
    plan.skipped += [
        skip_slots(task, run.slot, 1, RunReason.SUPERSEDED, waiting_run=run)
        for run in older
        if run.id is not None
    ]
    heir = replace(newest, not_before=min(run.due_since for run in newest_first))
    return ([heir], []) if newest in new_runs else ([], [heir])


def _apply_overlap(
    plan: TickPlan,
    task: Task,
    new_runs: list[WaitingRun],
    waiting_runs: list[WaitingRun],
    blocking: Sequence[ActiveRun],
    now: datetime,
) -> None:
    """Do as the task's ``overlap`` says while other runs block it; what waits goes on waiting.

    A backfill takes nothing away from the schedule: its slots wait until the run is over. Slots
    also wait while the runs that block them are about to begin. The slots that a task catches up
    with do not cancel one another's runs: only a new one does.
    """
    is_backlog = task.catch_up is CatchUp.ALL and not new_runs
    if (
        task.overlap is Overlap.DELAY
        or all(active_run.run.origin == BACKFILL_ORIGIN for active_run in blocking)
        or (task.overlap is Overlap.SKIP and all(_is_fresh_claim(run, now) for run in blocking))
    ):
        plan.enqueue += _waiting_for(WaitReason.OVERLAP, new_runs)
    elif task.overlap is Overlap.RESTART and not is_backlog:
        new_runs = _waiting_for(WaitReason.OVERLAP, new_runs)
        plan.enqueue += new_runs
        run_ids = [active_run.run.id for active_run in blocking if new_runs or waiting_runs]
        if task.idle and task.executor == REQUEST_EXECUTOR:
            plan.idle += [*waiting_runs, *new_runs]
            plan.idle_restart_ids[task.key] = run_ids
        else:
            plan.restarts += [*waiting_runs, *new_runs]
            plan.cancel_ids += run_ids
    elif task.overlap is Overlap.SKIP:
        if new_runs:
            plan.skipped.append(skipped_for_overlap(task, [run.slot for run in new_runs], blocking))
        plan.skipped += [
            replace(skipped_for_overlap(task, [run.slot], blocking), waiting_run=run)
            for run in waiting_runs
            if run.why is WaitReason.OVERLAP
        ]


def _is_fresh_claim(active_run: ActiveRun, now: datetime) -> bool:
    """Return whether a run is about to begin, or to be released: it may soon block nothing."""
    run = active_run.run
    if run.state is not RunState.CLAIMED or run.claimed is None:
        return False
    return now - run.claimed < FRESH_CLAIM_LIMIT


def blocking_runs(
    task: Task, active_runs: Sequence[ActiveRun], origin: str | None = None
) -> Sequence[ActiveRun]:
    """Return which active runs of a task, or of a stored schedule, keep a run from beginning.

    ``origin`` is that of the run; by default that of the task's slots.
    """
    if task.overlap is Overlap.ALLOW or origin == PARALLEL_BACKFILL_ORIGIN:
        return ()
    return [
        active_run
        for active_run in active_runs
        if active_run.run.origin != PARALLEL_BACKFILL_ORIGIN
    ]


def find_blocking(task: Task, snapshot: Snapshot, origin: str | None = None) -> Sequence[ActiveRun]:
    """Return the active runs that keep a run of this origin from beginning.

    They are of its own task or stored schedule, or hold the task's lock.
    """
    own = blocking_runs(task, snapshot.active_of(task.key), origin)
    if task.lock is None:
        return own
    own_ids = {active_run.run.id for active_run in own}
    holders = snapshot.lock_holders(task.lock)
    return [*own, *(holder for holder in holders if holder.run.id not in own_ids)]


def skipped_for_overlap(
    task: Task, slots: Sequence[datetime], blocking: Sequence[ActiveRun]
) -> SkippedSlots:
    """Return slots as skipped since other runs block them; the newest of these is named."""
    last = blocking[-1]
    holder = "" if last.run.task == task.name else f"{last.run.task}, which has the same lock: "
    detail = f"still going on: {holder}{last}"
    return skip_slots(task, slots[-1], len(slots), RunReason.OVERLAP, detail)


def skipped_as_stuck(task: Task, newest: datetime, count: int = 1) -> SkippedSlots:
    """Return slots as skipped since an abandoned run of the task goes on in this process."""
    detail = "a run was given up, and still has its thread here"
    return skip_slots(task, newest, count, RunReason.OVERLAP, detail)


def _limit_to_oldest(
    plan: TickPlan, new_runs: list[WaitingRun], waiting_runs: list[WaitingRun]
) -> tuple[list[WaitingRun], list[WaitingRun]]:
    """Keep the oldest slot only, which runs in any case; the backlog runs while there is time."""
    oldest = min((*new_runs, *waiting_runs), key=lambda run: run.slot)
    new_backlog = _waiting_for(WaitReason.TIME, (run for run in new_runs if run is not oldest))
    plan.backlog += [*(run for run in waiting_runs if run is not oldest), *new_backlog]
    plan.enqueue += new_backlog
    return (
        [run for run in new_runs if run is oldest],
        [run for run in waiting_runs if run is oldest],
    )


def _run_or_backlog(plan: TickPlan, waiting_runs: Sequence[WaitingRun]) -> None:
    """Run what waited, but a backfill only while there is time."""
    for run in waiting_runs:
        if run.trigger is Trigger.BACKFILL:
            plan.backlog.append(run)
        else:
            plan.run_now.append(run)


def _split_off_background(plan: TickPlan, tasks: Mapping[TaskKey, DueTask]) -> list[Candidate]:
    """Take what is to run outside the request out of what would run in it."""
    candidates: list[Candidate] = []
    for runs in (plan.run_now, plan.backlog, plan.idle):
        in_request: list[WaitingRun] = []
        for run in runs:
            task = tasks[run.task_key].task
            if task.executor == REQUEST_EXECUTOR:
                in_request.append(run)
            else:
                candidates.append(Candidate(task, run))
        runs[:] = in_request
    return candidates


def _apply_allocation(plan: TickPlan, allocation: Allocation) -> None:
    """Plan the candidates that begin; the others wait on record, or have waited too long."""
    plan.background, plan.over_capacity = allocation.start, allocation.wait
    new = [run for run in allocation.wait if run.id is None]
    planned = {*allocation.start, *allocation.expired, *new}
    plan.enqueue = [run for run in plan.enqueue if run not in planned]
    plan.enqueue += _waiting_for(WaitReason.ROOM, new)
    plan.skipped += [
        SkippedSlots(
            run.task, run.slot, 1, RunReason.CAPACITY, waiting_run=run, schedule=run.schedule
        )
        for run in allocation.expired
    ]


def median_duration(durations: Sequence[float]) -> float:
    """Return the usual seconds of an idle task, 0 where nothing is known.

    ``durations`` are those of its latest successes; the usual one is their median.
    """
    return sorted(durations)[len(durations) // 2] if durations else 0.0
