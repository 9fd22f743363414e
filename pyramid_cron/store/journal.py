"""What happened but is not written yet: outcomes gather here and reach the store in groups."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from .outcomes import Deferred, Noted, Outcome, Tick


class Journal:
    """Outcomes on their way to the store.

    A transaction per run would cost more than most tasks do, so the newest state of each run is
    kept until it is taken: before a tick answers, and shortly after anything was noted.
    """

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome] = {}
        self._ticks: list[tuple[Tick, Collection[str]]] = []
        self._deferred: list[Deferred] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def note(self, outcome: Outcome) -> None:
        """Keep the newest state of a claimed run."""
        with self._lock:
            known = self._outcomes.get(outcome.run.id)
            if known is None or not known.run.state.final:
                self._outcomes[outcome.run.id] = outcome

    def note_tick(self, tick: Tick, names: Collection[str]) -> None:
        """Keep a tick of the roster of ``names``."""
        with self._lock:
            self._ticks.append((tick, names))

    def note_deferred(self, deferred: Deferred) -> None:
        """Keep what is to run once."""
        with self._lock:
            self._deferred.append(deferred)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self._outcomes or self._ticks or self._deferred)

    @contextmanager
    def taking(self) -> Iterator[Noted]:
        """Give everything noted so far, to be written in the block.

        It stays noted if the block raises, so nothing is lost.
        """
        with self._writing:
            with self._lock:
                outcomes, self._outcomes = self._outcomes, {}
                ticks, self._ticks = self._ticks, []
                deferred, self._deferred = self._deferred, []
            try:
                yield Noted(list(outcomes.values()), ticks, deferred)
            except BaseException:
                # It may be on record all the same, if the answer was lost.
                ticks = [(replace(tick, doubtful=True), names) for tick, names in ticks]
                with self._lock:
                    self._ticks = ticks + self._ticks
                    self._deferred = deferred + self._deferred
                    newer, self._outcomes = self._outcomes, outcomes
                for outcome in newer.values():
                    self.note(outcome)
                raise
