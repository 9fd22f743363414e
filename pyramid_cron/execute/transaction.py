"""One transaction per task within one request, whoever manages the request's transactions.

With pyramid_tm the request comes with a transaction of its own, begun by the tween; without it the
thread-local manager of the ``transaction`` package serves. The tween's transaction is ended before
the first task and a new, empty one begun after the last, which is what the tween then finishes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import transaction
from pyramid.request import Request
from transaction.interfaces import NoTransaction

T = TypeVar("T")
_current: ContextVar[Any] = ContextVar("pyramid_cron.manager", default=None)
log = logging.getLogger("pyramid_cron")


@contextmanager
def between_transactions(request: Request) -> Iterator[Any]:
    """Give the request's transaction manager, with no transaction open.

    Work done earlier in the request is committed, as the tween would do in the end.
    """
    manager = getattr(request, "tm", None)
    if manager is None:
        manager = transaction.manager
        manager.abort()
        yield manager
        return
    was_open = _end(manager)
    try:
        yield manager
    finally:
        if was_open:
            manager.begin()


def _end(manager: Any) -> bool:
    """Commit the open transaction, if there is one; return whether there was."""
    try:
        _commit(manager)
    except NoTransaction:
        return False
    except Exception:
        log.exception("what the request did before its tasks could not be committed")
        manager.abort()
    return True


def in_transaction(manager: Any, note: str, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, its transaction committed; abort it if anything is raised.

    Doomed work is aborted without an error, as pyramid_tm does. Work may end its transaction
    itself, and begin others.
    """
    manager.begin().note(note)
    token = _current.set(manager)
    try:
        result = work()
        with suppress(NoTransaction):  # the work may have ended it itself
            _commit(manager)
    except BaseException:
        _abort(manager)
        raise
    finally:
        _current.reset(token)
    return result


def _commit(manager: Any) -> None:
    """Commit, or abort what is doomed."""
    if manager.isDoomed():
        manager.abort()
    else:
        manager.commit()


def current_manager() -> Any:
    """Return who manages the transaction that the calling task or subscriber is in, or None."""
    return _current.get()


def _abort(manager: Any) -> None:
    try:
        manager.abort()
    except NoTransaction:
        pass
    except Exception:
        # The task's own error is the one to tell; this one must not hide it.
        log.exception("the transaction of a failed task could not be aborted cleanly")
