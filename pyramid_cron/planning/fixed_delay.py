"""What is due of a task that paces itself: its next slot is one that waits, as a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from ..run import RunReason, Trigger
from ..task import Task
from .catch_up import SkippedSlots, catch_up, is_on_time
from .followups import next_waiting
from .pauses import active_pause
from .snapshot import Snapshot, WaitingRun


@dataclass(slots=True)
class FixedDelayWork:
    """What there is to do for the task.

    ``slots`` are those of its schedule that count, ``waiting`` what waits on, ``late`` what waited
    and is found late now, and ``drop`` what does not wait any more. ``skipped`` has what else there
    is to say of each.
    """

    slots: Sequence[datetime] = ()
    waiting: list[WaitingRun] = field(default_factory=list)
    late: list[WaitingRun] = field(default_factory=list)
    dequeue: list[WaitingRun] = field(default_factory=list)
    skipped: list[tuple[SkippedSlots, str | None]] = field(default_factory=list)


def plan_fixed_delay(
    task: Task,
    slots: Sequence[datetime],
    waiting: Sequence[WaitingRun],
    snapshot: Snapshot,
    now: datetime,
) -> FixedDelayWork:
    """Return what is due of a task that paces itself, of its schedule and of what is ripe.

    It has one next slot: another one that is still to come would be followed by others in turn.
    Those of its schedule count only until it goes on by itself.
    """
    found = FixedDelayWork()
    for each in waiting:
        _triage(found, task, each, snapshot, now)
    gone = {each.slot for each in found.dequeue} - {each.slot for each in found.late}
    ahead = [
        each
        for each in snapshot.fixed_delay_waiting.get(task.name, ())
        if each not in found.dequeue
    ]
    first = next_waiting(task, [*ahead, *found.late], now)
    found.dequeue += [
        each
        for each in ahead
        if each is not first and each.trigger is Trigger.SCHEDULE and each.not_before > now
    ]
    # What is asked for by hand is not followed by anything.
    goes_on = any(each.run.nonce == 0 for each in snapshot.active.get(task.name, ()))
    if first is None and not goes_on:
        found.slots = _newest_runnable(task, slots, snapshot, now) if gone else slots
    return found


def _triage(
    work: FixedDelayWork, task: Task, waiting_run: WaitingRun, snapshot: Snapshot, now: datetime
) -> None:
    """Treat what waits as a slot of a schedule is treated, by the first tick that finds it."""
    if waiting_run.trigger is not Trigger.SCHEDULE:
        work.waiting.append(waiting_run)
        return
    new = snapshot.last_tick is None or waiting_run.due_since > snapshot.last_tick
    at_now = active_pause(task.name, now, snapshot.pause_rules)
    word = active_pause(task.name, waiting_run.slot, snapshot.pause_rules)
    if word:
        if new:
            work.skipped.append((SkippedSlots(waiting_run.slot, 1, RunReason.PAUSED), word.reason))
        # Until the pause ends, it stands for the task's next slot.
        (work.waiting if at_now else work.dequeue).append(waiting_run)
    elif at_now or not new or is_on_time(waiting_run.slot, now):
        work.waiting.append(waiting_run)
    else:
        run, skipped = catch_up(task, [waiting_run.slot], now)
        work.late += [replace(waiting_run, trigger=slot.trigger) for slot in run]
        work.skipped += [(missed, None) for missed in skipped]
        work.dequeue.append(waiting_run)


def _newest_runnable(
    task: Task, slots: Sequence[datetime], snapshot: Snapshot, now: datetime
) -> Sequence[datetime]:
    """Return the newest slot of the schedule if it may still run; older ones were never its own."""
    newest = [slot for slot in slots if not active_pause(task.name, slot, snapshot.pause_rules)][
        -1:
    ]
    run, _ = catch_up(task, newest, now)
    return newest if run else ()
