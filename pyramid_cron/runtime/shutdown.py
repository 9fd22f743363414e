"""How running tasks end when their process stops.

They may finish within ``cron.shutdown_timeout``; those that have not finished are cancelled and
recorded. The signal handler that was there before is called as well, once that timeout runs. Where
there was none, the process ends by the signal itself in the end, as it would have without this.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from .interrupts import uses_greenlets
from .process_hooks import call_at_exit
from .supervisor import Supervisor

TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

SHUTDOWN_SIGNALS = (*TERMINATION_SIGNALS, signal.SIGQUIT, signal.SIGABRT)
"""Gunicorn passes a SIGINT on to its workers as SIGQUIT, and aborts one that takes too long."""

ABORT_TIMEOUT_SECONDS = 0.5
"""Seconds that runs have after a SIGABRT: gunicorn kills the worker a second after that."""

DEFAULT_ONLY_SIGNALS = (signal.SIGHUP,)
"""They end a process by default, as when its terminal closes; servers that handle them reload."""

ANSWER_GRACE_SECONDS = 0.2
"""Seconds for a server to send the answer of a tick before a held signal ends it."""

TICK_GRACE_SECONDS = 1.0
"""Seconds for the ticks of other threads to end once their runs have."""

SIGNAL_GRACE_SECONDS = 1.0
"""Seconds for a signal to end the process; the first process of a container ignores it."""

_set_signal_action = ctypes.pythonapi.PyOS_setsig
_set_signal_action.argtypes = (ctypes.c_int, ctypes.c_void_p)
_set_signal_action.restype = ctypes.c_void_p


def install_shutdown_hooks(supervisor: Supervisor, timeout: float) -> None:
    """Let the supervisor's runs finish for ``timeout`` seconds when this process ends."""
    call_at_exit(supervisor, lambda alive: alive.shutdown(timeout))
    if _is_in_main_thread():
        _wrap_handlers(supervisor, timeout)


def reset_signals_after_fork() -> None:
    """Hold no signals in a forked process, which inherits the handlers but none of the runs."""
    for number in SHUTDOWN_SIGNALS:
        if isinstance(handler := signal.getsignal(number), _GracefulSignalHandler):
            handler.reset_after_fork()


@contextmanager
def graceful_signals(supervisor: Supervisor, timeout: float) -> Iterator[None]:
    """Let tasks in the main thread finish before a signal ends the process.

    A server sets its handlers after the application was made, and again in each process it forks;
    so they are wrapped at every tick. A handler that ends the process would end the task with it,
    at once: it is called when the tasks have stopped, or when the signal comes a second time.
    """
    with supervisor.tick_in_progress():
        if not _is_in_main_thread():
            yield
            return
        handlers, replaced = _wrap_handlers(supervisor, timeout)
        for handler in handlers:
            handler.hold_count += 1
        try:
            yield
        finally:
            for number, previous in replaced.items():
                signal.signal(number, previous)
            for handler in handlers:
                handler.release_signal()


def _is_in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _wrap_handlers(
    supervisor: Supervisor, timeout: float
) -> tuple[list[_GracefulSignalHandler], dict[signal.Signals, Any]]:
    """Put our handlers before those that end the process; return ours, and those they replaced."""
    handlers: list[_GracefulSignalHandler] = []
    replaced: dict[signal.Signals, Any] = {}
    for number in SHUTDOWN_SIGNALS:
        handler: Any = signal.getsignal(number)
        if not isinstance(handler, _GracefulSignalHandler):
            next_handler = _next_handler(number, handler)
            if next_handler is None:
                continue
            replaced[number] = handler
            handler = _GracefulSignalHandler(next_handler)
        handler.timeouts[supervisor] = timeout
        if number in replaced:
            signal.signal(number, handler)
        handlers.append(handler)
    return handlers, replaced


def _next_handler(number: int, handler: Any) -> Any:
    """Return what ends the process once its runs have stopped; None if the signal does not."""
    if callable(handler):
        return None if number in DEFAULT_ONLY_SIGNALS else handler
    return end_by_signal if handler is signal.SIG_DFL and number in TERMINATION_SIGNALS else None


def end_by_signal(number: int, _frame: FrameType | None = None) -> None:
    """End the process by the default action of the signal, from any thread."""
    _set_signal_action(number, None)  # unlike signal.signal, for every thread
    os.kill(os.getpid(), number)
    time.sleep(SIGNAL_GRACE_SECONDS)
    os._exit(128 + number)


class _GracefulSignalHandler:
    """Begins to stop the runs, then calls the handler that was there before."""

    def __init__(self, next_handler: Any) -> None:
        #: Seconds that the runs of each application may take.
        self.timeouts: WeakKeyDictionary[Supervisor, float] = WeakKeyDictionary()
        self._next_handler = next_handler
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Hold no signals: the ticks in progress at a fork are the parent's."""
        #: Ticks in the main thread: while there are any, only a second signal is passed on.
        self.hold_count = 0
        self._held_signal: int | None = None
        self._is_ending = False

    def release_signal(self) -> None:
        """Pass on the signal that was held, if there was one and no other tick holds it."""
        self.hold_count -= 1
        if self.hold_count or self._held_signal is None:
            return
        if self._next_handler is end_by_signal:
            self._end_after_runs(self._held_signal)
        elif self._next_handler is signal.default_int_handler:
            for supervisor in list(self.timeouts):
                supervisor.withdraw_shutdown()
            number, self._held_signal = self._held_signal, None
            self._next_handler(number, None)
        else:
            _resend_after_answer(self._held_signal)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGABRT:
            self._request_shutdown(ABORT_TIMEOUT_SECONDS)
            self._next_handler(number, frame)
            return
        self._request_shutdown()
        is_repeated = self._is_ending or (self.hold_count > 0 and self._held_signal is not None)
        if self.hold_count and not is_repeated:
            self._held_signal = number
            return
        if not self.hold_count:
            self._held_signal = None
        if self._next_handler is end_by_signal and not is_repeated:
            self._end_in_thread(number)
        else:
            self._next_handler(number, frame)

    def _request_shutdown(self, max_timeout: float = math.inf) -> None:
        for supervisor, own_timeout in list(self.timeouts.items()):
            timeout = min(own_timeout, max_timeout)
            if uses_greenlets():
                # This may be the hub's greenlet, which can't wait for the start of a thread.
                sys.modules["gevent"].spawn(supervisor.request_shutdown, timeout)
            else:
                supervisor.request_shutdown(timeout)

    def _end_in_thread(self, number: int) -> None:
        """End the process from a thread: a signal handler must not wait."""
        self._is_ending = True

        def end() -> None:
            self._stop_runs()
            _wait_for_ticks(list(self.timeouts))
            self._end_after_runs(number)

        if uses_greenlets():
            sys.modules["gevent"].spawn(end)
            return
        try:
            # The process must not end before.
            Supervisor.make_thread("end", end, keeps_process=True).start()
        except RuntimeError:  # there are too many, or the process ends already
            end_by_signal(number)

    def _end_after_runs(self, number: int) -> None:
        try:
            self._stop_runs()
        finally:
            end_by_signal(number)

    def _stop_runs(self) -> None:
        for supervisor, timeout in list(self.timeouts.items()):
            supervisor.shutdown(timeout)


def _wait_for_ticks(supervisors: Sequence[Supervisor]) -> None:
    """Give ticks of other threads time to end, and servers to send the answers."""
    until = time.monotonic() + TICK_GRACE_SECONDS
    had_ticks = False
    while any(supervisor.is_ticking for supervisor in supervisors) and time.monotonic() < until:
        had_ticks = True
        time.sleep(ANSWER_GRACE_SECONDS / 10)
    if had_ticks:
        time.sleep(ANSWER_GRACE_SECONDS)


def _resend_after_answer(number: int) -> None:
    """Send a signal to the main thread again, which may have to send an answer first."""

    def send() -> None:
        if uses_greenlets():  # whose ids are no threads'
            os.kill(os.getpid(), number)
        else:
            signal.pthread_kill(threading.main_thread().ident or 0, number)

    def send_later() -> None:
        time.sleep(ANSWER_GRACE_SECONDS)
        send()

    try:
        Supervisor.make_thread("signal", send_later).start()
    except RuntimeError:  # there are too many, or the process ends already
        send()
