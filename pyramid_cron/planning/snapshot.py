"""What a decision needs to know from the record: plain values, read at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..run import Run, Trigger
from .pauses import PauseRule

BACKFILL_ORIGIN = 1
"""The nonce of slots that are filled in afterwards, while no other run of the task goes on."""

PARALLEL_BACKFILL_ORIGIN = -1
"""The nonce of slots that are filled in afterwards, beside whatever runs."""


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A slot of a task that is to run, not before a moment; all moments are aware, in UTC.

    That is earlier than the slot where this takes the place of another that has waited since.
    Its key is the task, the slot, the attempt, and a nonce: 0 for a slot of a schedule, 1 or -1 for
    one that is filled in afterwards, random for a run by hand, so that it competes with nobody.
    """

    task: str
    slot: datetime
    trigger: Trigger
    not_before: datetime
    attempt: int = 1
    nonce: int = 0
    payload: Any = field(default=None, compare=False)

    @property
    def due_since(self) -> datetime:
        """From when on it is overdue, together with those whose place it took."""
        return min(self.slot, self.not_before)


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that goes on, and until when its process has promised to tell so.

    ``weight`` is what it takes of the capacity: nothing, if it runs in a request.
    """

    run: Run
    lease_until: datetime
    weight: int = 0

    def __str__(self) -> str:
        return self.describe(datetime.isoformat)

    def describe(self, format_moment: Callable[[datetime], str]) -> str:
        """Return what it is in a line, with moments as ``show`` returns them."""
        run = self.run
        until = format_moment(self.lease_until)
        return f"run {run.id} on {run.host} (pid {run.pid}), lease until {until}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the store knows at the moment of a tick.

    ``waiting`` is what is ripe, ``active`` the runs that go on by task, ``paced`` what waits, ripe
    or not, of the schedules of tasks that pace themselves, and ``words`` who was paused and
    resumed, oldest first. ``last_tick`` is the one before, None where that is not known.
    """

    waiting: Sequence[WaitingRun] = ()
    active: Mapping[str, Sequence[ActiveRun]] = field(default_factory=dict)
    fixed_delay_waiting: Mapping[str, Sequence[WaitingRun]] = field(default_factory=dict)
    pause_rules: Sequence[PauseRule] = ()
    last_tick: datetime | None = None

    @property
    def background_weight(self) -> int:
        """The weight of all that runs outside of requests, over all processes and hosts."""
        return sum(each.weight for runs in self.active.values() for each in runs)
