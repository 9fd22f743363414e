"""What the store knew at the moment of a tick, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..run import Run, Trigger
from .pauses import PauseRule

BACKFILL_ORIGIN = 1
"""The nonce of a backfill's slots, which run while no other run of the task is active."""

PARALLEL_BACKFILL_ORIGIN = -1
"""The nonce of a backfill's slots that run beside other runs of the task."""


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run that is known and not claimed. All moments are aware, in UTC.

    Its key is task, slot, attempt and nonce.
    """

    task: str
    slot: datetime
    trigger: Trigger
    #: When it may begin. Earlier than the slot if this run superseded an older one that waited.
    not_before: datetime
    attempt: int = 1
    #: 0 for a slot of a schedule, 1 or -1 for a backfill's; random for a run by hand, so that it
    #: competes with no other.
    nonce: int = 0
    payload: Any = field(default=None, compare=False)

    @property
    def due_since(self) -> datetime:
        """The moment from which it is overdue, together with those that it superseded."""
        return min(self.slot, self.not_before)

    @property
    def is_backfill(self) -> bool:
        """Whether a backfill runs this slot, so that the schedule does not."""
        return self.nonce in (BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN)


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that is claimed or running, in whatever process."""

    run: Run
    #: When its lease expires, unless its process renews it.
    lease_until: datetime
    #: Its share of the capacity; 0 if it runs in a request.
    weight: int = 0

    def __str__(self) -> str:
        return self.describe(datetime.isoformat)

    def describe(self, format_moment: Callable[[datetime], str]) -> str:
        """Return the run, its process and its lease in a line."""
        run = self.run
        until = format_moment(self.lease_until)
        return f"run {run.id} on {run.host} (pid {run.pid}), lease until {until}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the store knew at the moment of a tick."""

    #: The waiting runs that may begin.
    waiting: Sequence[WaitingRun] = ()
    #: By task, oldest first.
    active: Mapping[str, Sequence[ActiveRun]] = field(default_factory=dict)
    #: By task with fixed delay, all that wait of its schedule, due or not.
    fixed_delay_waiting: Mapping[str, Sequence[WaitingRun]] = field(default_factory=dict)
    #: Oldest first.
    pause_rules: Sequence[PauseRule] = ()
    #: The tick before this one; None if it is unknown.
    last_tick: datetime | None = None

    @property
    def background_weight(self) -> int:
        """The weight of all runs outside of requests, over all processes and hosts."""
        return sum(
            active_run.weight for active_runs in self.active.values() for active_run in active_runs
        )
