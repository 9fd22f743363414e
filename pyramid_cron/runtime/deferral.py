"""Deferring a run, or changing a schedule, along with the transaction of whoever asks for it.

Where the application has named its session (``config.set_cron_session``), a deferred run is a row
of that transaction, and so is the change of a schedule. Otherwise the store has connections of its
own, and the two can't be one transaction: a deferred run waits in memory for the commit, and is
written right after it; an abort, or the rollback of a savepoint before it, drops it. So does the
change of a schedule. A process killed between the two loses it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import transaction
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.threadlocal import get_current_request
from sqlalchemy import Connection, event
from transaction.interfaces import NoTransaction, TransactionFailedError

from ..errors import StoreError
from ..planning.snapshot import as_run
from ..run import Run, RunState
from ..store.results import DeferredRun, write_schedule_change
from ..store.rows import Session as StoreSession
from ..store.stored_schedules import ScheduleChange
from ..store.waiting import defer_in, defer_run, find_by_key
from .cron_parts import CronParts
from .task_session import (
    Session,
    connection_of,
    ensure_store_in,
    is_registered,
    joins_transactions,
    mark_changed,
    session_of,
)
from .transactions import current_transaction_manager

if TYPE_CHECKING:
    from sqlalchemy.orm import SessionTransaction

HAS_DEFERRED = "pyramid_cron.has_deferred"
"""The key in a session's ``info`` under which it says if its transaction has deferred something."""

log = logging.getLogger("pyramid_cron")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose transaction it is that something is asked for in."""

    #: The request of the caller, or of the task that calls; None where there is none.
    request: Request | None = None
    #: The manager of the transaction, where it is neither a task's nor the request's.
    tm: Any = None
    #: A session or connection of the caller's own; None for the one that the application has named.
    session: Session | None = None


def find_caller(
    registry: Registry, request: Request | None, tm: Any, session: Session | None
) -> Caller:
    """Return the caller of a scheduler; without a request, the current one counts.

    That is so where its transaction is the task's that calls, or the manager's that the scheduler
    was given.
    """
    if request is None and session is None:
        manager, current = tm or current_transaction_manager(), get_current_request()
        is_own = current is not None and current.registry is registry
        if is_own and manager is (getattr(current, "tm", None) or transaction.manager):
            request = current
    return Caller(request, tm, session)


def defer_until_commit(cron: CronParts, caller: Caller, deferred_run: DeferredRun) -> Run:
    """Write it when the caller's transaction is committed; at once where there is none.

    Returns the run as it waits then; of several with the same key, the one that counts. Raises
    StoreError where the store can't be read, and without a transaction where it can't be written;
    in a transaction a failed write is repeated later.
    """
    with callers_transaction(cron, caller) as session:
        if session is not None:
            return defer_in(session, deferred_run)
    transaction = _find_open_transaction(caller)
    pending = PendingRuns() if transaction is None else _pending_runs(cron, transaction)
    waiting_run, known = deferred_run.waiting_run, None
    if waiting_run.key is not None:
        name, key = waiting_run.task, waiting_run.key
        known = pending.find(name, key) or find_by_key(cron.store, name, key)
    if known is not None:
        if known.state is not RunState.WAITING or not deferred_run.replaces:
            return known
        waiting_run = replace(waiting_run, id=known.id)
        deferred_run = replace(deferred_run, waiting_run=waiting_run)
    run = as_run(waiting_run)
    if transaction is None:
        run = defer_run(cron.store, deferred_run) or run
        cron.on_deferred()
        return run

    def write() -> None:
        cron.write_buffer.add_deferred_run(deferred_run)

    pending.add(run, _join(transaction, cron, write, f"{run.task} will be deferred"))
    return run


def change_schedule_at_commit(cron: CronParts, caller: Caller, change: ScheduleChange) -> None:
    """Write it when the caller's transaction is committed; at once where there is none.

    Raises StoreError where there is no transaction and it can't be written; in
    a transaction a failed write is repeated later.
    """
    with callers_transaction(cron, caller) as session:
        if session is not None:
            write_schedule_change(session, change)
            return
    transaction = _find_open_transaction(caller)
    if transaction is None:
        with cron.store.write_session() as session:
            write_schedule_change(session, change)
        cron.on_deferred()
        return

    def write() -> None:
        cron.write_buffer.add_schedule_change(change)

    data_manager = _join(transaction, cron, write, f"schedule {change.schedule.name} will change")
    _pending_changes(cron, transaction).append((change, data_manager))


def find_pending_change(cron: CronParts, caller: Caller, name: str) -> ScheduleChange | None:
    """Return how the caller's transaction has changed a schedule; None if it has not."""
    transaction = _find_open_transaction(caller)
    if transaction is None:
        return None
    changes = reversed(_pending_changes(cron, transaction))
    return next(
        (
            change
            for change, data_manager in changes
            if change.schedule.name == name and not data_manager.is_dropped
        ),
        None,
    )


def _pending_changes(
    cron: CronParts, transaction: Any
) -> list[tuple[ScheduleChange, _DeferredDataManager]]:
    changes: list[tuple[ScheduleChange, _DeferredDataManager]]
    try:
        changes = transaction.data(cron.schedule_book)
    except KeyError:
        changes = []
        transaction.set_data(cron.schedule_book, changes)
    return changes


def _join(
    transaction: Any, cron: CronParts, write: Callable[[], None], intent: str
) -> _DeferredDataManager:
    """Call ``write`` once the transaction is committed; return what knows if that is off."""
    data_manager = _DeferredDataManager()
    with suppress(ValueError, TransactionFailedError):  # it is being ended already
        transaction.join(data_manager)
    transaction.addAfterCommitHook(_write_after_commit, (cron, write, intent, data_manager))
    return data_manager


@contextmanager
def callers_transaction(cron: CronParts, caller: Caller) -> Iterator[StoreSession | None]:
    """Give the caller's own transaction as one of the store; None where it can't be that.

    It can where the caller has given its session, or the application has named that: if it is in a
    transaction, or begins one that its caller ends. What the block writes is committed or dropped
    with it. Raises StoreError if a given session is in another database than the store.
    """
    session = _find_session(cron, caller)
    if session is None:
        yield None
        return
    cron.store.open()
    yield StoreSession(connection_of(session), cron.store.tables, cron.store.owner)
    if is_registered(session):
        # It has joined its manager's transaction by now, whichever that is.
        mark_changed(session, transaction.manager)
    if not isinstance(session, Connection):
        _wake_after_transaction(session, cron)
    elif caller.request is not None:
        # A connection tells only before its commit; that comes before the end of the request.
        caller.request.add_finished_callback(lambda _: cron.on_deferred())


def _wake_after_transaction(session: Session, cron: CronParts) -> None:
    def wake(_: Session, ended: SessionTransaction) -> None:
        if ended.parent is None and session.info[HAS_DEFERRED]:
            session.info[HAS_DEFERRED] = False
            cron.on_deferred()

    # Listeners can't be removed while they are called, so there is one for all its transactions.
    if HAS_DEFERRED not in session.info:
        event.listen(session, "after_transaction_end", wake)
    session.info[HAS_DEFERRED] = True


def _find_session(cron: CronParts, caller: Caller) -> Session | None:
    if caller.session is not None:
        ensure_store_in(cron, caller.session)
        return caller.session
    if cron.get_session is None or caller.request is None:
        return None
    session = session_of(cron, caller.request)
    is_ended_by_nobody = _find_open_transaction(caller) is None and joins_transactions(session)
    return None if is_ended_by_nobody else session


def _pending_runs(cron: CronParts, transaction: Any) -> PendingRuns:
    try:
        pending: PendingRuns = transaction.data(cron)
    except KeyError:
        pending = PendingRuns()
        transaction.set_data(cron, pending)
    return pending


def _find_open_transaction(caller: Caller) -> Any:
    """Return the caller's transaction: of the given manager, a task's, or the request's own."""
    request = caller.request
    manager = current_transaction_manager() if caller.tm is None else caller.tm
    if manager is None and request is not None:
        manager = getattr(request, "tm", None)
        # An implicit manager would begin one here, and nothing would commit it.
        if not (getattr(manager, "explicit", False) or request.environ.get("tm.active")):
            return None
    try:
        return None if manager is None else manager.get()
    except NoTransaction:
        return None


class _DeferredDataManager:
    """Drops what was asked for when the transaction rolls back to a savepoint before it.

    What was asked for before the savepoint stays.
    """

    is_dropped = False

    def abort(self, _: Any) -> None:
        self.is_dropped = True

    def savepoint(self) -> _DeferredDataManager:
        return self

    def rollback(self) -> None:
        pass

    def sortKey(self) -> str:  # noqa: N802
        return "pyramid_cron"

    def _do_nothing(self, _: Any) -> None:
        pass

    tpc_begin = commit = tpc_vote = tpc_finish = tpc_abort = _do_nothing


class PendingRuns:
    """What was deferred with a key in one transaction."""

    def __init__(self) -> None:
        self._runs: defaultdict[tuple[str, str], list[tuple[Run, _DeferredDataManager]]]
        self._runs = defaultdict(list)

    def add(self, run: Run, data_manager: _DeferredDataManager) -> None:
        """Add a run, with what knows whether a savepoint has dropped it."""
        if run.key is not None:
            self._runs[run.task, run.key].append((run, data_manager))

    def find(self, task: str, key: str) -> Run | None:
        """Return the run with a key as it was deferred last; None if there is none."""
        runs = reversed(self._runs[task, key])
        return next((run for run, manager in runs if not manager.is_dropped), None)


def _write_after_commit(
    is_committed: bool,
    cron: CronParts,
    write: Callable[[], None],
    intent: str,
    data_manager: _DeferredDataManager,
) -> None:
    if not is_committed or data_manager.is_dropped:
        return
    write()
    try:
        cron.supervisor.flush()
        cron.on_deferred()
    except StoreError as error:
        log.warning("%s later: %s", intent, error)
        cron.supervisor.wake()
