"""The log lines of runs and ticks, on the logger ``pyramid_cron``, and their form as JSON.

:func:`in_run` has what a task's own threads log kept with its run.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timezone
from functools import wraps
from logging.handlers import TimedRotatingFileHandler
from typing import Any, ParamSpec, TypeVar

from .errors import CommandError, RetryLater, StoreError
from .run import Run, TaskInterrupted
from .serializers import run_data, run_detail, select_keys
from .text import escape_unprintable, format_instant

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

log = logging.getLogger("pyramid_cron")

STANDARD_RECORD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
}
"""The attributes that every record of a log has."""

current_capture: ContextVar[Any] = ContextVar("pyramid_cron.capture", default=None)
"""What keeps the log of the run whose task this context is in; None outside of tasks."""


def in_run(function: Callable[P, ResultT]) -> Callable[P, ResultT]:
    """Return the function, to be called in a thread that the running task starts.

    What it logs is kept with the task's run, as is what the task logs itself:
    ``Thread(target=in_run(work))``, ``executor.submit(in_run(work), order)``. Threads that copy the
    task's context, as those of ``asyncio.to_thread`` do, need no help. Outside of a task the
    function does what it does without.
    """
    capture = current_capture.get()

    @wraps(function)
    def call_in_run(*args: P.args, **kwargs: P.kwargs) -> ResultT:
        token = current_capture.set(capture)
        try:
            return function(*args, **kwargs)
        finally:
            current_capture.reset(token)

    return function if capture is None else call_in_run


def _never_raise(function: Callable[P, None]) -> Callable[P, None]:
    """Print errors of an application's filters and handlers to stderr, instead of raising them.

    The standard library does so with errors of its own handlers.
    """

    @wraps(function)
    def log_safely(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            if logging.raiseExceptions and sys.stderr is not None:
                with suppress(Exception):  # an error may have no text
                    traceback.print_exc()

    return log_safely


@_never_raise
def log_failure(run: Run, error: BaseException) -> None:
    """Log the error of a run at ERROR, with its traceback.

    An interruption or a RetryLater is one line at WARNING, a program's failure one line at ERROR:
    the run's record has the rest.
    """
    if isinstance(error, (TaskInterrupted, RetryLater)):
        log.warning(
            "%s run=%s %s", run.task, run.id, escape_unprintable(str(error)), extra=_run_fields(run)
        )
    elif isinstance(error, CommandError):
        log.error(
            "%s run=%s failed: %s",
            run.task,
            run.id,
            escape_unprintable(str(error)),
            extra=_run_fields(run),
        )
    else:
        log.error("%s run=%s failed", run.task, run.id, exc_info=error, extra=_run_fields(run))


@_never_raise
def log_internal_error(run: Run, error: BaseException) -> None:
    """Log an error of pyramid_cron around a run at ERROR, with its traceback."""
    log.error("%s run=%s: internal error around the run", run.task, run.id, exc_info=error)


@_never_raise
def log_started(run: Run) -> None:
    """Log the start of a run at INFO."""
    if log.isEnabledFor(logging.INFO):
        slot, state = format_instant(run.slot), str(run.state)
        log.info(
            "%s run=%s slot=%s state=%s", run.task, run.id, slot, state, extra=_run_fields(run)
        )


@_never_raise
def log_finished(run: Run) -> None:
    """Log the end of a run at INFO."""
    if not log.isEnabledFor(logging.INFO):
        return
    duration = "-" if run.duration is None else f"{run.duration:.3f}s"
    reason = "" if run.reason is None else f" reason={run.reason}"
    if run.count > 1:
        reason += f" count={run.count}"
    if run.schedule is not None:
        reason += f" schedule={escape_unprintable(run.schedule)}"
    if run.error is not None and run.traceback is None:
        reason += f" ({escape_unprintable(run.error)})"
    log.info(
        "%s run=%s slot=%s state=%s duration=%s%s",
        run.task,
        run.id,
        format_instant(run.slot),
        str(run.state),
        duration,
        reason,
        extra=_run_fields(run) | _result_fields(run),
    )


@_never_raise
def log_nothing_due(moment: datetime) -> None:
    """Log a tick without work at DEBUG."""
    log.debug("nothing due at %s", moment)


@_never_raise
def log_never_fits(task: str, median_duration: float, budget: float) -> None:
    """Log an idle task that takes longer than a tick has at WARNING; durations in seconds."""
    log.warning(
        "%s does not run: it is idle, usually takes %.1f s, and cron.budget is %g s",
        task,
        median_duration,
        budget,
        extra={"task": task},
    )


def _run_fields(run: Run) -> dict[str, Any]:
    keys = ("task", "schedule", "run", "slot", "state", "attempt", "trigger", "reason", "duration")
    return select_keys(run_data(run), keys)


def _result_fields(run: Run) -> dict[str, Any]:
    texts = ("output", "stdout", "stderr")
    keys = ("started", "finished", "error", "exit_status", *texts, "host", "pid")
    return select_keys(run_detail(run), keys)


class JSONFormatter(logging.Formatter):
    """Formats a record as a JSON object on one line, in ASCII.

    Its keys are ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, ``exception`` with
    the traceback of an error, ``stack`` with ``stack_info``, and those of ``extra``. A value that
    is no JSON becomes text. The format that other formatters take has no effect.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line end."""
        values = {
            name: value
            for name, value in vars(record).items()
            if name not in STANDARD_RECORD_ATTRIBUTES
        }
        values |= {
            "time": format_instant(datetime.fromtimestamp(record.created, timezone.utc)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:  # a QueueHandler keeps only that
            values["exception"] = record.exc_text
        if record.stack_info:
            values["stack"] = self.formatStack(record.stack_info)
        order = ("time", "level", "logger", "message", *values)
        parts = [f"{json.dumps(name)}: {_dump_json(values[name])}" for name in dict.fromkeys(order)]
        return "{" + ", ".join(parts) + "}"


class RunLogHandler(TimedRotatingFileHandler):
    """Writes a line of JSON to a file for the end of each run, and for nothing else.

    The file is rotated as by the standard library's
    :class:`~logging.handlers.TimedRotatingFileHandler`, by default at midnight.

    :param filename: the path of the file; a rotated file has the date appended.
    :param when: the unit of ``interval``, or ``"midnight"``.
    :param interval: how many units one file lasts.
    :param backupCount: how many rotated files are kept.
    :param encoding: the file's encoding.
    """

    def __init__(
        self,
        filename: str,
        when: str = "midnight",
        interval: int = 1,
        backupCount: int = 30,  # noqa: N803 - the standard library's name
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(filename, when, interval, backupCount, encoding, **options)
        self.setFormatter(JSONFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record if it is the end of a run."""
        if record.name == log.name and hasattr(record, "finished"):
            super().emit(record)


def _dump_json(value: Any) -> str:
    try:
        return json.dumps(value, default=_to_text, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_to_text(value))


def _to_text(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that has no text>"


STORE_WARNING_DELAY_SECONDS = 60.0
"""Seconds of store errors after which they are logged, if no tick has reported them."""


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
