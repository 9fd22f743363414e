"""Trouble with the store, told once, and again only when it changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import StoreError

STORE_WARNING_DELAY_SECONDS = 60.0
"""Seconds of trouble with the store after which it is told of, if no tick has."""

log = logging.getLogger("pyramid_cron")


class StoreWarnings:
    """What a process knows of the trouble it has with its store.

    Ticks tell of it when they answer. So it is told here only when none comes for long, when it
    gets late for the leases, or when there is no other chance. ``ticking`` tells whether a tick is
    there, ``late`` whether it is late.
    """

    def __init__(self, is_ticking: Callable[[], bool], is_late: Callable[[], bool]) -> None:
        self._is_ticking = is_ticking
        self._is_late = is_late
        self._last_error: str | None = None
        self._failing_since: float | None = None

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """Keep in mind what trouble there is; whoever asked for what is done tells."""
        try:
            yield
        except StoreError as error:
            self._last_error = str(error)
            self._failing_since = self._failing_since or time.monotonic()
            raise

    @contextmanager
    def reporting(self, *, is_last: bool = False) -> Iterator[None]:
        """Do something that nobody asked for, and log what trouble there is, if it is time to."""
        known = self._last_error
        try:
            with self.tracking():
                yield
        except StoreError as error:
            if str(error) == known:
                return
            if is_last or self._is_late() or (self._is_persistent() and not self._is_ticking()):
                log.warning("what happened could not be written yet: %s", error)
            else:
                self._last_error = known
        else:
            self._last_error = self._failing_since = None

    def _is_persistent(self) -> bool:
        return (
            self._failing_since is not None
            and time.monotonic() - self._failing_since > STORE_WARNING_DELAY_SECONDS
        )
