"""One transaction per task within one request, whoever manages the request's transactions.

With pyramid_tm the request comes with a transaction of its own, begun by the tween; without it the
thread-local manager of the ``transaction`` package serves. The tween's transaction is ended before
the first task and a new, empty one begun after the last, which is what the tween then finishes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import transaction
from pyramid.request import Request
from transaction.interfaces import NoTransaction

CALLBACK_ATTRIBUTES = ("response_callbacks", "finished_callbacks")
"""What a request keeps: callbacks that tasks have added are called in the end."""


class RequestState:
    """The attributes of a request at one moment: reified ones, caches of methods, all others.

    A task that finds the database session, the user or the services of the one before it would
    work with what that one's transaction has closed.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._class = type(request)
        self._attributes = dict(vars(request))

    def restore(self) -> None:
        """Give the request the attributes that it had, and leave it its callbacks."""
        current = vars(self._request)
        callbacks = {name: current[name] for name in CALLBACK_ATTRIBUTES if name in current}
        current.clear()
        current.update(self._attributes | callbacks)
        if type(self._request) is not self._class:  # it was given properties
            self._request.__class__ = self._class


ResultT = TypeVar("ResultT")
_current_manager: ContextVar[Any] = ContextVar("pyramid_cron.manager", default=None)

log = logging.getLogger("pyramid_cron")


@contextmanager
def without_transaction(
    request: Request, *, commit_first: bool = False
) -> Iterator[TaskTransactions]:
    """Give the request's transactions, with none open.

    Earlier work of the request is committed, as the tween would do in the end; without pyramid_tm
    nothing would commit it, and it is aborted. With ``commit_first`` it is committed in both cases,
    and an error of that is raised. A doom stays.
    """
    managed = getattr(request, "tm", None)
    manager = transaction.manager if managed is None else managed
    if managed is None and not commit_first:
        manager.abort()
        was_open = doomed = False
    else:
        doomed = _is_doomed(manager)
        was_open = _commit_open(manager) if commit_first else _commit_or_abort(manager)
    try:
        yield TaskTransactions(manager, RequestState(request))
    finally:
        if was_open:
            manager.begin()
        if doomed:
            manager.doom()


def _is_doomed(manager: Any) -> bool:
    try:
        return bool(manager.isDoomed())
    except NoTransaction:
        return False


def _commit_open(manager: Any) -> bool:
    """Commit the open transaction, if there is one; return whether there was."""
    try:
        _commit(manager)
    except NoTransaction:
        return False
    return True


def _commit_or_abort(manager: Any) -> bool:
    """Commit the open transaction, or abort it if that fails; return whether there was one."""
    try:
        return _commit_open(manager)
    except Exception:
        log.exception("earlier work of the request could not be committed")
        manager.abort()
    return True


class SessionTransaction(Protocol):
    """The transaction of the application's session, which the manager may not know."""

    def commit(self, manager: Any) -> None:
        """Commit the manager's transaction, and the session's with it."""

    def commit_session(self) -> None:
        """Commit the session's transaction where the manager has none."""

    def rollback(self) -> None:
        """Undo what the session has done in a transaction of its own."""


class TaskTransactions:
    """One transaction after the other, by one manager, each with the request as it was."""

    def __init__(self, manager: Any, request_state: RequestState) -> None:
        self._manager = manager
        self._request_state = request_state

    def run(
        self,
        description: str,
        function: Callable[..., ResultT],
        *values: Any,
        session: SessionTransaction | None = None,
    ) -> ResultT:
        """Return what ``function(*values)`` returns, its transaction committed.

        It is aborted if anything is raised, and where it is doomed, which is no error, as with
        pyramid_tm. The function may end its transaction itself, and begin others. With ``session``
        that of the application's session is ended along with it.
        """
        manager = self._manager
        manager.begin().description = description
        token = _current_manager.set(manager)
        try:
            result = function(*values)
            if session is not None:
                _commit_with(session, manager)
            elif _is_open(manager):  # else the function has ended it itself
                _commit(manager)
        except BaseException:
            _abort(manager)
            if session is not None:
                _rollback(session)
            raise
        finally:
            _current_manager.reset(token)
            self._request_state.restore()
        return result

    def call_subscriber(self, subscriber: Callable[[Any], Any], event: Any) -> None:
        """Call a subscriber to an event in a transaction of its own."""
        self.run("cron event", subscriber, event)


def _is_open(manager: Any) -> bool:
    try:
        manager.get()
    except NoTransaction:
        return False
    return True


def _commit(manager: Any) -> None:
    """Commit, or abort what is doomed."""
    if manager.isDoomed():
        manager.abort()
    else:
        manager.commit()


def _commit_with(session: SessionTransaction, manager: Any) -> None:
    """Commit both transactions, or abort both where the manager's is doomed."""
    if not _is_open(manager):
        session.commit_session()
    elif manager.isDoomed():
        manager.abort()
        session.rollback()
    else:
        session.commit(manager)


def current_transaction_manager() -> Any:
    """Return the manager of the transaction of the calling task or subscriber, or None."""
    return _current_manager.get()


def _rollback(session: SessionTransaction) -> None:
    try:
        session.rollback()
    except Exception:
        log.exception("the session of a failed task could not be rolled back")


def _abort(manager: Any) -> None:
    try:
        manager.abort()
    except NoTransaction:
        pass
    except Exception:
        # It must not hide the task's own error.
        log.exception("the transaction of a failed task could not be aborted cleanly")
