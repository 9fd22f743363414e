"""What a task logs while it runs, kept with its run."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..run import MAX_RUN_TEXT_BYTES, make_storable

_LINE_FORMATTER = logging.Formatter("%(asctime)s %(levelname)-5.5s [%(name)s] %(message)s")


class LogCapture:
    """The last 64 KiB of what is logged in the context that enters it.

    That is heard while the block of :func:`listening` lasts.
    """

    __slots__ = ("_lines", "_size", "_token", "handler")

    def __init__(self, handler: CaptureHandler) -> None:
        self.handler = handler
        self._lines: deque[bytes] = deque()
        self._size = 0

    def __enter__(self) -> LogCapture:
        if not self.handler.is_attached:
            self.handler.attach()
        self._token = _current_capture.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current_capture.reset(self._token)

    def add(self, line: str) -> None:
        """Keep a line, forgetting the oldest ones that no longer fit."""
        data = make_storable(line).encode() + b"\n"
        self._lines.append(data)
        self._size += len(data)
        while self._size - len(self._lines[0]) >= MAX_RUN_TEXT_BYTES:
            self._size -= len(self._lines.popleft())

    def text(self) -> str | None:
        """Return what is kept, cut at a whole character; None if nothing was logged."""
        if not self._lines:
            return None
        # A copy, since others may ask while lines are added.
        return b"".join(self._lines.copy())[-MAX_RUN_TEXT_BYTES:].decode("utf-8", "ignore")


_current_capture: ContextVar[LogCapture | None] = ContextVar("pyramid_cron.captured", default=None)


class CaptureHandler(logging.Handler):
    """Gives each record to the run in whose context it was logged."""

    def __init__(self) -> None:
        super().__init__()
        self._root = logging.getLogger()
        self._loggers: list[logging.Logger] = []
        self._has_lowered_root = False
        self._last_resort_by_logger: dict[str, bool] = {}

    def attach(self) -> None:
        """Hear what is logged from now on."""
        self._has_lowered_root = self._has_lowered_root or self._lower_root_level()
        self._last_resort_by_logger.clear()
        self._loggers = [self._root, *_find_isolated_loggers()]
        for logger in self._loggers:
            logger.addHandler(self)

    def _lower_root_level(self) -> bool:
        """Have the root let INFO pass if nobody has configured logging; return whether it does."""
        lower = not self._root.handlers and self._root.level == logging.WARNING
        if lower:
            self._root.setLevel(logging.INFO)
        return lower

    def detach(self) -> None:
        """Hear nothing any more, and leave the root's level as it was found."""
        for logger in self._loggers:
            logger.removeHandler(self)
        others = [each for each in self._root.handlers if isinstance(each, CaptureHandler)]
        if self._has_lowered_root and others:
            others[0]._has_lowered_root = True
        elif (
            self._has_lowered_root and not self._root.handlers
        ):  # nobody has configured it meanwhile
            self._root.setLevel(logging.WARNING)

    @property
    def is_attached(self) -> bool:
        """Whether it is still there: a task that configures logging takes the handlers away."""
        return self in self._root.handlers

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass over what nobody listens to, as most that the tick itself logs."""
        if _current_capture.get() is None and self._last_resort_by_logger.get(record.name) is False:
            return False
        return bool(super().handle(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, if it was logged by a run of this listener's tick."""
        unheard = self._last_resort_by_logger.get(record.name)
        if unheard is None:
            unheard = self._last_resort_by_logger[record.name] = _needs_last_resort(record, self)
        if unheard:
            _emit_by_last_resort(record)
        captured = _current_capture.get()
        if captured is None or captured.handler is not self:
            return
        try:
            captured.add(_LINE_FORMATTER.format(record))
        except Exception:
            self.handleError(record)


def _needs_last_resort(record: logging.LogRecord, capture_handler: CaptureHandler) -> bool:
    """Return whether no handler but listeners gets the record, and this listener is the first."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    first: CaptureHandler | None = None
    while logger is not None:
        for handler in logger.handlers:
            if not isinstance(handler, CaptureHandler):
                return False
            first = first or handler
        logger = logger.parent if logger.propagate else None
    return first is capture_handler


def _emit_by_last_resort(record: logging.LogRecord) -> None:
    """Do what Python does with warnings in a program that has not configured logging."""
    if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
        logging.lastResort.handle(record)


@contextmanager
def capture_logs() -> Iterator[CaptureHandler]:
    """Hear what is logged until the block is left, on every logger that exists.

    The levels of other handlers play no part. What a logger itself holds back is not heard. In a
    program that has not configured logging that is what is below INFO; there are no other handlers
    then, and so nothing else changes.
    """
    listener = CaptureHandler()
    listener.attach()
    try:
        yield listener
    finally:
        listener.detach()


def _find_isolated_loggers() -> list[logging.Logger]:
    """Return the loggers whose records do not reach the root."""
    known = list(logging.Logger.manager.loggerDict.values())
    return [each for each in known if isinstance(each, logging.Logger) and not each.propagate]
