"""What happens to running tasks when their process is told to stop.

They may go on for ``cron.shutdown_timeout``; what is not over then is cancelled and put on record.
Whatever handled the signal before still does, after the clock for that has been started.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .supervise import Supervisor

Reference = weakref.ref[Supervisor]

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

SIGNALS = (*ENDING, signal.SIGQUIT)
"""Gunicorn passes a SIGINT on to its workers as SIGQUIT."""

UNLESS_HANDLED = (signal.SIGHUP,)
"""They end a process, as one whose terminal is closed, but have servers read something again."""

ANSWER_TIME = 0.2
"""Seconds for a server to send the answer of a tick, before a signal that was put off ends it."""


def arrange(supervisor: Supervisor, patience: float) -> None:
    """See to it that the supervisor stops its runs when this process ends."""
    reference = weakref.ref(supervisor)

    def at_exit() -> None:
        if (found := reference()) is not None:
            found.stop(patience)

    # Does not keep an application alive that nobody else needs.
    weakref.finalize(supervisor, atexit.unregister, at_exit)
    atexit.register(at_exit)
    if _in_main_thread():
        _attend(reference, patience)


@contextmanager
def attentive(supervisor: Supervisor, patience: float) -> Iterator[None]:
    """Heed signals while tasks run in the main thread, in a process made by a fork too.

    A server sets its own handlers in such a process, after the application was made. One that ends
    the process would end the task with it, at once; so it is called once the tasks have stopped, or
    when the signal comes a second time.
    """
    with supervisor.engaged():
        if not _in_main_thread():
            yield
            return
        before = _attend(weakref.ref(supervisor), patience)
        handlers = [each for number in SIGNALS if isinstance(each := _handler(number), _Heeding)]
        for handler in handlers:
            handler.put_off()
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)
            for handler in handlers:
                handler.catch_up()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _handler(number: int) -> Any:
    return signal.getsignal(number)


def _attend(reference: Reference, patience: float) -> dict[signal.Signals, Any]:
    """Put our handlers before those that are there; return those."""
    before = {}
    for number in SIGNALS:
        handler = _handler(number)
        if isinstance(handler, _Heeding):
            handler.add(reference, patience)
        elif after := _after(number, handler):
            before[number] = handler
            signal.signal(number, _Heeding(reference, patience, after))
    return before


def _after(number: int, handler: Any) -> Any:
    """Return what ends the process once its runs have stopped; None if the signal is not to."""
    if callable(handler):
        return None if number in UNLESS_HANDLED else handler
    return _leave if handler is signal.SIG_DFL and number in ENDING else None


def _leave(number: int, _frame: FrameType | None) -> None:
    """End the process as a signal does, but with everything that has to be done at its end."""
    raise SystemExit(128 + number)


class _Heeding:
    """A signal handler that begins to stop the runs and leaves the rest to the one before it.

    A process that a task has forked inherits it, but none of the runs it would wait for.
    """

    def __init__(self, supervisor: Reference, patience: float, before: Any) -> None:
        self._stops = [(supervisor, patience)]
        self._before = before
        self._pid = os.getpid()
        self._busy = 0
        self._heard: int | None = None

    def add(self, supervisor: Reference, patience: float) -> None:
        """Stop another application's runs, too."""
        others = [each for each in self._stops if each[0]() not in (None, supervisor())]
        self._stops = [*others, (supervisor, patience)]

    def put_off(self) -> None:
        """Do not call the handler before, until :meth:`catch_up`."""
        self._mind_forks()
        self._busy += 1

    def catch_up(self) -> None:
        """Let the handler before have the signal that came meanwhile, if one did."""
        self._busy -= 1
        if self._busy or self._heard is None:
            return
        if self._before in (signal.default_int_handler, _leave):
            for reference, _ in self._stops:
                if (supervisor := reference()) is not None:
                    supervisor.carry_on()
            number, self._heard = self._heard, None
            self._before(number, None)
        else:
            _send_soon(self._heard)

    def _mind_forks(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._busy, self._heard = os.getpid(), 0, None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._mind_forks()
        for reference, patience in self._stops:
            if (supervisor := reference()) is not None:
                supervisor.begin_to_stop(patience)
        if not self._busy:
            self._heard = None
        elif self._heard is None:
            self._heard = number
            return
        self._before(number, frame)


def _send_soon(number: int) -> None:
    """Send a signal to the main thread, which may have to send an answer first."""
    thread = threading.main_thread().ident
    timer = threading.Timer(ANSWER_TIME, signal.pthread_kill, (thread, number))
    timer.daemon = True
    timer.start()
