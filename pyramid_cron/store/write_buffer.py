"""What happened but is not written yet: outcomes gather here and reach the store in groups."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from .results import DeferredRun, Outcome, WriteBatch
from .ticks import TickRecord


class WriteBuffer:
    """Outcomes on their way to the store.

    A transaction per run would cost more than most tasks do, so the newest state of each run is
    kept until it is taken: before a tick answers, and shortly after anything was noted.
    """

    def __init__(self) -> None:
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin empty: what waits at a fork is the parent's to write."""
        self._outcomes: dict[str, Outcome] = {}
        self._ticks: list[tuple[TickRecord, Collection[str]]] = []
        self._deferred_runs: list[DeferredRun] = []
        self._lock = threading.Lock()
        self._drain_lock = threading.Lock()

    def add_outcome(self, outcome: Outcome) -> None:
        """Keep the newest state of a claimed run."""
        with self._lock:
            known = self._outcomes.get(outcome.run.id)
            if known is None or not known.run.state.is_final:
                self._outcomes[outcome.run.id] = outcome

    def add_tick(self, tick: TickRecord, task_names: Collection[str]) -> None:
        """Keep a tick of the roster of ``names``."""
        with self._lock:
            self._ticks.append((tick, task_names))

    def add_deferred_run(self, deferred_run: DeferredRun) -> None:
        """Keep what is to run once."""
        with self._lock:
            self._deferred_runs.append(deferred_run)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self._outcomes or self._ticks or self._deferred_runs)

    @contextmanager
    def drain(self) -> Iterator[WriteBatch]:
        """Give everything noted so far, to be written in the block.

        It stays noted if the block raises, so nothing is lost.
        """
        with self._drain_lock:
            with self._lock:
                outcomes, self._outcomes = self._outcomes, {}
                ticks, self._ticks = self._ticks, []
                deferred, self._deferred_runs = self._deferred_runs, []
            try:
                yield WriteBatch(list(outcomes.values()), ticks, deferred)
            except BaseException:
                # It may be on record all the same, if the answer was lost.
                ticks = [(replace(tick, is_maybe_written=True), names) for tick, names in ticks]
                with self._lock:
                    self._ticks = ticks + self._ticks
                    self._deferred_runs = deferred + self._deferred_runs
                    newer, self._outcomes = self._outcomes, outcomes
                for outcome in newer.values():
                    self.add_outcome(outcome)
                raise
