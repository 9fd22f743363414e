"""The one place that reads the clock; everything below the wiring takes time as an argument."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone


def utc_now() -> datetime:
    """Return this moment as an aware datetime in UTC."""
    return datetime.now(timezone.utc)


class Stopwatch:
    """Moments within one tick: its start, plus the time since by a monotonic clock.

    A wall clock that is set during a tick therefore changes neither its budget nor its durations.
    """

    __slots__ = ("_monotonic", "_monotonic_start", "start")

    def __init__(self, start: datetime, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.start = start
        self._monotonic = monotonic
        self._monotonic_start = monotonic()

    def elapsed_seconds(self) -> float:
        """Return the seconds since the start."""
        return self._monotonic() - self._monotonic_start

    def now(self) -> datetime:
        """Return the moment of the start plus the seconds since."""
        return self.start + timedelta(seconds=self._monotonic() - self._monotonic_start)
