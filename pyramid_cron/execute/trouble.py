"""Trouble with the store, told once, and again only when it changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..store.engine import StoreError

LASTING = 60.0
"""Seconds of trouble with the store after which it is told of, if no tick has."""

log = logging.getLogger("pyramid_cron")


class Trouble:
    """What a process knows of the trouble it has with its store.

    Ticks tell of it when they answer. So it is told here only when none comes for long, when it
    gets late for the leases, or when there is no other chance. ``ticking`` tells whether a tick is
    there, ``late`` whether it is late.
    """

    def __init__(self, ticking: Callable[[], bool], late: Callable[[], bool]) -> None:
        self._ticking = ticking
        self._late = late
        self._known: str | None = None
        self._since: float | None = None

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Keep in mind what trouble there is; whoever asked for what is done tells."""
        try:
            yield
        except StoreError as error:
            self._known = str(error)
            self._since = self._since or time.monotonic()
            raise

    @contextmanager
    def telling(self, *, last: bool = False) -> Iterator[None]:
        """Do something that nobody asked for, and log what trouble there is, if it is time to."""
        known = self._known
        try:
            with self.remembering():
                yield
        except StoreError as error:
            if str(error) == known:
                return
            if last or self._late() or (self._lasts() and not self._ticking()):
                log.warning("what happened could not be written yet: %s", error)
            else:
                self._known = known
        else:
            self._known = self._since = None

    def _lasts(self) -> bool:
        return self._since is not None and time.monotonic() - self._since > LASTING
