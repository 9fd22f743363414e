"""Threads of this process for background runs, which start once their tick has answered."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from ..run import Run
from .supervisor import Supervisor

log = logging.getLogger("pyramid_cron")

JOIN_INTERVAL_SECONDS = 0.05
"""Seconds after which a thread is waited for in vain, to see whether its run was abandoned."""


class BackgroundThreads:
    """The threads of one application's background runs, by run id.

    Only as many runs are claimed as ``cron.capacity`` allows, so each has a thread at once.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Drop all threads in a forked process: they are the parent's."""
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self, name: str, runs: Sequence[Run], function: Callable[[], object]) -> None:
        """Call ``function`` in a thread, which starts these runs; requeue them if there is none."""

        def call() -> None:
            try:
                function()
            except BaseException as error:
                self._supervisor.requeue_unstarted(runs)
                if not isinstance(error, Exception):
                    raise
                log.exception("%s: internal error around the runs", name)
            finally:
                self._remove(runs)

        thread = threading.Thread(target=call, name=f"pyramid_cron {name}", daemon=True)
        with self._lock:
            self._threads |= {run.id: thread for run in runs}
        try:
            thread.start()
        except RuntimeError as error:
            log.error("no thread for %s: %s", name, error)
            self._remove(runs)
            self._supervisor.requeue_unstarted(runs)

    def join(self, run_ids: Iterable[str]) -> None:
        """Wait until these runs have ended, were handed off or abandoned."""
        for run_id in run_ids:
            with self._lock:
                thread = self._threads.get(run_id)
            while thread is not None and thread.is_alive():
                execution = self._supervisor.executions.get(run_id)
                if execution is not None and execution.is_abandoned:
                    break
                thread.join(JOIN_INTERVAL_SECONDS)

    def _remove(self, runs: Iterable[Run]) -> None:
        with self._lock:
            for run in runs:
                self._threads.pop(run.id, None)
