"""What is due of a task that paces itself: its next slot is one that waits, as a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from ..run import Reason, Trigger
from ..task import Task
from .after import comes_next
from .catch_up import Skipped, catch_up, on_time
from .facts import Facts, Pending
from .pauses import paused


@dataclass(slots=True)
class Paced:
    """What there is to do for the task.

    ``slots`` are those of its schedule that count, ``waiting`` what waits on, ``late`` what waited
    and is found late now, and ``drop`` what does not wait any more. ``skipped`` has what else there
    is to say of each.
    """

    slots: Sequence[datetime] = ()
    waiting: list[Pending] = field(default_factory=list)
    late: list[Pending] = field(default_factory=list)
    drop: list[Pending] = field(default_factory=list)
    skipped: list[tuple[Skipped, str | None]] = field(default_factory=list)


def paced(
    task: Task,
    slots: Sequence[datetime],
    waiting: Sequence[Pending],
    facts: Facts,
    now: datetime,
) -> Paced:
    """Return what is due of a task that paces itself, of its schedule and of what is ripe.

    It has one next slot: another one that is still to come would be followed by others in turn.
    Those of its schedule count only until it goes on by itself.
    """
    found = Paced()
    for each in waiting:
        _look_at(found, task, each, facts, now)
    gone = {each.slot for each in found.drop} - {each.slot for each in found.late}
    ahead = [each for each in facts.paced.get(task.name, ()) if each not in found.drop]
    first = comes_next(task, [*ahead, *found.late], now)
    found.drop += [
        each
        for each in ahead
        if each is not first and each.trigger is Trigger.SCHEDULE and each.not_before > now
    ]
    # What is asked for by hand is not followed by anything.
    goes_on = any(each.run.nonce == 0 for each in facts.active.get(task.name, ()))
    if first is None and not goes_on:
        found.slots = _from_now_on(task, slots, facts, now) if gone else slots
    return found


def _look_at(found: Paced, task: Task, each: Pending, facts: Facts, now: datetime) -> None:
    """Treat what waits as a slot of a schedule is treated, by the first tick that finds it."""
    if each.trigger is not Trigger.SCHEDULE:
        found.waiting.append(each)
        return
    new = facts.last_tick is None or each.due_since > facts.last_tick
    at_now = paused(task.name, now, facts.words)
    word = paused(task.name, each.slot, facts.words)
    if word:
        if new:
            found.skipped.append((Skipped(each.slot, 1, Reason.PAUSED), word.reason))
        # Until the pause ends, it stands for the task's next slot.
        (found.waiting if at_now else found.drop).append(each)
    elif at_now or not new or on_time(each.slot, now):
        found.waiting.append(each)
    else:
        run, skipped = catch_up(task, [each.slot], now)
        found.late += [replace(each, trigger=slot.trigger) for slot in run]
        found.skipped += [(missed, None) for missed in skipped]
        found.drop.append(each)


def _from_now_on(
    task: Task, slots: Sequence[datetime], facts: Facts, now: datetime
) -> Sequence[datetime]:
    """Return the newest slot of the schedule if it may still run; older ones were never its own."""
    newest = [slot for slot in slots if not paused(task.name, slot, facts.words)][-1:]
    run, _ = catch_up(task, newest, now)
    return newest if run else ()
