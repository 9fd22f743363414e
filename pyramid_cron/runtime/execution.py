"""A run inside this process: its state, its lease, its deadline, and how it is interrupted.

A task is interrupted by an exception that is raised in its thread. Python delivers it when the
thread next executes a line of Python, so a task that waits in C code (``time.sleep``, a database
driver, a lock) is interrupted once that returns. A coroutine is interrupted at its next ``await``.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from ..clock import Stopwatch
from ..run import Progress, Run, RunState, TaskInterrupted, evolve
from ..run_transitions import progressed, started
from ..schedule.quantities import parse_number
from ..store.rows import make_output_rows
from ..store.schema import Values
from ..text import make_storable
from .interrupts import (
    Interruptible,
    InterruptibleAwaitable,
    current_interruptible,
    run_coroutine,
)
from .process_hooks import exit_if_forked


def hash_outputs(row: Values) -> int:
    """Return by what the row of a run's outputs is known, without its texts being kept."""
    return hash(tuple(row.values()))


class Execution:
    """One run that this process has claimed, from its claim to its end."""

    def __init__(
        self, run: Run, clock: Stopwatch, wall_clock: Callable[[], datetime], lease_until: datetime
    ) -> None:
        #: The run as it is now.
        self.run = run
        #: The clock of the tick that claimed it.
        self.clock = clock
        #: The time as other processes have it.
        self.wall_clock = wall_clock
        #: Until when the lease lasts, by both clocks.
        self.lease_until = lease_until
        #: When the task's timeout is over, by ``clock``; None without one.
        self.deadline: datetime | None = None
        #: What the task was interrupted with.
        self.interruption: TaskInterrupted | None = None
        #: When that was, by ``clock``.
        self.interrupted_at: datetime | None = None
        #: Whether it was because its process stops.
        self.by_shutdown = False
        #: Whether it was released, or its end is recorded though its thread may go on.
        self.is_abandoned = False
        #: Whether a process of its own has the run, and this one waits for the end of that.
        self.is_delegated = False
        #: Whether its thread has left it.
        self.has_returned = False
        #: Whether its end may be written in the task's own transaction.
        self.is_transactional = False
        #: Whether that is committed.
        self.has_end = False
        #: Whether it is not known if that is committed.
        self.is_contested = False
        #: Whether the store knows that it has started.
        self.is_start_recorded = False
        #: What it has logged and written so far, by the field of the run.
        self.outputs: dict[str, Callable[[], str | int | None]] = {}
        #: The hash of what of this the store had last; None before that.
        self.live_outputs_hash: int | None = None
        #: What is called as the run begins.
        self.on_start: Callable[[], object] | None = None
        #: Kills what runs outside of this process; None where nothing does.
        self.kill: Callable[[], object] | None = None
        self.reset_after_fork()
        self._thread_id: int | None = None
        self._interruptible: Interruptible | None = None
        #: The run whose task has called this one, and the one this task has called, in its thread.
        self._caller: Execution | None = None
        self._inner: Execution | None = None
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._asyncio_task: asyncio.Task[Any] | None = None

    def reset_after_fork(self) -> None:
        """Report changes to nobody in a process that the task has forked."""
        self._on_change: Callable[[Run, bool], None] | None = None
        self._change_lock = threading.RLock()
        self._interrupt_lock = threading.Lock()

    # The run.

    @property
    def is_over(self) -> bool:
        """Whether the run has ended here, was released, or was abandoned."""
        return self.is_abandoned or self.run.state.is_final

    def start(self, timeout: timedelta | None, on_change: Callable[[Run, bool], None]) -> bool:
        """Begin the run, unless it was abandoned before; return whether it begins.

        ``on_change`` is called with each later state of it and :attr:`by_shutdown`.
        """
        with self._change_lock:
            if self.is_abandoned:
                return False
            now = self.clock.now()
            self.run = started(self.run, now)
            self.deadline = None if timeout is None else now + timeout
            self._on_change = on_change
            if self.on_start is not None:
                self.on_start()
            return True

    def abandon(self, *states: RunState) -> bool:
        """Stop waiting for the run if it is in one of these states; return whether that was new."""
        with self._change_lock:
            if self.is_abandoned or self.is_delegated or self.run.state not in states:
                return False
            self.is_abandoned = True
            return True

    def delegate(self, kill: Callable[[], object]) -> bool:
        """Leave the run to a process, which ``kill`` kills; False if it was abandoned before."""
        with self._change_lock:
            if self.is_abandoned:
                return False
            self.is_delegated, self.kill = True, kill
            return True

    def take_back(self, run: Run, lease_until: datetime) -> None:
        """Go on with a run whose process has died before it began, as it is on record."""
        with self._change_lock:
            self.run, self.lease_until = run, lease_until
            self.is_delegated, self.kill = False, None

    def end_delegated(
        self,
        run: Run,
        lease_until: datetime,
        transition: Callable[[Run], Run],
        on_change: Callable[[Run, bool], None],
    ) -> None:
        """End a run whose process has died, as it is on record."""
        with self._change_lock:  # it can't be interrupted in between
            self.take_back(run, lease_until)
            self._on_change = on_change
            self.update(transition)

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Set how far the run has come; cheap, since it is written a moment later."""
        total_number = None if total is None else parse_number("progress: total", total)
        text = None if message is None else make_storable(str(message))
        progress = Progress(parse_number("progress: done", done), total_number, text)
        self.update(lambda run: progressed(run, progress))

    def update(self, transition: Callable[[Run], Run]) -> None:
        """Change the run and report it, one change after the other; none comes after its end."""
        with self._change_lock:
            if not self.run.state.is_final:
                self.run = transition(self.run)
                if self._on_change is not None and not self.is_abandoned:
                    self._on_change(self.run, self.by_shutdown)

    def collect_outputs(self) -> dict[str, str | int | None]:
        """Return what it has logged and written so far."""
        # A copy: the task's thread may add to them.
        return {name: output() for name, output in list(self.outputs.items())}

    def changed_outputs(self) -> Values | None:
        """Return the row of what it has logged and written, unless the store has that already."""
        if self.is_over or self.is_delegated or not self.outputs:
            return None
        rows = make_output_rows([evolve(self.run, **self.collect_outputs())])
        is_changed = bool(rows) and hash_outputs(rows[0]) != self.live_outputs_hash
        return rows[0] if is_changed else None

    # Interruptions.

    def call_interruptibly(self, function: Callable[..., Any], *values: Any) -> Any:
        """Return what ``function(*values)`` returns; for a coroutine, its result.

        Raises the interruption if there was one, even where the function swallowed it. A process
        that the function has forked ends with it.
        """
        with self._inside_caller():
            try:
                with self._interrupt_lock:
                    if (interruption := self._get_interruption()) is not None:
                        raise interruption
                    self._interruptible = current_interruptible()
                try:
                    pid = os.getpid()
                    try:
                        result = function(*values)
                        if result is not None and inspect.isawaitable(result):
                            result = run_coroutine(self._run_awaitable(result))
                    finally:
                        exit_if_forked(pid)
                finally:
                    self._leave_interruptible()
            finally:
                self.raise_if_interrupted()
        return result

    @contextmanager
    def _inside_caller(self) -> Iterator[None]:
        """Be the current execution; an interruption of the caller is raised in this one's task."""
        caller = current_execution.get()
        token = current_execution.set(self)
        self._thread_id = threading.get_ident()
        if caller is not None and caller._thread_id == self._thread_id:
            self._caller, caller._inner = caller, self
        try:
            yield
        finally:
            if self._caller is not None:
                self._caller._inner = None
            current_execution.reset(token)

    def raise_if_interrupted(self) -> None:
        """Raise the interruption again if there was one: the task may have swallowed it."""
        if self.interruption is not None:
            raise self.interruption

    def _leave_interruptible(self) -> None:
        """Stop accepting interruptions; clear one that is still pending."""
        interruptible = self._interruptible
        while self._interruptible is not None:
            try:
                with self._interrupt_lock:
                    self._interruptible = None
            except TaskInterrupted:
                continue  # delivered at the last moment
        if self.interruption is not None and interruptible is not None:
            interruptible.clear_pending()

    def interrupt(self, interruption: TaskInterrupted, by_shutdown: bool = False) -> None:
        """Raise an exception in the task, unless it is over or was interrupted before."""
        with self._interrupt_lock:
            if self.interruption is not None:
                return
            self.interruption = interruption
            self.interrupted_at = self.clock.now()
            self.by_shutdown = by_shutdown
            self._deliver(type(interruption))

    def _deliver(self, error_class: type[TaskInterrupted]) -> None:
        """Raise an interruption where the task is: in the run that it has called, if it has."""
        if (inner := self._inner) is not None:
            with inner._interrupt_lock:
                inner._deliver(error_class)
        elif self._event_loop is not None and self._asyncio_task is not None:
            self._event_loop.call_soon_threadsafe(self._asyncio_task.cancel)
        elif self._interruptible is not None:
            self._interruptible.raise_exception(error_class)

    def _get_interruption(self) -> TaskInterrupted | None:
        """Return what this run, or one whose task has called it, was interrupted with."""
        if self.interruption is not None or self._caller is None:
            return self.interruption
        return self._caller._get_interruption()

    async def _run_awaitable(self, awaitable: Any) -> Any:
        self._event_loop = asyncio.get_running_loop()
        with self._interrupt_lock:
            # From now on nothing is raised in the thread, where it could hit the event loop.
            self._interruptible, self._asyncio_task = None, asyncio.current_task()
        try:
            return await InterruptibleAwaitable(awaitable, self._get_interruption)
        finally:
            with self._interrupt_lock:
                self._asyncio_task = None

    # Times.

    def has_valid_lease(self) -> bool:
        """Return whether the lease lasts, as far as this process knows."""
        return self.is_delegated or (
            self.clock.now() < self.lease_until and self.wall_clock() < self.lease_until
        )

    def lease_clock(self) -> datetime:
        """Return the moment from which a lease counts, here and in other processes.

        They go by the wall clock, which may have been put forward since the tick began.
        """
        return max(self.clock.now(), self.wall_clock())

    def is_past_deadline(self) -> bool:
        """Return whether the task's timeout is over."""
        return self.deadline is not None and self.clock.now() >= self.deadline

    def is_unresponsive(self, grace: timedelta) -> bool:
        """Return whether the run was interrupted more than ``grace`` ago."""
        return self.interrupted_at is not None and self.clock.now() - self.interrupted_at >= grace


current_execution: ContextVar[Execution | None] = ContextVar("pyramid_cron.execution", default=None)
"""The execution of the run whose task this context is in."""
