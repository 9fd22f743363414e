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
from ..run import Progress, Run, TaskInterrupted, changed, storable
from .forked import end_unless

GREATEST = sys.float_info.max


def _can_not_kill() -> bool:
    return False


_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)


class Live:
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
        self, run: Run, clock: Stopwatch, wall: Callable[[], datetime], lease: datetime
    ) -> None:
        self.run = run
        self.clock = clock
        self.wall = wall
        self.lease = lease
        self.deadline: datetime | None = None
        self.interruption: TaskInterrupted | None = None
        self.told: datetime | None = None
        self.stopped = False
        self.given_up = False
        self.changed: Callable[[Run, bool], None] | None = None
        self.on_record = False
        self.texts: dict[str, Callable[[], str | None]] = {}
        self.kill: Callable[[], bool] = _can_not_kill
        self._changing = threading.RLock()
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: asyncio.Task[Any] | None = None

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the run has come; cheap, since it is written a moment later."""
        known = None if total is None else _number("total", total)
        text = None if message is None else storable(str(message))
        self.change(progress=Progress(_number("done", done), known, text))

    def change(self, **changes: Any) -> None:
        """Change the run and tell so, one change after the other; none comes after its end."""
        with self._changing:
            if not self.run.state.final:
                self.run = changed(self.run, **changes)
                if self.changed is not None and not self.given_up:
                    self.changed(self.run, self.stopped)

    def written(self) -> dict[str, str | None]:
        """Return what it has logged and written so far."""
        return {name: text() for name, text in self.texts.items()}

    def call(self, work: Callable[..., Any], *values: Any) -> Any:
        """Return what ``work(*values)`` returns; for a coroutine, what that returns in the end.

        Raises the interruption if there was one, even where the work paid no heed to it. A process
        that the work has forked ends with it.
        """
        token = current.set(self)
        try:
            with self._lock:
                if self.interruption is not None:
                    raise self.interruption
                self._thread = threading.get_ident()
            try:
                mine = os.getpid()
                try:
                    answer = work(*values)
                    if answer is not None and inspect.isawaitable(answer):
                        answer = asyncio.run(self._await(answer))
                finally:
                    end_unless(mine)
            finally:
                self._disarm()
        finally:
            current.reset(token)
            self.heed()
        return answer

    def heed(self) -> None:
        """Raise what it was told to stop with, if it was: somebody else may have caught that."""
        if self.interruption is not None:
            raise self.interruption

    def _disarm(self) -> None:
        """Leave the reach of interruptions; one that has not been delivered yet is withdrawn."""
        while self._thread is not None:
            try:
                with self._lock:
                    self._thread = None
            except TaskInterrupted:
                continue  # delivered at the last moment
        if self.interruption is not None:
            _withdraw()

    def interrupt(self, interruption: TaskInterrupted, stopped: bool = False) -> None:
        """Raise an exception in the task, unless it was told to stop already or is over."""
        with self._lock:
            if self.interruption is not None:
                return
            self.interruption = interruption
            self.told = self.clock.now()
            self.stopped = stopped
            if self._loop is not None and self._waiting is not None:
                self._loop.call_soon_threadsafe(self._waiting.cancel)
            elif self._thread is not None:
                _raise_in(self._thread, ctypes.py_object(type(interruption)))

    def ours(self) -> bool:
        """Return whether its lease lasts, as far as is known here."""
        return self.clock.now() < self.lease and self.wall() < self.lease

    def moment(self) -> datetime:
        """Return the moment from which a lease counts, for us and for others.

        They go by the wall clock, which may have been put forward since the tick began.
        """
        return max(self.clock.now(), self.wall())

    def overdue(self) -> bool:
        """Return whether its time is up."""
        return self.deadline is not None and self.clock.now() >= self.deadline

    def stuck(self, patience: timedelta) -> bool:
        """Return whether it was told to stop so long ago that it can't be waited for."""
        return self.told is not None and self.clock.now() - self.told >= patience

    async def _await(self, awaitable: Any) -> Any:
        self._loop = asyncio.get_running_loop()
        with self._lock:
            self._waiting = asyncio.current_task()
        try:
            return await _Interruptible(awaitable, self)
        finally:
            with self._lock:
                self._waiting = None


class _Withdrawn(BaseException):
    """Takes the place of an exception that is to be raised in this thread, and is raised."""


def _withdraw() -> None:
    """See to it that no exception is pending in this thread.

    It has to be raised for that: one that is only taken back leaves its mark on the interpreter.
    Python 3.11 then slows down, and where it traces, as a debugger does, hangs.
    """
    while True:
        try:
            _raise_in(threading.get_ident(), ctypes.py_object(_Withdrawn))
            while True:
                pass
        except _Withdrawn:
            return
        except TaskInterrupted:
            continue  # delivered at the last moment


current: ContextVar[Live | None] = ContextVar("pyramid_cron.live", default=None)
"""The run that goes on in this context."""


class _Interruptible:
    """Awaits something, and turns the cancelling that wakes it up into the interruption."""

    def __init__(self, awaitable: Any, live: Live) -> None:
        self._awaitable = awaitable
        self._live = live

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
                send = _sending(awaited, answer)
            except asyncio.CancelledError as error:
                send = _throwing(awaited, self._live.interruption or error)


def _sending(awaited: Any, answer: Any) -> Callable[[], Any]:
    if answer is None:
        return lambda: next(awaited)
    return lambda: awaited.send(answer)


def _throwing(awaited: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: awaited.throw(error)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, Real):
        raise TypeError(f"progress: {name}={value!r} is no number")
    number = int(value) if isinstance(value, Integral) else float(value)
    if not -GREATEST <= number <= GREATEST:  # nor is NaN
        raise ValueError(f"progress: {name} must be finite, and no larger than a float can be")
    return number
