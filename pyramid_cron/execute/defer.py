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

from ..state import Cronwork
from ..store.engine import StoreError
from ..store.outcomes import Deferred
from .transaction import current_manager

log = logging.getLogger("pyramid_cron")


def defer(cron: Cronwork, request: Request | None, deferred: Deferred) -> None:
    """Write it when the transaction it is asked for in is committed; at once where there is none.

    Raises StoreError only in the latter case. In the other, what can't be written is written later.
    """
    transaction = _open_transaction(request)
    if transaction is None:
        cron.store.defer(deferred)
    else:
        asked = _Asked()
        with suppress(ValueError, TransactionFailedError):  # it is being ended already
            transaction.join(asked)
        transaction.addAfterCommitHook(_write, (cron, deferred, asked))


def _open_transaction(request: Request | None) -> Any:
    """Return the transaction that the caller's work is in: a task's, or the request's own."""
    manager = current_manager()
    if manager is None and request is not None:
        manager = getattr(request, "tm", None)
        # A manager that begins by itself would do so here, and nobody would commit.
        if not (getattr(manager, "explicit", False) or request.environ.get("tm.active")):
            return None
    try:
        return None if manager is None else manager.get()
    except NoTransaction:
        return None


class _Asked:
    """A data manager, so that what was asked for is dropped with the savepoint it came after.

    What came before a savepoint stays when that is rolled back.
    """

    dropped = False

    def abort(self, _: Any) -> None:
        self.dropped = True

    def savepoint(self) -> _Asked:
        return self

    def rollback(self) -> None:
        pass

    def sortKey(self) -> str:  # noqa: N802
        return "pyramid_cron"

    def _nothing(self, _: Any) -> None:
        pass

    tpc_begin = commit = tpc_vote = tpc_finish = tpc_abort = _nothing


def _write(committed: bool, cron: Cronwork, deferred: Deferred, asked: _Asked) -> None:
    if not committed or asked.dropped:
        return
    cron.journal.note_deferred(deferred)
    try:
        cron.supervisor.write()
    except StoreError as error:
        log.warning("%s will be deferred later: %s", deferred.pending.task, error)
        cron.supervisor.wake()
