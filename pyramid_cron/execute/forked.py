"""Where a process ends that a task has forked: with the task."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def exit_if_forked(parent_pid: int) -> None:
    """End this process where the task ends, with what that raises, unless it is ``pid``.

    What is behind the task belongs to the process that this one was forked from: the transaction
    and its connections, the other tasks, the record, the answer.
    """
    if os.getpid() != parent_pid:
        _exit_forked_process(sys.exc_info()[1])


def _exit_forked_process(error: BaseException | None) -> NoReturn:
    """End this process as Python ends one that an error comes out of, but touch nothing else."""
    code = 0 if error is None else 1
    try:
        if isinstance(error, SystemExit):
            code = _exit_code(error)
        elif error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # none, or closed
                stream.flush()
    finally:
        os._exit(code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return int(error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1
