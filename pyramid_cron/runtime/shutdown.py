"""What happens to running tasks when their process is told to stop.

They may go on for ``cron.shutdown_timeout``; what is not over then is cancelled and put on record.
Whatever handled the signal before still does, after the clock for that has been started.
"""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .process_hooks import call_at_exit
from .supervisor import Supervisor

SupervisorReference = weakref.ref[Supervisor]

TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

SHUTDOWN_SIGNALS = (*TERMINATION_SIGNALS, signal.SIGQUIT)
"""Gunicorn passes a SIGINT on to its workers as SIGQUIT."""

DEFAULT_ONLY_SIGNALS = (signal.SIGHUP,)
"""They end a process, as one whose terminal is closed, but have servers read something again."""

ANSWER_GRACE_SECONDS = 0.2
"""Seconds for a server to send the answer of a tick, before a signal that was put off ends it."""


def install_shutdown_hooks(supervisor: Supervisor, timeout: float) -> None:
    """See to it that the supervisor stops its runs when this process ends."""
    call_at_exit(supervisor, lambda alive: alive.shutdown(timeout))
    if _is_in_main_thread():
        _wrap_handlers(weakref.ref(supervisor), timeout)


def reset_signals_after_fork() -> None:
    """Hold no signals in a forked process, which inherits the handlers but none of the runs."""
    for number in SHUTDOWN_SIGNALS:
        if isinstance(handler := _get_handler(number), _GracefulSignalHandler):
            handler.reset_after_fork()


@contextmanager
def graceful_signals(supervisor: Supervisor, timeout: float) -> Iterator[None]:
    """Heed signals while tasks run in the main thread, in a process made by a fork too.

    A server sets its own handlers in such a process, after the application was made. One that ends
    the process would end the task with it, at once; so it is called once the tasks have stopped, or
    when the signal comes a second time.
    """
    with supervisor.tick_in_progress():
        if not _is_in_main_thread():
            yield
            return
        before = _wrap_handlers(weakref.ref(supervisor), timeout)
        handlers = [
            each
            for number in SHUTDOWN_SIGNALS
            if isinstance(each := _get_handler(number), _GracefulSignalHandler)
        ]
        for handler in handlers:
            handler.hold_signals()
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)
            for handler in handlers:
                handler.deliver_pending_signal()


def _is_in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _get_handler(number: int) -> Any:
    return signal.getsignal(number)


def _wrap_handlers(reference: SupervisorReference, timeout: float) -> dict[signal.Signals, Any]:
    """Put our handlers before those that are there; return those."""
    before = {}
    for number in SHUTDOWN_SIGNALS:
        handler = _get_handler(number)
        if isinstance(handler, _GracefulSignalHandler):
            handler.add(reference, timeout)
        elif after := _next_handler(number, handler):
            before[number] = handler
            signal.signal(number, _GracefulSignalHandler(reference, timeout, after))
    return before


def _next_handler(number: int, handler: Any) -> Any:
    """Return what ends the process once its runs have stopped; None if the signal is not to."""
    if callable(handler):
        return None if number in DEFAULT_ONLY_SIGNALS else handler
    return _exit_process if handler is signal.SIG_DFL and number in TERMINATION_SIGNALS else None


def _exit_process(number: int, _frame: FrameType | None) -> None:
    """End the process as a signal does, but with everything that has to be done at its end."""
    raise SystemExit(128 + number)


class _GracefulSignalHandler:
    """A signal handler that begins to stop the runs and leaves the rest to the one before it.

    A process that a task has forked inherits it, but none of the runs it would wait for.
    """

    def __init__(self, reference: SupervisorReference, timeout: float, next_handler: Any) -> None:
        self._shutdowns = [(reference, timeout)]
        self._next_handler = next_handler
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Hold no signals: the ticks in progress at a fork are the parent's."""
        self._hold_count = 0
        self._pending_signal: int | None = None

    def add(self, reference: SupervisorReference, timeout: float) -> None:
        """Stop another application's runs, too."""
        others = [each for each in self._shutdowns if each[0]() not in (None, reference())]
        self._shutdowns = [*others, (reference, timeout)]

    def hold_signals(self) -> None:
        """Do not call the handler before, until :meth:`catch_up`."""
        self._hold_count += 1

    def deliver_pending_signal(self) -> None:
        """Let the handler before have the signal that came meanwhile, if one did."""
        self._hold_count -= 1
        if self._hold_count or self._pending_signal is None:
            return
        if self._next_handler in (signal.default_int_handler, _exit_process):
            for reference, _ in self._shutdowns:
                if (supervisor := reference()) is not None:
                    supervisor.withdraw_shutdown()
            number, self._pending_signal = self._pending_signal, None
            self._next_handler(number, None)
        else:
            _resend_after_answer(self._pending_signal)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        for reference, patience in self._shutdowns:
            if (supervisor := reference()) is not None:
                supervisor.request_shutdown(patience)
        if not self._hold_count:
            self._pending_signal = None
        elif self._pending_signal is None:
            self._pending_signal = number
            return
        self._next_handler(number, frame)


def _resend_after_answer(number: int) -> None:
    """Send a signal to the main thread, which may have to send an answer first."""
    thread = threading.main_thread().ident
    timer = threading.Timer(ANSWER_GRACE_SECONDS, signal.pthread_kill, (thread, number))
    timer.daemon = True
    timer.start()
