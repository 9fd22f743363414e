"""Raising an exception in another thread or coroutine, and taking one back.

Here is the only use of ``PyThreadState_SetAsyncExc``. Python delivers such an exception when the
thread next executes a line of Python.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable, Generator
from typing import Any

from ..run import TaskInterrupted

_set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exception.argtypes = (ctypes.c_ulong, ctypes.py_object)


def raise_in_thread(thread_id: int, error_class: type[BaseException]) -> None:
    """Have the thread raise this exception when it next executes a line of Python."""
    _set_async_exception(thread_id, ctypes.py_object(error_class))


class _CancelAsyncException(BaseException):
    """Replaces an exception that is pending in this thread, and is raised instead of it."""


def clear_pending_interrupt() -> None:
    """Make sure that no exception is pending in this thread.

    It has to be raised for that: one that is only taken back leaves its mark on the interpreter.
    Python 3.11 then slows down, and where it traces, as a debugger does, hangs.
    """
    while True:
        try:
            raise_in_thread(threading.get_ident(), _CancelAsyncException)
            while True:
                pass
        except _CancelAsyncException:
            return
        except TaskInterrupted:
            continue  # delivered at the last moment


class InterruptibleAwaitable:
    """Awaits something; a cancellation of the asyncio task raises the interruption in it."""

    def __init__(
        self, awaitable: Any, get_interruption: Callable[[], TaskInterrupted | None]
    ) -> None:
        self._awaitable = awaitable
        self._get_interruption = get_interruption

    def __await__(self) -> Generator[Any, Any, Any]:
        iterator = self._awaitable.__await__()
        resume: Callable[[], Any] = lambda: next(iterator)  # noqa: E731
        while True:
            try:
                future = resume()
            except StopIteration as end:
                return end.value
            try:
                value = yield future
                resume = _make_send(iterator, value)
            except asyncio.CancelledError as error:
                resume = _make_throw(iterator, self._get_interruption() or error)


def _make_send(iterator: Any, value: Any) -> Callable[[], Any]:
    if value is None:
        return lambda: next(iterator)
    return lambda: iterator.send(value)


def _make_throw(iterator: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: iterator.throw(error)
