"""What a task logs while it runs, kept with its run.

One handler listens for the whole process, on the root and on each logger that does not propagate.
It is attached while a request with runs lasts, and gives each record to the run in whose context it
was logged: that of its own thread, those copied from it, and threads under
:func:`pyramid_cron.logs.in_run`.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from datetime import datetime, tzinfo
from functools import lru_cache
from types import TracebackType
from typing import Any

from sqlalchemy.exc import StatementError

from ..logs import current_capture
from ..text import MAX_RUN_TEXT_BYTES, make_storable

CUT_NOTICE_BYTES = 64
"""Room for the line that says how much of a log is left out."""


class LogCapture:
    """The last 64 KiB of what is logged in the context that enters it.

    Times are in ``timezone``, with their offset.
    """

    __slots__ = ("_lines", "_size", "_timezone", "_token", "_total")

    def __init__(self, timezone: tzinfo) -> None:
        self._timezone = timezone
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._total = 0

    def __enter__(self) -> LogCapture:
        if _handler not in _root.handlers:  # a task that configures logging removes it
            with _lock:
                _handler.attach()
        self._token: Token[Any] = current_capture.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        current_capture.reset(self._token)

    def add(self, record: logging.LogRecord) -> None:
        """Keep a record's lines; drop the oldest ones that no longer fit. One thread at a time."""
        line = _line_formatter(self._timezone).format(record)
        self._total += len(line.encode("utf-8", "backslashreplace")) + 1
        data = make_storable(line).encode() + b"\n"
        self._lines.append(data)
        self._size += len(data)
        while self._size - len(self._lines[0]) >= MAX_RUN_TEXT_BYTES:
            self._size -= len(self._lines.popleft())

    def text(self) -> str | None:
        """Return what is kept; None if nothing was logged.

        Where something was left out, a line at the beginning says how many bytes.
        """
        if not self._lines:
            return None
        total = self._total
        # A copy: another thread may ask while lines are added.
        data = b"".join(self._lines.copy())
        if total <= MAX_RUN_TEXT_BYTES >= len(data):
            return data.decode()
        kept = _tail_of_lines(data, MAX_RUN_TEXT_BYTES - CUT_NOTICE_BYTES)
        left_out = max(total, len(data)) - len(kept.encode())
        return f"[... {left_out} bytes left out ...]\n{kept}"


def _tail_of_lines(data: bytes, size: int) -> str:
    """Return the end of the data in whole lines, or of its last line in whole characters."""
    tail = data[-size:]
    start = tail.find(b"\n") + 1 if len(data) > size else 0
    return tail[start if start < len(tail) else 0 :].decode("utf-8", "ignore")


class _LineFormatter(logging.Formatter):
    """Formats a record with its time in a zone."""

    def __init__(self, timezone: tzinfo) -> None:
        super().__init__("%(asctime)s %(levelname)-5.5s [%(name)s] %(message)s")
        self._timezone = timezone

    def formatTime(self, record: logging.LogRecord, _format: str | None = None) -> str:  # noqa: N802
        """Return the time with milliseconds and the offset."""
        moment = datetime.fromtimestamp(record.created, self._timezone)
        return moment.isoformat(" ", "milliseconds")


@lru_cache(maxsize=8)
def _line_formatter(timezone: tzinfo) -> _LineFormatter:
    return _LineFormatter(timezone)


@contextmanager
def capture_logs() -> Iterator[None]:
    """Let each :class:`LogCapture` of the block get what is logged, on every logger that exists.

    The levels of other handlers play no part; the levels of loggers do. In a program that has not
    configured logging, INFO is kept, too.
    """
    with _lock:
        _handler.request_count += 1
        _handler.attach()
    try:
        yield
    finally:
        with _lock:
            _handler.request_count -= 1
            if not _handler.request_count:
                _handler.detach()


class _CaptureHandler(logging.Handler):
    """Gives each record to the run in whose context it was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.request_count = 0
        self._loggers: set[logging.Logger] = set()
        self._changed_levels: dict[logging.Logger, int] = {}
        self._is_alone_by_logger: dict[str, bool] = {}

    def attach(self) -> None:
        """Listen to the root and to all loggers that do not propagate to it."""
        if _has_other_handler(_root):
            self._restore_levels()
        elif _root.level == logging.WARNING and not self._changed_levels:
            self._let_info_pass()
        self._is_alone_by_logger.clear()
        self._loggers |= {_root, *_find_isolated_loggers()}
        for logger in self._loggers:
            logger.addHandler(self)

    def _let_info_pass(self) -> None:
        """Lower the root's level, but for the lines of this package, which nobody would see."""
        for logger, level in ((_package, logging.WARNING), (_root, logging.INFO)):
            if logger is _root or logger.level == logging.NOTSET:
                self._changed_levels[logger] = logger.level
                logger.setLevel(level)

    def detach(self) -> None:
        """Listen no more, and restore the levels."""
        for logger in self._loggers:
            logger.removeHandler(self)
        self._loggers.clear()
        self._restore_levels()

    def _restore_levels(self) -> None:
        if _has_other_handler(_root):  # a task has configured it
            self._changed_levels.pop(_root, None)
        for logger, level in self._changed_levels.items():
            logger.setLevel(level)
        self._changed_levels.clear()

    def handle(self, record: logging.LogRecord) -> bool:
        """Skip records of no run, as most that a tick itself logs."""
        if current_capture.get() is None and not self._is_alone(record.name):
            return False
        return bool(super().handle(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Add the record to its run's lines."""
        if self._is_alone(record.name):
            _emit_by_last_resort(record)
        if (capture := current_capture.get()) is not None:
            try:
                capture.add(record)
            except Exception:
                self.handleError(record)

    def _is_alone(self, name: str) -> bool:
        """Return whether no other handler gets the records of this logger."""
        if name not in self._is_alone_by_logger:
            self._is_alone_by_logger[name] = not _has_other_handler(logging.getLogger(name))
        return self._is_alone_by_logger[name]


_root = logging.getLogger()
_package = logging.getLogger("pyramid_cron")
_handler = _CaptureHandler()
_lock = threading.Lock()


def _reset_after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_reset_after_fork)


def _has_other_handler(logger: logging.Logger) -> bool:
    """Return whether a handler besides ours gets what is logged here."""
    if any(handler is not _handler for handler in logger.handlers):
        return True
    return logger.propagate and logger.parent is not None and _has_other_handler(logger.parent)


def _emit_by_last_resort(record: logging.LogRecord) -> None:
    """Do what Python does with warnings in a program that has not configured logging."""
    if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
        logging.lastResort.handle(record)


def _find_isolated_loggers() -> list[logging.Logger]:
    """Return the loggers whose records do not reach the root."""
    return [
        logger
        for logger in list(logging.Logger.manager.loggerDict.values())
        if isinstance(logger, logging.Logger) and not logger.propagate
    ]


PARAMETERS_LINE = re.compile(r"^([\s|]*)\[parameters: .*$\n?", re.MULTILINE)
"""What SQLAlchemy adds to an error's text, also where that is part of another error's."""

DETAIL_LINE = re.compile(r"^[\s|]*DETAIL:  .*$\n?", re.MULTILINE)
"""PostgreSQL's line with the values of the row that it refused."""

SQL_START = re.compile(r"\n[\s|]*(?:\[SQL: |\(Background on this error at: )")
"""Where what SQLAlchemy adds begins; without a statement it is the address of an explanation."""


def summarize_error(error: BaseException) -> str:
    """Return the error's type and text; what comes from SQLAlchemy is one line without SQL."""
    text = _without_values("".join(traceback.format_exception_only(error)), error).strip()
    start = SQL_START.search(text)
    return " ".join(text[: start.start()].split()) if start else text


def format_traceback(error: BaseException, frames: TracebackType | None) -> str:
    """Return the traceback from these frames on, with the errors that led to this one."""
    with _hidden_parameters(error):
        text = "".join(traceback.format_exception(type(error), error, frames))
    return _without_values(text, error)


def _without_values(text: str, error: BaseException) -> str:
    """Return the text of an error without the values that its statements had."""
    for statement_error in _statement_errors(error):
        original = str(statement_error.orig or "")
        if original:
            text = text.replace(original, _without_own_values(original, statement_error.params))
    return DETAIL_LINE.sub("", PARAMETERS_LINE.sub("", text))


def _without_own_values(text: str, parameters: Any) -> str:
    """Return the first line of what a driver says, without values in quotes."""
    line = next(iter(text.splitlines()), "")
    for value in _flatten(parameters):
        line = line.replace(f"'{value}'", "'…'")
    return line


def _flatten(parameters: Any) -> Iterator[Any]:
    if isinstance(parameters, Mapping):
        parameters = parameters.values()
    if isinstance(parameters, (str, bytes)) or not isinstance(parameters, Iterable):
        yield parameters
        return
    for value in parameters:
        yield from _flatten(value)


@contextmanager
def _hidden_parameters(error: BaseException) -> Iterator[None]:
    """Have errors of SQLAlchemy hide their parameters while they are formatted."""
    errors = [(found, found.hide_parameters) for found in _statement_errors(error)]
    try:
        for found, _ in errors:
            found.hide_parameters = True
        yield
    finally:
        for found, was_hidden in errors:
            found.hide_parameters = was_hidden


def _statement_errors(error: BaseException) -> Iterator[StatementError]:
    """Yield SQLAlchemy's errors among an error and what led to it, each once."""
    pending: list[BaseException | None] = [error]
    known: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in known:
            continue
        known.add(id(current))
        if isinstance(current, StatementError):
            yield current
        group = getattr(current, "exceptions", ())  # of an ExceptionGroup
        pending += [current.__cause__, current.__context__]
        pending += group if isinstance(group, tuple) else ()
