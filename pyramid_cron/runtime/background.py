"""Starting what a tick has claimed to run outside its request, after it has answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.scripting import prepare

from .. import events
from ..app import CronApp
from ..clock import Stopwatch
from ..registry import TaskRegistry
from ..run import Run
from ..task import THREAD_EXECUTOR
from .executions import QueuedEvent
from .queues import send_runs
from .request_scope import run_in_own_request, url_environ_of
from .transactions import without_transaction

LAUNCH_FALLBACK_SECONDS = 10.0
"""Seconds from the end of a tick after which its runs begin, whatever became of its answer.

Where another finished callback of the request raises, Pyramid does not call those behind it.
"""


class BackgroundLaunch:
    """Runs that one tick has claimed, which begin once, when its request is finished.

    ``tasks`` are those of the tick; some may have gone since. Should the process end before, their
    leases pass, as they do for everything it has claimed.
    """

    def __init__(
        self, cron: CronApp, task_registry: TaskRegistry, request: Request, clock: Stopwatch
    ) -> None:
        self._cron = cron
        self._task_registry = task_registry
        self._registry: Registry = request.registry
        self._url_environ = url_environ_of(request)
        self._clock = clock
        self._runs: list[Run] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._request = request

    def add(self, runs: Sequence[Run]) -> None:
        """Let these begin with the others."""
        if runs and not self._runs:
            self._request.add_finished_callback(self)
        self._runs += runs

    @contextmanager
    def safety_timer(self) -> Iterator[None]:
        """Begin some time after the block, even if nobody says that the request is finished."""
        try:
            yield
        finally:
            if self._runs:
                self._timer = threading.Timer(LAUNCH_FALLBACK_SECONDS, self, (None,))
                self._timer.daemon = True
                self._timer.start()

    def __call__(self, _: Any) -> None:
        """Begin; what is called first does it, the finished request or the timer."""
        with self._lock:
            runs, self._runs = self._runs, []
        if self._timer is not None:
            self._timer.cancel()
        tasks = self._task_registry
        sent = [run for run in runs if tasks.get(run.task).executor != THREAD_EXECUTOR]
        for run in runs:
            if run not in sent:
                self._start_thread(run)
        if sent:
            # A broker that is slow must not keep the answer waiting.
            cron, clock = self._cron, self._clock
            cron.background_threads.start(
                "sending", sent, lambda: send_runs(cron, tasks, sent, clock)
            )

    def _start_thread(self, run: Run) -> None:
        cron, registry, clock = self._cron, self._registry, self._clock
        where = self._url_environ
        task = self._task_registry.get(run.task)
        cron.background_threads.start(
            task.name, [run], lambda: run_in_own_request(cron, registry, task, run, clock, where)
        )


def notify_in_thread(registry: Registry, queued_events: Sequence[QueuedEvent]) -> None:
    """Call subscribers from a thread of their own, so that a slow one keeps nobody from watching.

    The events have a request made for the purpose.
    """
    teller = threading.Thread(
        target=_call_subscribers,
        args=(registry, queued_events),
        name="pyramid_cron events",
        daemon=True,
    )
    teller.start()


def _call_subscribers(registry: Registry, queued_events: Sequence[QueuedEvent]) -> None:
    with prepare(registry=registry) as made:
        request = made["request"]
        with without_transaction(request) as transactions:
            for kind, *values in queued_events:
                events.notify_subscribers(kind, request, *values, call=transactions.call_subscriber)
