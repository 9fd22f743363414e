"""Putting what is to run later on record, along with the work of the transaction that asks for it.

The store has connections of its own, so the two can't be one transaction. What is asked for waits
in memory for the commit, and is written right after it; an abort, or the rollback of a savepoint
before it, forgets it. A process killed between the two loses it.
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
    """Write it when the transaction it is asked for in is committed; at once where there is none.

    Raises StoreError only in the latter case. In the other, what can't be written is written later.
    """
    transaction = _find_open_transaction(request)
    if transaction is None:
        cron.store.add_deferred_run(deferred_run)
    else:
        asked = _DeferredDataManager()
        with suppress(ValueError, TransactionFailedError):  # it is being ended already
            transaction.join(asked)
        transaction.addAfterCommitHook(_write_after_commit, (cron, deferred_run, asked))


def _find_open_transaction(request: Request | None) -> Any:
    """Return the transaction that the caller's work is in: a task's, or the request's own."""
    manager = current_transaction_manager()
    if manager is None and request is not None:
        manager = getattr(request, "tm", None)
        # A manager that begins by itself would do so here, and nobody would commit.
        if not (getattr(manager, "explicit", False) or request.environ.get("tm.active")):
            return None
    try:
        return None if manager is None else manager.get()
    except NoTransaction:
        return None


class _DeferredDataManager:
    """A data manager, so that what was asked for is dropped with the savepoint it came after.

    What came before a savepoint stays when that is rolled back.
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
