"""What one tick did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .planning.snapshot import WaitingRun
from .run import Run


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one tick did."""

    #: The tick's id.
    tick: str
    #: Its moment, aware, in UTC.
    now: datetime
    #: As they ended; those outside the request are only claimed, and begin after the answer.
    runs: tuple[Run, ...] = ()
    #: One for the slots of a task that were skipped for the same reason.
    skipped: tuple[Run, ...] = ()
    #: Due, and left to a later tick.
    waiting: tuple[WaitingRun, ...] = ()
