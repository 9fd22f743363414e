"""A run while it runs: how far it has come, and how it is told to stop.

A task is stopped by raising an exception in the thread it runs in. Python delivers it when the
thread next executes a line of Python, so a task that waits in C code (``time.sleep``, a database
driver, a lock) is stopped once that returns. A coroutine is stopped at its next ``await``.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextvars import ContextVar
from datetime import datetime, timedelta
from numbers import Integral, Real
from typing import Any

from ..clock import Stopwatch
from ..run import Progress, Run, TaskInterrupted, make_storable
from ..run_transitions import progressed
from .interrupts import clear_pending_interrupt, raise_in_thread
from .process_hooks import exit_if_forked

MAX_PROGRESS = sys.float_info.max


def _kill_nothing() -> bool:
    return False


class Execution:
    """One run that this process has claimed, from its claim to its end.

    ``lease`` is until when it is ours by a :meth:`moment`, ``deadline`` when it has to be over by
    the ``clock`` (None: never). ``wall`` tells the time as other processes have it.
    ``interruption`` is what it was told to stop with, ``told`` when that was, ``stopped`` whether
    its process stopping was the reason. ``given_up`` is set once it is not waited for any longer,
    ``on_record`` once the store knows that it has begun. ``texts`` tell what it has logged or
    written so far, by the name of what the run keeps of it; ``kill`` ends it at once where it is
    outside of this process, and tells whether it is.
    """

    def __init__(
        self, run: Run, clock: Stopwatch, wall_clock: Callable[[], datetime], lease_until: datetime
    ) -> None:
        self.run = run
        self.clock = clock
        self.wall_clock = wall_clock
        self.lease_until = lease_until
        self.deadline: datetime | None = None
        self.interruption: TaskInterrupted | None = None
        self.interrupted_at: datetime | None = None
        self.by_shutdown = False
        self.is_abandoned = False
        self.is_start_recorded = False
        self.outputs: dict[str, Callable[[], str | None]] = {}
        self.kill: Callable[[], bool] = _kill_nothing
        self.reset_after_fork()
        self._thread_id: int | None = None
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._asyncio_task: asyncio.Task[Any] | None = None

    def reset_after_fork(self) -> None:
        """Forget who is told of changes, in a process that the run's task has forked."""
        self.on_change: Callable[[Run, bool], None] | None = None
        self._change_lock = threading.RLock()
        self._interrupt_lock = threading.Lock()

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the run has come; cheap, since it is written a moment later."""
        known = None if total is None else _check_progress_number("total", total)
        text = None if message is None else make_storable(str(message))
        progress = Progress(_check_progress_number("done", done), known, text)
        self.update(lambda run: progressed(run, progress))

    def update(self, transition: Callable[[Run], Run]) -> None:
        """Change the run and tell so, one change after the other; none comes after its end."""
        with self._change_lock:
            if not self.run.state.is_final:
                self.run = transition(self.run)
                if self.on_change is not None and not self.is_abandoned:
                    self.on_change(self.run, self.by_shutdown)

    def collect_outputs(self) -> dict[str, str | None]:
        """Return what it has logged and written so far."""
        return {name: text() for name, text in self.outputs.items()}

    def call_interruptibly(self, work: Callable[..., Any], *values: Any) -> Any:
        """Return what ``work(*values)`` returns; for a coroutine, what that returns in the end.

        Raises the interruption if there was one, even where the work paid no heed to it. A process
        that the work has forked ends with it.
        """
        token = current_execution.set(self)
        try:
            with self._interrupt_lock:
                if self.interruption is not None:
                    raise self.interruption
                self._thread_id = threading.get_ident()
            try:
                mine = os.getpid()
                try:
                    answer = work(*values)
                    if answer is not None and inspect.isawaitable(answer):
                        answer = asyncio.run(self._run_awaitable(answer))
                finally:
                    exit_if_forked(mine)
            finally:
                self._leave_interruptible()
        finally:
            current_execution.reset(token)
            self.raise_if_interrupted()
        return answer

    def raise_if_interrupted(self) -> None:
        """Raise what it was told to stop with, if it was: somebody else may have caught that."""
        if self.interruption is not None:
            raise self.interruption

    def _leave_interruptible(self) -> None:
        """Leave the reach of interruptions; one that has not been delivered yet is withdrawn."""
        while self._thread_id is not None:
            try:
                with self._interrupt_lock:
                    self._thread_id = None
            except TaskInterrupted:
                continue  # delivered at the last moment
        if self.interruption is not None:
            clear_pending_interrupt()

    def interrupt(self, interruption: TaskInterrupted, by_shutdown: bool = False) -> None:
        """Raise an exception in the task, unless it was told to stop already or is over."""
        with self._interrupt_lock:
            if self.interruption is not None:
                return
            self.interruption = interruption
            self.interrupted_at = self.clock.now()
            self.by_shutdown = by_shutdown
            if self._event_loop is not None and self._asyncio_task is not None:
                self._event_loop.call_soon_threadsafe(self._asyncio_task.cancel)
            elif self._thread_id is not None:
                raise_in_thread(self._thread_id, ctypes.py_object(type(interruption)))

    def has_valid_lease(self) -> bool:
        """Return whether its lease lasts, as far as is known here."""
        return self.clock.now() < self.lease_until and self.wall_clock() < self.lease_until

    def lease_clock(self) -> datetime:
        """Return the moment from which a lease counts, for us and for others.

        They go by the wall clock, which may have been put forward since the tick began.
        """
        return max(self.clock.now(), self.wall_clock())

    def is_past_deadline(self) -> bool:
        """Return whether its time is up."""
        return self.deadline is not None and self.clock.now() >= self.deadline

    def is_unresponsive(self, grace: timedelta) -> bool:
        """Return whether it was told to stop so long ago that it can't be waited for."""
        return self.interrupted_at is not None and self.clock.now() - self.interrupted_at >= grace

    async def _run_awaitable(self, awaitable: Any) -> Any:
        self._event_loop = asyncio.get_running_loop()
        with self._interrupt_lock:
            self._asyncio_task = asyncio.current_task()
        try:
            return await _Interruptible(awaitable, self)
        finally:
            with self._interrupt_lock:
                self._asyncio_task = None


current_execution: ContextVar[Execution | None] = ContextVar("pyramid_cron.live", default=None)
"""The run that goes on in this context."""


class _Interruptible:
    """Awaits something, and turns the cancelling that wakes it up into the interruption."""

    def __init__(self, awaitable: Any, execution: Execution) -> None:
        self._awaitable = awaitable
        self._execution = execution

    def __await__(self) -> Generator[Any, Any, Any]:
        awaited = self._awaitable.__await__()
        send: Callable[[], Any] = lambda: next(awaited)  # noqa: E731
        while True:
            try:
                wish = send()
            except StopIteration as end:
                return end.value
            try:
                answer = yield wish
                send = _make_send(awaited, answer)
            except asyncio.CancelledError as error:
                send = _make_throw(awaited, self._execution.interruption or error)


def _make_send(awaited: Any, answer: Any) -> Callable[[], Any]:
    if answer is None:
        return lambda: next(awaited)
    return lambda: awaited.send(answer)


def _make_throw(awaited: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: awaited.throw(error)


def _check_progress_number(name: str, value: Any) -> float:
    if not isinstance(value, Real):
        raise TypeError(f"progress: {name}={value!r} is no number")
    number = int(value) if isinstance(value, Integral) else float(value)
    if not -MAX_PROGRESS <= number <= MAX_PROGRESS:  # nor is NaN
        raise ValueError(f"progress: {name} must be finite, and no larger than a float can be")
    return number
