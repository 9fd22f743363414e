"""Raising an exception in another thread, greenlet or coroutine, and taking one back.

Here is the only use of ``PyThreadState_SetAsyncExc``. Python delivers such an exception when the
thread next executes a line of Python.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from ..run import TaskInterrupted

_set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exception.argtypes = (ctypes.c_ulong, ctypes.py_object)


ResultT = TypeVar("ResultT")


class Interruptible(Protocol):
    """What runs a task's code: the thread, or the greenlet, that it was made in."""

    def raise_exception(self, error_class: type[BaseException]) -> None:
        """Have it raise this exception as soon as it can."""
        ...

    def clear_pending(self) -> None:
        """Make sure that no exception is pending in it; it calls this itself."""
        ...


def current_interruptible() -> Interruptible:
    """Return what this code runs in."""
    return _Greenlet() if uses_greenlets() else _Thread()


def uses_greenlets() -> bool:
    """Return whether gevent has put greenlets in the place of threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class _CancelAsyncException(BaseException):
    """Replaces an exception that is pending in this thread, and is raised instead of it."""


class _Thread:
    def __init__(self) -> None:
        self._thread_id = threading.get_ident()

    def raise_exception(self, error_class: type[BaseException]) -> None:
        _set_async_exception(self._thread_id, ctypes.py_object(error_class))

    def clear_pending(self) -> None:
        """Make sure that no exception is pending in this thread.

        It has to be raised for that: one that is only taken back leaves its mark on the
        interpreter. Python 3.11 then slows down, and where it traces, as a debugger does, hangs.
        """
        while True:
            try:
                error = ctypes.py_object(_CancelAsyncException)
                while _set_async_exception(self._thread_id, error):
                    pass
                return  # the id is no thread's: a library has replaced threads
            except _CancelAsyncException:
                return
            except TaskInterrupted:
                continue  # delivered at the last moment


class _Greenlet:
    """A greenlet of gevent, whose exception is raised where it waits."""

    def __init__(self) -> None:
        self._gevent = sys.modules["gevent"]
        self._greenlet = self._gevent.getcurrent()

    def raise_exception(self, error_class: type[BaseException]) -> None:
        self._gevent.kill(self._greenlet, error_class)

    def clear_pending(self) -> None:
        with suppress(TaskInterrupted):
            self._gevent.sleep(0)  # what is pending is raised before this returns


def run_coroutine(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return the result of a coroutine, run in a new event loop in this thread.

    An event loop that runs in the thread already rests meanwhile.
    """
    with _without_event_loop():
        return asyncio.run(coroutine)


@contextmanager
def _without_event_loop() -> Iterator[None]:
    """Leave the event loop of this thread, and its task, until the end of the block."""
    loop = asyncio._get_running_loop()
    if loop is None:
        yield
        return
    task = asyncio.current_task(loop)
    if task is not None:
        asyncio.tasks._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio.set_event_loop(loop)
        asyncio._set_running_loop(loop)
        if task is not None:
            asyncio.tasks._enter_task(loop, task)


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
