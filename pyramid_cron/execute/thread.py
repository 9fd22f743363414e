"""Runs in threads of this process, once the tick that claimed them has answered."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from ..run import Run
from .supervise import Supervisor

log = logging.getLogger("pyramid_cron")

CHECK = 0.05
"""Seconds between two looks at whether a run is still waited for."""


class Threads:
    """The threads in which runs of one application go on, by the ids of their runs.

    No more begin than ``cron.capacity`` lets be claimed, so there is no queue before them.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._going_on: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self, run: Run, carry_out: Callable[[], object]) -> None:
        """Carry out a run in a thread of its own; give it back if no thread can be had."""

        def work() -> None:
            try:
                carry_out()
            except Exception:
                log.exception("%s run=%s could not be carried out", run.task, run.id)
                self._give_back(run)
            finally:
                with self._lock:
                    self._going_on.pop(run.id, None)

        thread = threading.Thread(target=work, name=f"pyramid_cron {run.task}", daemon=True)
        with self._lock:
            self._going_on[run.id] = thread
        try:
            thread.start()
        except RuntimeError as error:
            log.error("%s run=%s has no thread to run in: %s", run.task, run.id, error)
            with self._lock:
                self._going_on.pop(run.id, None)
            self._give_back(run)

    def wait(self, ids: Iterable[str]) -> None:
        """Wait until these runs are over, or given up because they do not stop."""
        for run_id in ids:
            with self._lock:
                thread = self._going_on.get(run_id)
            while thread is not None and thread.is_alive():
                live = self._supervisor.live(run_id)
                if live is not None and live.given_up:
                    break
                thread.join(CHECK)

    def _give_back(self, run: Run) -> None:
        """Let a later tick have a run that never began; what began is over, or will be lost."""
        live = self._supervisor.live(run.id)
        if live is not None and not live.given_up and live.run.started is None:
            self._supervisor.leave(live)
