"""What happens to an application's objects when their process ends or forks.

Neither hook keeps an object alive: an application without other references is collected.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn, TypeVar

OwnerT = TypeVar("OwnerT")


def call_at_exit(owner: OwnerT, function: Callable[[OwnerT], object]) -> None:
    """Call ``function(owner)`` when this process ends, unless the owner is collected before.

    The function must not refer to the owner.
    """
    reference = weakref.ref(owner)

    def at_exit() -> None:
        if (alive := reference()) is not None:
            function(alive)

    weakref.finalize(owner, atexit.unregister, at_exit)
    atexit.register(at_exit)


class ForkHook:
    """Resets the parts of one application in every process that is forked from this one.

    Threads, locks, claimed runs and reports stay with the parent; a child begins without them.
    """

    def __init__(self) -> None:
        self._resets: list[Callable[[], object]] = []
        reference = weakref.ref(self)

        def after_fork() -> None:
            if (hook := reference()) is not None:
                for reset in hook._resets:
                    reset()

        os.register_at_fork(after_in_child=after_fork)

    def add(self, reset: Callable[[], object]) -> None:
        """Have ``reset`` called in forked processes, after those added before."""
        self._resets.append(reset)


def is_preloading() -> bool:
    """Return whether a server makes the application in a process that it forks its workers from.

    Known of gunicorn with ``preload_app`` and of uWSGI without ``lazy-apps``.
    """
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and uwsgi.worker_id() == 0:
        return True
    frame: FrameType | None = sys._getframe()
    names = set()
    while frame is not None:
        names.add(frame.f_globals.get("__name__"))
        frame = frame.f_back
    return "gunicorn.arbiter" in names and "gunicorn.workers.base" not in names


def exit_if_forked(parent_pid: int) -> None:
    """End a process that a task has forked where the task ends, with what that raises.

    What comes after the task is the parent's: its transaction and connections, the other tasks,
    the results, the answer.
    """
    if os.getpid() != parent_pid:
        _exit_forked_process(sys.exc_info()[1])


def _exit_forked_process(error: BaseException | None) -> NoReturn:
    """End this process with the exit status and output of the error; skip all exit hooks."""
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
