"""How fast the demo's minutes pass: as on the wall, or one every few seconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from ..clock import utc_now

MINUTE = timedelta(minutes=1)


class Pace:
    """Minutes as they pass on the wall."""

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """Return this moment, aware, in UTC."""
        return self._clock()

    def wait(self) -> float:
        """Return the seconds until the next minute."""
        now = self.now()
        return (minute(now) + MINUTE - now).total_seconds()

    def next_minute(self) -> None:
        """Begin the next minute: on the wall it does so by itself."""

    def describe(self) -> str:
        """Return in plain words when the trigger is hit."""
        return "at each full minute"


class FastPace(Pace):
    """A clock of its own, on which a minute takes ``seconds`` and passes all at once.

    It stands at the minute of ``start`` until :meth:`next_minute`.
    """

    def __init__(self, start: datetime, seconds: float) -> None:
        super().__init__(lambda: self._now)
        self._now = minute(start)
        self._seconds = seconds

    def wait(self) -> float:
        """Return the seconds that a minute takes."""
        return self._seconds

    def next_minute(self) -> None:
        """Put the clock forward to the next minute."""
        self._now += MINUTE

    def describe(self) -> str:
        """Return in plain words when the trigger is hit."""
        return (
            f"every {self._seconds:g} seconds. Each time the shop's clock, which\n"
            "began with the present minute, is put forward by a minute"
        )


def minute(moment: datetime) -> datetime:
    """Return the beginning of the moment's minute."""
    return moment.replace(second=0, microsecond=0)
