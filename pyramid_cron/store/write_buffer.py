"""Outcomes, ticks, deferred runs and changed schedules on their way to the store."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from .results import DeferredRun, Outcome, WriteBatch
from .stored_schedules import ScheduleChange
from .ticks import TickRecord


class WriteBuffer:
    """What is not in the store yet, to be written in batches.

    A transaction for each run would cost more than most tasks do. So the newest state of each run
    is buffered: until before a tick answers, and otherwise for a moment. Safe for threads.
    """

    def __init__(self) -> None:
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Empty the buffer: what it had at the fork is the parent's to write."""
        self._outcomes: dict[str, Outcome] = {}
        self._ticks: list[tuple[TickRecord, Collection[str]]] = []
        self._deferred_runs: list[DeferredRun] = []
        self._schedule_changes: list[ScheduleChange] = []
        self._lock = threading.Lock()
        self._drain_lock = threading.Lock()

    def add_outcome(self, outcome: Outcome) -> None:
        """Buffer the newest state of a claimed run; one that is over stays over."""
        with self._lock:
            current = self._outcomes.get(outcome.run.id)
            if current is None or not current.run.state.is_final:
                self._outcomes[outcome.run.id] = outcome

    def add_tick(self, tick: TickRecord, task_names: Collection[str]) -> None:
        """Buffer a tick, and the names in its task set."""
        with self._lock:
            self._ticks.append((tick, task_names))

    def add_deferred_run(self, deferred_run: DeferredRun) -> None:
        """Buffer a deferred run."""
        with self._lock:
            self._deferred_runs.append(deferred_run)

    def add_schedule_change(self, change: ScheduleChange) -> None:
        """Buffer a change of a stored schedule."""
        with self._lock:
            self._schedule_changes.append(change)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self._outcomes or self._ticks or self._deferred_runs or self._schedule_changes)

    @contextmanager
    def drain(self) -> Iterator[WriteBatch]:
        """Give all that is buffered, to be written in the block.

        If the block raises, it is buffered again, so that nothing is lost.
        """
        with self._drain_lock:
            with self._lock:
                outcomes, self._outcomes = self._outcomes, {}
                ticks, self._ticks = self._ticks, []
                deferred_runs, self._deferred_runs = self._deferred_runs, []
                changes, self._schedule_changes = self._schedule_changes, []
            try:
                yield WriteBatch(list(outcomes.values()), ticks, deferred_runs, changes)
            except BaseException:
                # It may be in the store all the same, if the answer to the commit was lost.
                ticks = [(replace(tick, is_maybe_written=True), names) for tick, names in ticks]
                with self._lock:
                    self._ticks = ticks + self._ticks
                    self._deferred_runs = deferred_runs + self._deferred_runs
                    self._schedule_changes = changes + self._schedule_changes
                    newer, self._outcomes = self._outcomes, outcomes
                for outcome in newer.values():
                    self.add_outcome(outcome)
                raise
