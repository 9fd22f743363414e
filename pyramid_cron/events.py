"""Events that an application may subscribe to.

``config.add_subscriber(subscriber, RunFailed)`` calls ``subscriber`` with every such event.
Subscribe to :class:`RunEvent` to get every event about a run.

A subscriber is called in the thread of the run, between the transactions of tasks, and has a
transaction of its own: its work with ``event.request`` is committed when it returns. If it raises,
its error is logged, its transaction aborted, and nothing else is harmed. A slow one delays the
tick: long work belongs in a thread or a task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pyramid.registry import Registry
from pyramid.request import Request
from zope.interface import implementedBy

from .run import Run, RunState, TaskInterrupted

if TYPE_CHECKING:
    from .planning.snapshot import TickReport


log = logging.getLogger("pyramid_cron")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    #: The request it happened in.
    request: Request

    @property
    def registry(self) -> Registry:
        """The application's registry."""
        return self.request.registry


@dataclass(frozen=True, slots=True)
class TickStarted(Event):
    """A tick begins, even if nothing is due."""

    #: The tick's id.
    tick: str
    #: Its moment, aware, in UTC.
    now: datetime


@dataclass(frozen=True, slots=True)
class TickFinished(Event):
    """A tick is over, and its runs are on record."""

    report: TickReport


@dataclass(frozen=True, slots=True)
class RunEvent(Event):
    """Something happened to a run."""

    #: The run as it is now.
    run: Run


class RunStarted(RunEvent):
    """A run begins."""

    __slots__ = ()


class RunSucceeded(RunEvent):
    """A run succeeded, and its work is committed."""

    __slots__ = ()


class RunFailed(RunEvent):
    """A run ended with an error: ``run.error`` and ``run.traceback``."""

    __slots__ = ()


class RunTimedOut(RunEvent):
    """A run took longer than its task's ``timeout``."""

    __slots__ = ()


class RunCancelled(RunEvent):
    """A run was cancelled, or its process stopped."""

    __slots__ = ()


class RunLost(RunEvent):
    """A run's lease expired: its process gave no sign of life for longer.

    The process that notices sends the event, which is another one as a rule.
    """

    __slots__ = ()


class RunSkipped(RunEvent):
    """Slots of a task do not run: ``run.count`` of them, the newest is ``run.slot``.

    ``run.reason`` is why.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RunRetrying(RunEvent):
    """A run failed, or was cancelled as its process stopped, and will be retried.

    It comes after the event for the run's end.
    """

    #: The number of the next attempt.
    attempt: int
    #: The moment before which that does not begin, aware, in UTC.
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskPaused(Event):
    """A task was paused: by hand, or by ``pause_after``."""

    #: The task's name.
    task: str
    #: The end of the pause, aware, in UTC; None if it has no end.
    until: datetime | None
    reason: str | None
    #: Whether ``pause_after`` paused it.
    is_give_up: bool = False


@dataclass(frozen=True, slots=True)
class TaskResumed(Event):
    """The pause of a task was ended by hand."""

    #: The task's name.
    task: str


END_EVENTS: dict[RunState, type[RunEvent]] = {
    RunState.SUCCEEDED: RunSucceeded,
    RunState.FAILED: RunFailed,
    RunState.TIMED_OUT: RunTimedOut,
    RunState.CANCELLED: RunCancelled,
    RunState.LOST: RunLost,
    RunState.SKIPPED: RunSkipped,
}
"""The event for a run's end, by its state."""

Subscriber = Callable[[Event], Any]
"""Called with an event; its return value is ignored."""


def _call_directly(subscriber: Subscriber, event: Event) -> None:
    subscriber(event)


def notify_subscribers(
    event_type: type[Event],
    request: Request,
    *values: Any,
    call: Callable[[Subscriber, Event], None] = _call_directly,
) -> None:
    """Pass an event of this type to its subscribers, one after the other.

    ``call`` calls a subscriber. Without subscribers no event is made: most applications subscribe
    to few, and runs are many.
    """
    subscribers = request.registry.adapters.subscriptions([implementedBy(event_type)], None)
    if not subscribers:
        return
    event = event_type(request, *values)
    for subscriber in subscribers:
        try:
            with guarded_callbacks(request, f"a subscriber to {event_type.__name__}"):
                call(subscriber, event)
        except (KeyboardInterrupt, TaskInterrupted):
            raise
        except BaseException:  # a worker's own timeout, a coroutine that was cancelled
            log.exception("a subscriber to %s failed: %r", event_type.__name__, subscriber)


@contextmanager
def guarded_callbacks(request: Request, owner: str) -> Iterator[None]:
    """Let no callback that the block adds to the request make its answer fail.

    ``owner`` says who adds them. Errors are logged, and the callbacks behind still called.
    """
    queues = request.response_callbacks, request.finished_callbacks
    counts = [len(queue) for queue in queues]
    try:
        yield
    finally:
        for queue, count in zip(queues, counts, strict=True):
            for position in range(count, len(queue)):
                if not isinstance(queue[position], _GuardedCallback):
                    queue[position] = _GuardedCallback(queue[position], owner)


@dataclass(frozen=True, slots=True)
class _GuardedCallback:
    callback: Callable[..., Any]
    owner: str

    def __call__(self, *values: Any) -> None:
        try:
            self.callback(*values)
        except Exception:
            log.exception("%s: its callback of the request failed: %r", self.owner, self.callback)
