"""Deferring a run along with the transaction of the task or request that asks for it.

The store has connections of its own, so the two can't be one transaction. A deferred run waits in
memory for the commit, and is written right after it; an abort, or the rollback of a savepoint
before it, drops it. A process killed between the two loses it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from pyramid.request import Request
from transaction.interfaces import NoTransaction, TransactionFailedError

from ..app import CronApp
from ..errors import StoreError
from ..store.results import DeferredRun
from .transactions import current_transaction_manager

log = logging.getLogger("pyramid_cron")


def defer_until_commit(cron: CronApp, request: Request | None, deferred_run: DeferredRun) -> None:
    """Write it when the caller's transaction is committed; at once where there is none.

    Raises StoreError only in the latter case; in the other, a failed write is repeated later.
    """
    transaction = _find_open_transaction(request)
    if transaction is None:
        cron.store.add_deferred_run(deferred_run)
    else:
        data_manager = _DeferredDataManager()
        with suppress(ValueError, TransactionFailedError):  # it is being ended already
            transaction.join(data_manager)
        transaction.addAfterCommitHook(_write_after_commit, (cron, deferred_run, data_manager))


def _find_open_transaction(request: Request | None) -> Any:
    """Return the caller's transaction: a task's, or the request's own."""
    manager = current_transaction_manager()
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
    """Drops a deferred run when the transaction rolls back to a savepoint before it.

    A run deferred before the savepoint stays.
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


def _write_after_commit(
    is_committed: bool, cron: CronApp, deferred_run: DeferredRun, data_manager: _DeferredDataManager
) -> None:
    if not is_committed or data_manager.is_dropped:
        return
    cron.write_buffer.add_deferred_run(deferred_run)
    try:
        cron.supervisor.flush()
    except StoreError as error:
        log.warning("%s will be deferred later: %s", deferred_run.waiting_run.task, error)
        cron.supervisor.wake()
