"""Starting what a tick has claimed to run outside its request, after it has answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request

from ..clock import Stopwatch
from ..run import Run
from ..state import Cronwork, Tasks
from ..task import THREAD
from .carry import address, carry_out_apart
from .queue import send_all

PATIENCE = 10.0
"""Seconds from the end of a tick after which its runs begin, whatever became of its answer.

Where another finished callback of the request raises, Pyramid does not call those behind it.
"""


class Launch:
    """Runs that one tick has claimed, which begin once, when its request is finished.

    ``tasks`` are those of the tick; some may have gone since. Should the process end before, their
    leases pass, as they do for everything it has claimed.
    """

    def __init__(self, cron: Cronwork, tasks: Tasks, request: Request, clock: Stopwatch) -> None:
        self._cron = cron
        self._tasks = tasks
        self._registry: Registry = request.registry
        self._address = address(request)
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
    def expected(self) -> Iterator[None]:
        """Begin some time after the block, even if nobody says that the request is finished."""
        try:
            yield
        finally:
            if self._runs:
                self._timer = threading.Timer(PATIENCE, self, (None,))
                self._timer.daemon = True
                self._timer.start()

    def __call__(self, _: Any) -> None:
        """Begin; what is called first does it, the finished request or the timer."""
        with self._lock:
            runs, self._runs = self._runs, []
        if self._timer is not None:
            self._timer.cancel()
        tasks = self._tasks
        sent = [run for run in runs if tasks.named(run.task).executor != THREAD]
        for run in runs:
            if run not in sent:
                self._begin(run)
        if sent:
            # A broker that is slow must not keep the answer waiting.
            cron, clock = self._cron, self._clock
            cron.threads.start("sending", sent, lambda: send_all(cron, tasks, sent, clock))

    def _begin(self, run: Run) -> None:
        cron, registry, clock = self._cron, self._registry, self._clock
        where = self._address
        task = self._tasks.named(run.task)
        cron.threads.start(
            task.name, [run], lambda: carry_out_apart(cron, registry, task, run, clock, where)
        )
