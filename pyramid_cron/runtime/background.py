"""Starting the background runs of a tick, after it has answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request

from .. import events
from ..app import CronApp
from ..clock import Stopwatch
from ..registry import TaskRegistry
from ..run import Run
from ..task import THREAD_EXECUTOR
from .executions import QueuedEvent
from .own_request import own_request
from .queues import send_runs
from .request_scope import EMPTY_ENVIRON, run_in_own_request, url_environ_of
from .transactions import without_transaction

LAUNCH_FALLBACK_SECONDS = 10.0
"""Seconds from the end of a tick after which its background runs start, answered or not.

Where a finished callback of the request raises, Pyramid does not call those behind it.
"""


class BackgroundLaunch:
    """The background runs of one tick, which start once, when its request is finished.

    ``task_registry`` is that of the tick; some tasks may have gone since. If the process ends
    before, their leases expire, as those of all runs that it has claimed.
    """

    def __init__(
        self, cron: CronApp, task_registry: TaskRegistry, request: Request, clock: Stopwatch
    ) -> None:
        self._cron = cron
        self._task_registry = task_registry
        self._registry: Registry = request.registry
        self._url_environ = EMPTY_ENVIRON
        self._clock = clock
        self._runs: list[Run] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._request = request

    def add(self, runs: Sequence[Run]) -> None:
        """Have these runs start with the others."""
        if not self._runs:
            self._url_environ = url_environ_of(self._request)
            self._request.add_finished_callback(self)
        self._runs += runs

    @contextmanager
    def safety_timer(self) -> Iterator[None]:
        """Start the runs some time after the block, even if the request is never finished."""
        try:
            yield
        finally:
            if self._runs:
                self._timer = threading.Timer(LAUNCH_FALLBACK_SECONDS, self, (None,))
                self._timer.daemon = True
                self._timer.start()

    def __call__(self, _: Any) -> None:
        """Start all runs: at the first call, of the finished request or the timer."""
        with self._lock:
            runs, self._runs = self._runs, []
        if self._timer is not None:
            self._timer.cancel()
        cron, tasks, clock = self._cron, self._task_registry, self._clock
        queue_runs = []
        for run in runs:
            if tasks.get(run.task).executor == THREAD_EXECUTOR:
                self._start_thread(run)
            else:
                queue_runs.append(run)
        if queue_runs:
            # In a thread: a slow broker must not delay the answer.
            cron.background_threads.start(
                "sending", queue_runs, lambda: send_runs(cron, tasks, queue_runs, clock)
            )

    def _start_thread(self, run: Run) -> None:
        cron, registry, clock = self._cron, self._registry, self._clock
        environ, task = self._url_environ, self._task_registry.get(run.task)
        cron.background_threads.start(
            task.name, [run], lambda: run_in_own_request(cron, registry, task, run, clock, environ)
        )


def notify_in_thread(registry: Registry, queued_events: Sequence[QueuedEvent]) -> None:
    """Call subscribers in a thread and request of their own, so that a slow one delays nothing."""
    threading.Thread(
        target=_call_subscribers,
        args=(registry, queued_events),
        name="pyramid_cron events",
        daemon=True,
    ).start()


def _call_subscribers(registry: Registry, queued_events: Sequence[QueuedEvent]) -> None:
    with own_request(registry) as request, without_transaction(request) as transactions:
        for event_class, *values in queued_events:
            events.notify_subscribers(
                event_class, request, *values, call=transactions.call_subscriber
            )
