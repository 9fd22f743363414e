"""What a task logs while it runs, kept with its run."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..run import TEXT_LIMIT, storable

_FORMAT = logging.Formatter("%(asctime)s %(levelname)-5.5s [%(name)s] %(message)s")


class Captured:
    """The last 64 KiB of what is logged in the context that enters it.

    That is heard while the block of :func:`listening` lasts.
    """

    __slots__ = ("_lines", "_size", "_token", "listener")

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._lines: deque[bytes] = deque()
        self._size = 0

    def __enter__(self) -> Captured:
        if not self.listener.hears:
            self.listener.listen()
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)

    def add(self, line: str) -> None:
        """Keep a line, forgetting the oldest ones that no longer fit."""
        data = storable(line).encode() + b"\n"
        self._lines.append(data)
        self._size += len(data)
        while self._size - len(self._lines[0]) >= TEXT_LIMIT:
            self._size -= len(self._lines.popleft())

    def text(self) -> str | None:
        """Return what is kept, cut at a whole character; None if nothing was logged."""
        if not self._lines:
            return None
        # A copy, since others may ask while lines are added.
        return b"".join(self._lines.copy())[-TEXT_LIMIT:].decode("utf-8", "ignore")


_current: ContextVar[Captured | None] = ContextVar("pyramid_cron.captured", default=None)


class Listener(logging.Handler):
    """Gives each record to the run in whose context it was logged."""

    def __init__(self) -> None:
        super().__init__()
        self._root = logging.getLogger()
        self._loggers: list[logging.Logger] = []
        self._lowered = False
        self._unheard: dict[str, bool] = {}

    def listen(self) -> None:
        """Hear what is logged from now on."""
        self._lowered = self._lowered or self._lower()
        self._unheard.clear()
        self._loggers = [self._root, *_apart()]
        for logger in self._loggers:
            logger.addHandler(self)

    def _lower(self) -> bool:
        """Have the root let INFO pass if nobody has configured logging; return whether it does."""
        lower = not self._root.handlers and self._root.level == logging.WARNING
        if lower:
            self._root.setLevel(logging.INFO)
        return lower

    def leave(self) -> None:
        """Hear nothing any more, and leave the root's level as it was found."""
        for logger in self._loggers:
            logger.removeHandler(self)
        others = [each for each in self._root.handlers if isinstance(each, Listener)]
        if self._lowered and others:
            others[0]._lowered = True
        elif self._lowered and not self._root.handlers:  # nobody has configured it meanwhile
            self._root.setLevel(logging.WARNING)

    @property
    def hears(self) -> bool:
        """Whether it is still there: a task that configures logging takes the handlers away."""
        return self in self._root.handlers

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass over what nobody listens to, as most that the tick itself logs."""
        if _current.get() is None and self._unheard.get(record.name) is False:
            return False
        return bool(super().handle(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, if it was logged by a run of this listener's tick."""
        unheard = self._unheard.get(record.name)
        if unheard is None:
            unheard = self._unheard[record.name] = _is_unheard(record, self)
        if unheard:
            _last_resort(record)
        captured = _current.get()
        if captured is None or captured.listener is not self:
            return
        try:
            captured.add(_FORMAT.format(record))
        except Exception:
            self.handleError(record)


def _is_unheard(record: logging.LogRecord, listener: Listener) -> bool:
    """Return whether no handler but listeners gets the record, and this listener is the first."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    first: Listener | None = None
    while logger is not None:
        for handler in logger.handlers:
            if not isinstance(handler, Listener):
                return False
            first = first or handler
        logger = logger.parent if logger.propagate else None
    return first is listener


def _last_resort(record: logging.LogRecord) -> None:
    """Do what Python does with warnings in a program that has not configured logging."""
    if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
        logging.lastResort.handle(record)


@contextmanager
def listening() -> Iterator[Listener]:
    """Hear what is logged until the block is left, on every logger that exists.

    The levels of other handlers play no part. What a logger itself holds back is not heard. In a
    program that has not configured logging that is what is below INFO; there are no other handlers
    then, and so nothing else changes.
    """
    listener = Listener()
    listener.listen()
    try:
        yield listener
    finally:
        listener.leave()


def _apart() -> list[logging.Logger]:
    """Return the loggers whose records do not reach the root."""
    known = list(logging.Logger.manager.loggerDict.values())
    return [each for each in known if isinstance(each, logging.Logger) and not each.propagate]
