"""What happened, as events that an application may subscribe to.

``config.add_subscriber(subscriber, RunFailed)`` calls ``subscriber`` with each such event. An event
of :class:`RunEvent` is for all that become of runs.

A subscriber is called in the thread that a run ran in, between the transactions of tasks, and has
a transaction of its own: what it does with ``event.request`` is committed when it returns. One that
raises is logged, its transaction aborted, and nothing else is harmed. A slow one delays the tick,
so what may take long belongs in a thread or a task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pyramid.registry import Registry
from pyramid.request import Request
from zope.interface import implementedBy

from .run import Run, RunState, TaskInterrupted

if TYPE_CHECKING:
    from .tick_report import TickReport

log = logging.getLogger("pyramid_cron")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; ``request`` is the one it happened in."""

    request: Request

    @property
    def registry(self) -> Registry:
        """The application's registry."""
        return self.request.registry


@dataclass(frozen=True, slots=True)
class TickStarted(Event):
    """A tick begins: its id and moment (aware, UTC). It may turn out that nothing is due."""

    tick: str
    now: datetime


@dataclass(frozen=True, slots=True)
class TickFinished(Event):
    """A tick is over, and what it did is on record. ``report`` tells what that was."""

    report: TickReport


@dataclass(frozen=True, slots=True)
class RunEvent(Event):
    """Something happened to a run; ``run`` is the run as it is now."""

    run: Run


@dataclass(frozen=True, slots=True)
class RunStarted(RunEvent):
    """A run begins."""


@dataclass(frozen=True, slots=True)
class RunSucceeded(RunEvent):
    """A run has ended well, its work committed."""


@dataclass(frozen=True, slots=True)
class RunFailed(RunEvent):
    """A run has ended with an error; ``run.error`` and ``run.traceback`` tell which."""


@dataclass(frozen=True, slots=True)
class RunTimedOut(RunEvent):
    """A run took longer than its task's ``timeout``."""


@dataclass(frozen=True, slots=True)
class RunCancelled(RunEvent):
    """A run was cancelled, or its process stopped."""


@dataclass(frozen=True, slots=True)
class RunLost(RunEvent):
    """The process of a run has given no sign of life for longer than its lease.

    Told by whoever noticed, which is another process as a rule.
    """


@dataclass(frozen=True, slots=True)
class RunSkipped(RunEvent):
    """Slots of a task do not run: ``run.count`` of them, the newest is ``run.slot``.

    ``run.reason`` says why.
    """


@dataclass(frozen=True, slots=True)
class RunRetrying(RunEvent):
    """A run went wrong, or was cancelled as its process stopped, and will be tried again.

    ``attempt`` is the number of the next attempt, ``at`` the moment before which it does not begin.
    Comes after the event that tells how the run ended.
    """

    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskPaused(Event):
    """A task was paused: by hand, or because it kept failing. ``until`` is aware, in UTC."""

    task: str
    until: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class TaskResumed(Event):
    """The pause of a task was ended by hand."""

    task: str


END_EVENTS: dict[RunState, type[RunEvent]] = {
    RunState.SUCCEEDED: RunSucceeded,
    RunState.FAILED: RunFailed,
    RunState.TIMED_OUT: RunTimedOut,
    RunState.CANCELLED: RunCancelled,
    RunState.LOST: RunLost,
    RunState.SKIPPED: RunSkipped,
}
"""What tells that a run is over, by its state."""

Subscriber = Callable[[Event], Any]
"""What is called with an event; what it returns plays no part."""


def _call_directly(subscriber: Subscriber, event: Event) -> None:
    subscriber(event)


def notify_subscribers(
    event_type: type[Event],
    request: Request,
    *values: Any,
    call: Callable[[Subscriber, Event], None] = _call_directly,
) -> None:
    """Make ``call`` call those who subscribed to events of this kind, each on its own.

    The event is made only if anybody wants it: most applications want few, and runs are many.
    """
    subscribers = request.registry.adapters.subscriptions([implementedBy(event_type)], None)
    if not subscribers:
        return
    event = event_type(request, *values)
    for subscriber in subscribers:
        try:
            call(subscriber, event)
        except (KeyboardInterrupt, TaskInterrupted):
            raise
        except BaseException:  # a worker's own timeout, a coroutine that was cancelled
            log.exception("a subscriber to %s failed: %r", event_type.__name__, subscriber)
