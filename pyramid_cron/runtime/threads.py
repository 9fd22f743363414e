"""Threads of this process for what begins once the tick that claimed it has answered."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from ..run import Run
from .supervisor import Supervisor

log = logging.getLogger("pyramid_cron")

JOIN_INTERVAL_SECONDS = 0.05
"""Seconds between two looks at whether a run is still waited for."""


class BackgroundThreads:
    """The threads that one application's runs outside of requests are in, by the ids of the runs.

    No more begin than ``cron.capacity`` lets be claimed, so there is no queue before them.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin without threads: those of a process that was forked are the parent's."""
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self, name: str, runs: Sequence[Run], work: Callable[[], object]) -> None:
        """Do what has to be done with these runs in a thread; give them back if none can be had."""

        def do() -> None:
            try:
                work()
            except BaseException as error:
                self._supervisor.requeue_unstarted(runs)
                if not isinstance(error, Exception):
                    raise
                log.exception("%s: something went wrong beside the runs themselves", name)
            finally:
                self._remove(runs)

        thread = threading.Thread(target=do, name=f"pyramid_cron {name}", daemon=True)
        with self._lock:
            self._threads |= {run.id: thread for run in runs}
        try:
            thread.start()
        except RuntimeError as error:
            log.error("%s has no thread to run in: %s", name, error)
            self._remove(runs)
            self._supervisor.requeue_unstarted(runs)

    def join(self, run_ids: Iterable[str]) -> None:
        """Wait until these are over or sent, or given up because they do not stop."""
        for run_id in run_ids:
            with self._lock:
                thread = self._threads.get(run_id)
            while thread is not None and thread.is_alive():
                live = self._supervisor.executions.get(run_id)
                if live is not None and live.is_abandoned:
                    break
                thread.join(JOIN_INTERVAL_SECONDS)

    def _remove(self, runs: Iterable[Run]) -> None:
        with self._lock:
            for run in runs:
                self._threads.pop(run.id, None)
