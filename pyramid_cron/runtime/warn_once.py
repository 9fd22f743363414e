"""Problems that last are logged once, and again when they change or come back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import StoreError

STORE_WARNING_DELAY_SECONDS = 60.0
"""Seconds of store errors after which they are logged, if no tick has reported them."""

log = logging.getLogger("pyramid_cron")


class WarnOnce:
    """The problems of one service that are reported already, until it works again.

    A problem may concern all that the service does, or one scope of it, such as one check of a
    monitor. Any thread may call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reported: set[tuple[str | None, str]] = set()
        self._failing_since = 0.0

    def add(self, problem: str, scope: str | None = None) -> bool:
        """Count a problem as reported; return whether it is new, and so to be logged."""
        with self._lock:
            if (scope, problem) in self._reported:
                return False
            if not self._reported:
                self._failing_since = time.monotonic()
            self._reported.add((scope, problem))
            return True

    def clear(self, scope: str | None = None) -> float | None:
        """Forget the problems without a scope, and those of ``scope``: the service works.

        Returns the seconds since the first problem, None if there was none.
        """
        with self._lock:
            solved = {key for key in self._reported if key[0] in (None, scope)}
            self._reported -= solved
            return time.monotonic() - self._failing_since if solved else None


class StoreWarnings:
    """Logs store errors of background writes, once each, where no tick reports them.

    A tick answers with its store errors. So they are logged only when there was no tick for a
    minute, when a lease has expired meanwhile, or when there is no other chance.
    """

    def __init__(self, is_ticking: Callable[[], bool], is_late: Callable[[], bool]) -> None:
        self._is_ticking = is_ticking
        self._is_late = is_late
        self._reported = WarnOnce()
        self._failing_since: float | None = None

    def add_reported(self, error: StoreError) -> None:
        """Remember a StoreError that the caller reports."""
        self._failing_since = self._failing_since or time.monotonic()
        self._reported.add(str(error))

    @contextmanager
    def reporting(self, *, is_last: bool = False) -> Iterator[None]:
        """For background writes: log a StoreError if no tick will."""
        try:
            yield
        except StoreError as error:
            self._failing_since = self._failing_since or time.monotonic()
            must_log = is_last or self._is_late() or self._lasts_without_tick()
            if must_log and self._reported.add(str(error)):
                log.warning("results not written yet, will retry: %s", error)
        else:
            self._failing_since = None
            self._reported.clear()

    def _lasts_without_tick(self) -> bool:
        return (
            self._failing_since is not None
            and not self._is_ticking()
            and time.monotonic() - self._failing_since > STORE_WARNING_DELAY_SECONDS
        )
