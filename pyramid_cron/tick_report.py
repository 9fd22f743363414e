"""What one tick did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .planning.snapshot import WaitingRun
from .run import Run


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one tick did: its id and moment (aware, UTC), the runs it made, the slots it skipped.

    ``waiting`` are slots that are due and wait for a later tick. Runs outside the request are only
    ``claimed``: they begin after the answer.
    """

    tick: str
    now: datetime
    runs: tuple[Run, ...] = ()
    skipped: tuple[Run, ...] = ()
    waiting: tuple[WaitingRun, ...] = ()
