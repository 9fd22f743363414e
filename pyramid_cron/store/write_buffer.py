"""Outcomes, ticks, deferred runs and changed schedules on their way to the store."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ..errors import StoreError
from ..run import Run, evolve
from .results import DeferredRun, FailurePause, Outcome, WriteBatch
from .schema import Values
from .store import Store
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


TROUBLE_ERRORS = (InterfaceError, InternalError, PoolTimeoutError, sqlite3.Error)
"""What says nothing about the values."""

REFUSAL_CODES = (1118, 1153, 2006, 2013)
"""MariaDB's and MySQL's: a row or packet that is too large, which may also end the connection."""

LIMIT_EXCEEDED_CLASS = "54"
"""How PostgreSQL's codes begin for a value that is larger than it can be."""

log = logging.getLogger("pyramid_cron")


def write_what_can_be(store: Store, batch: WriteBatch) -> list[FailurePause]:
    """Write a batch; where the database refuses it, each result by itself.

    A run that is refused is written without its texts, and what is refused even then is dropped
    with an ERROR. Returns the tasks that were paused because they kept failing. Raises StoreError
    for trouble that may pass, such as a lock, a full disk, or a store that can't be reached:
    nothing is dropped then.
    """
    try:
        return store.write_batch(batch)
    except StoreError as error:
        if not _is_refusal(store, error):
            raise
    return [pause for part in _split(batch) for pause in _write_part(store, part)]


def write_live_outputs_that_can_be(store: Store, rows: Sequence[Values]) -> None:
    """Write what runs have logged so far; where the database refuses it, each by itself.

    What is refused is left out: the end of its run says so. Raises StoreError for other trouble.
    """
    try:
        store.write_live_outputs(rows)
    except StoreError as error:
        if not _is_refusal(store, error):
            raise
        for row in rows if len(rows) > 1 else ():
            write_live_outputs_that_can_be(store, [row])


def _is_refusal(store: Store, error: StoreError) -> bool:
    """Return whether the store is there, and does not take what was to be written."""
    cause = error.__cause__
    if isinstance(cause, OperationalError):
        code = _driver_code(cause.orig)
        may_refuse = code in REFUSAL_CODES or str(code).startswith(LIMIT_EXCEEDED_CLASS)
    else:
        may_refuse = not isinstance(cause, TROUBLE_ERRORS)
    if not may_refuse:
        return False
    try:
        store.pause_rules()
    except StoreError:
        return False
    return True


def _driver_code(error: BaseException | None) -> Any:
    """Return a driver's code of an error: SQLSTATE or the server's number."""
    return getattr(error, "sqlstate", None) or (getattr(error, "args", None) or [None])[0]


def _split(batch: WriteBatch) -> Iterator[WriteBatch]:
    """Yield each result in a batch of its own."""
    for tick in batch.ticks:
        yield WriteBatch(ticks=[tick])
    for deferred_run in batch.deferred_runs:
        yield WriteBatch(deferred_runs=[deferred_run])
    for outcome in batch.outcomes:
        yield WriteBatch(outcomes=[outcome])


def _write_part(store: Store, part: WriteBatch) -> list[FailurePause]:
    try:
        return store.write_batch(part)
    except StoreError as error:
        if not _is_refusal(store, error):
            raise
        return _write_shortened(store, part, error)


def _write_shortened(store: Store, part: WriteBatch, refusal: StoreError) -> list[FailurePause]:
    """Write a run without its texts, then without what follows from it; else drop the part."""
    for loss in ("its texts", "its texts and its next attempt") if part.outcomes else ():
        [outcome] = part.outcomes
        run = _without_texts(outcome.run)
        followups = outcome.followups if loss == "its texts" else ()
        shortened = WriteBatch([outcome._replace(run=run, followups=followups)])
        try:
            pauses = store.write_batch(shortened)
        except StoreError as error:
            if not _is_refusal(store, error):
                raise
            refusal = error
        else:
            log.error("%s run=%s is recorded without %s: %s", run.task, run.id, loss, refusal)
            return pauses
    log.error("%s can't be recorded and is dropped: %s", _describe(part), refusal)
    return []


def _without_texts(run: Run) -> Run:
    error = None if run.error is None else ascii(run.error)[1:-1][:200]
    texts = dict.fromkeys(("log", "stdout", "stderr", "traceback", "progress"))
    return evolve(run, error=error, **texts)


def _describe(part: WriteBatch) -> str:
    for outcome in part.outcomes:
        return f"{outcome.run.task} run={outcome.run.id}"
    for deferred_run in part.deferred_runs:
        return f"a deferred run of {deferred_run.waiting_run.task}"
    return "a tick"
