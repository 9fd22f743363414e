"""How running tasks end when their process stops.

They may finish within ``cron.shutdown_timeout``; those that have not finished are cancelled and
recorded. The signal handler that was there before is called as well, once that timeout runs.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from .process_hooks import call_at_exit
from .supervisor import Supervisor

TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

SHUTDOWN_SIGNALS = (*TERMINATION_SIGNALS, signal.SIGQUIT)
"""Gunicorn passes a SIGINT on to its workers as SIGQUIT."""

DEFAULT_ONLY_SIGNALS = (signal.SIGHUP,)
"""They end a process by default, as when its terminal closes; servers that handle them reload."""

ANSWER_GRACE_SECONDS = 0.2
"""Seconds for a server to send the answer of a tick before a held signal ends it."""


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
    return _exit_process if handler is signal.SIG_DFL and number in TERMINATION_SIGNALS else None


def _exit_process(number: int, _frame: FrameType | None) -> None:
    """End the process with the signal's exit status, after all exit hooks."""
    raise SystemExit(128 + number)


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

    def release_signal(self) -> None:
        """Pass on the signal that was held, if there was one and no other tick holds it."""
        self.hold_count -= 1
        if self.hold_count or self._held_signal is None:
            return
        if self._next_handler in (signal.default_int_handler, _exit_process):
            for supervisor in list(self.timeouts):
                supervisor.withdraw_shutdown()
            number, self._held_signal = self._held_signal, None
            self._next_handler(number, None)
        else:
            _resend_after_answer(self._held_signal)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        for supervisor, timeout in list(self.timeouts.items()):
            supervisor.request_shutdown(timeout)
        if not self.hold_count:
            self._held_signal = None
        elif self._held_signal is None:
            self._held_signal = number
            return
        self._next_handler(number, frame)


def _resend_after_answer(number: int) -> None:
    """Send a signal to the main thread again, which may have to send an answer first."""
    thread = threading.main_thread().ident
    timer = threading.Timer(ANSWER_GRACE_SECONDS, signal.pthread_kill, (thread, number))
    timer.daemon = True
    timer.start()
