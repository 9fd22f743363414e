"""One line on the terminal for each run, made of what the application logs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from . import tasks

LINE = "{:6} {:14} {:10} {:>9}  {}"
HEAD = LINE.format("TIME", "TASK", "STATE", "DURATION", "WHAT IT DID")


class RunLines(logging.Handler):
    """Shows each run as it ends, and whatever else is worth a warning.

    What a run did is what its task logged last or, if it failed, the error. The records of one run
    all come from one thread, one run after the other.
    """

    def __init__(self, zone: ZoneInfo, show: Callable[[str], None]) -> None:
        super().__init__()
        self._zone = zone
        self._show = show
        self._did: dict[int | None, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line, if the record completes one."""
        line = self._line(record)
        # A terminal that is gone is no reason for a task to fail.
        with suppress(OSError):
            if line is not None:
                self._show(line)

    def _line(self, record: logging.LogRecord) -> str | None:
        if record.name == tasks.log.name:
            self._did[record.thread] = record.getMessage()
            return None
        if "run" in vars(record):
            return self._run_line(record, vars(record))
        if record.levelno < logging.WARNING:
            return None
        return f"{record.levelname.lower()}: {self.format(record)}"

    def _run_line(self, record: logging.LogRecord, run: dict[str, Any]) -> str | None:
        if run["state"] == "running":
            self._did[record.thread] = _error(record)
            return None
        slot = datetime.fromisoformat(run["slot"].replace("Z", "+00:00")).astimezone(self._zone)
        duration = "" if run["duration"] is None else f"{run['duration']:.3f} s"
        did = self._did.pop(record.thread, "") or run["reason"] or ""
        return LINE.format(f"{slot:%H:%M}", run["task"], run["state"], duration, did).rstrip()


def _error(record: logging.LogRecord) -> str:
    """Return what the run died of, if the record tells."""
    error = record.exc_info and record.exc_info[1]
    return f"{type(error).__name__}: {error}" if error else ""


def show(line: str) -> None:
    """Print a line at once, even where the output is no terminal."""
    print(line, flush=True)
