"""Threads of this process for background runs."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ..planning.snapshot import WaitingRun
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
        self._candidates: deque[WaitingRun] = deque()
        #: Claimed for threads that ask for a run.
        self._claimed: deque[Run] = deque()
        #: How many threads ask for one.
        self._asking = 0
        self._lock = threading.Lock()
        self._claim_lock = threading.Lock()

    # Runs that wait for room.

    def offer(self, candidates: Iterable[WaitingRun]) -> None:
        """Set what waits for room in a thread, in order: threads go on with that."""
        with self._lock:
            self._candidates = deque(candidates)

    def claim_next(self, claim: Callable[[Sequence[WaitingRun]], list[Run]]) -> Run | None:
        """Return the run that the calling thread goes on with; None if none waits for room.

        ``claim`` claims several at once. A thread that comes while another one claims has its run
        claimed along with that: a transaction for each would cost more than many a run.
        """
        with self._lock:
            self._asking += 1
        try:
            with self._claim_lock:
                while not self._claimed and (candidates := self._take_candidates()):
                    self._claimed.extend(claim(candidates))
                run = self._claimed.popleft() if self._claimed else None
        finally:
            with self._lock:
                self._asking -= 1
        if run is not None:
            with self._lock:
                self._threads[run.id] = threading.current_thread()
        return run

    def _take_candidates(self) -> list[WaitingRun]:
        """Take a candidate for each thread that asks for one."""
        with self._lock:
            count = min(self._asking, len(self._candidates))
            return [self._candidates.popleft() for _ in range(count)]

    @property
    def is_draining(self) -> bool:
        """Whether threads go on with what waits by themselves."""
        return bool(self._candidates and self._threads)

    def start(self, name: str, runs: Sequence[Run], function: Callable[[], object]) -> None:
        """Call ``function`` in a thread, which starts these runs; release those it does not."""

        def call() -> None:
            try:
                function()
            except BaseException as error:
                if not isinstance(error, Exception):
                    raise
                log.exception("%s: internal error around the runs", name)
            finally:
                self._supervisor.release_unstarted(self._remove_current_thread())

        with self._lock:
            thread = self._supervisor.make_thread(name, call)
            self._threads |= {run.id: thread for run in runs}
        try:
            thread.start()
        except RuntimeError as error:
            log.error("no thread for %s, which waits for the next tick: %s", name, error)
            self._remove(runs)
            self._supervisor.release_unstarted(run.id for run in runs)

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

    def _remove_current_thread(self) -> list[str]:
        """Forget this thread; return the ids of its runs."""
        current = threading.current_thread()
        with self._lock:
            run_ids = [run_id for run_id, thread in self._threads.items() if thread is current]
            for run_id in run_ids:
                del self._threads[run_id]
        return run_ids

    def _remove(self, runs: Iterable[Run]) -> None:
        with self._lock:
            for run in runs:
                self._threads.pop(run.id, None)
