"""Runs in processes of their own: started and watched by the process that claimed them.

The process takes the run over, as the worker of a queue does, and records its end. Here it is ended
where it does not end by itself; and where it died before it could record how its run ended, that is
recorded here. It outlives the process that has started it.

One that was killed is ``lost`` where lost attempts are made good, as with the session of
``config.set_cron_session``: what its task did in the database is undone, unless its end is on
record.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from pyramid.registry import Registry

from ..clock import utc_now
from ..errors import StoreError
from ..run import Run, RunState, evolve
from ..run_transitions import Failure, ended, failed
from ..store.ends import End
from ..store.handoff import hand_off_run, record_outputs, sustain_lease, take_back_run
from ..task import Task
from ..text import truncate_error
from .cron_parts import CronParts
from .execution import Execution
from .programs import outer_environment
from .request_scope import announce_in_own_request
from .subprocesses import Process, UnknownStatusError
from .supervisor import CANCEL_GRACE, Supervisor

START_TIMEOUT = timedelta(minutes=10)
"""How long a process may take to load the application and begin its run."""

OUTPUT_INTERVAL_SECONDS = 1.0
"""Seconds after which what a process has written is written to the store, if there is more."""

LOOK_SECONDS = 1.0
"""Seconds after which it is seen on record that a run has begun, is over or to be cancelled."""

WATCH_SECONDS = 0.1
"""Seconds within which it is noticed that a process has ended, or is to end."""

SELF_KILL_SECONDS = 1.0
"""Seconds that a process has to record the end of a task that does not stop, before it ends."""

KILL_MARGIN = timedelta(seconds=SELF_KILL_SECONDS + 0.5)
"""How much later it is ended from outside, where all of it hangs."""

EXIT_SECONDS = 15.0
"""Seconds that a process may take to end once its run is over: monitors are told, threads end."""

TERM_SECONDS = 0.5
"""Seconds between SIGTERM and SIGKILL; the task has had the grace of an interruption before."""

log = logging.getLogger("pyramid_cron")


def run_in_process(cron: CronParts, registry: Registry, task: Task, run: Run) -> None:
    """Have a process of its own carry out a run that was just claimed; return when that is over.

    A run that can't be handed off is released.
    """
    try:
        execution = cron.supervisor.executions.get(run.id)
        if execution is None or cron.supervisor.is_stopping:
            return
        if execution.interruption is not None:
            cron.supervisor.executions.cancel_unstarted(execution)
            return
        process = _make_process(cron, run)
        if _hand_off(cron, execution, process):
            watch = _Watch(cron, task, execution, process)
            watch.wait()
            watch.record_end(registry)
            cron.supervisor.on_room()
    finally:
        cron.supervisor.release_unstarted([run.id])


def _hand_off(cron: CronParts, execution: Execution, process: Process) -> bool:
    """Let a process take the run over; return whether it may."""
    if not execution.delegate(process.kill):
        return False
    run = execution.run
    try:
        hand_off_run(cron.store, run.id, utc_now() + 2 * START_TIMEOUT)
    except StoreError as error:
        log.warning("%s run=%s: no process is started: %s", run.task, run.id, error)
        execution.is_delegated = False
        return False
    return True


def _make_process(cron: CronParts, run: Run) -> Process:
    assert cron.settings.config_uri is not None  # the directive has refused the task without it
    arguments = (cron.settings.config_uri, "execute", run.id)
    # Unbuffered, and with a traceback for a signal: what it has written before a crash is kept.
    python = (_find_interpreter(), "-u", "-X", "faulthandler")
    argv = (*python, "-m", "pyramid_cron.scripts.pcron", *arguments)
    return Process(argv, outer_environment(), cwd=None, stdin=None)


def _find_interpreter() -> str:
    """Return the path of Python; a server that embeds it may have itself for that."""
    if sys.executable and os.path.basename(sys.executable).startswith("python"):
        return sys.executable
    return os.path.join(sys.exec_prefix, "bin", "python3")


class _Watch:
    """Waits for the process of one run, and ends it where it has to."""

    def __init__(self, cron: CronParts, task: Task, execution: Execution, process: Process) -> None:
        self._cron = cron
        self._task = task
        self._execution = execution
        self._process = process
        self._run_id = execution.run.id
        self._started_at = utc_now()
        #: The run on record when that was last looked at.
        self._run = execution.run
        #: When the process is ended, by the monotonic clock.
        self._stop_at = float("inf")
        self._cancelled_at: datetime | None = None
        #: Its end where that is on record, and the run does not say so.
        self._end: End | None = None
        self._written_outputs: tuple[str | None, str | None] = (None, None)
        self._written_at = time.monotonic()

    def wait(self) -> None:
        """Return when the process has ended."""
        process, supervisor = self._process, self._cron.supervisor
        try:
            process.start()
        except RuntimeError as error:
            process.error = error
            return
        look_seconds = min(LOOK_SECONDS, self._cron.settings.lease.total_seconds() / 4)
        look_at = time.monotonic() + look_seconds
        while not process.wait(WATCH_SECONDS):
            if supervisor.is_stopping:
                process.request_end()
            if time.monotonic() >= look_at:
                self._look()
                look_at = time.monotonic() + look_seconds
            if time.monotonic() >= self._stop_at:
                process.stop(TERM_SECONDS)

    def _look(self) -> None:
        """See on record what has become of the run; write what its process has written."""
        store, pid = self._cron.store, self._process.pid or 0
        try:
            self._run = store.get_run(self._run_id) or self._run
            self._write_outputs()
            sustain_lease(store, self._run_id, pid, utc_now(), self._cron.settings.lease)
        except StoreError as error:
            log.info("run=%s: the store can't be asked how it is: %s", self._run_id, error)
        self._set_stop()

    def _set_stop(self) -> None:
        """Set when the process is ended, by what is known of its run."""
        if self._run.state.is_final:
            seconds = 0.0 if self._run.state is RunState.LOST else EXIT_SECONDS
            self._stop_at = min(self._stop_at, time.monotonic() + seconds)
            return
        if self._cancelled_at is None and self._is_cancelled:
            self._cancelled_at = utc_now()
        limits = [self._cancelled_at, self._deadline]
        moments = [limit + CANCEL_GRACE + KILL_MARGIN for limit in limits if limit is not None]
        if moments:
            self._stop_at = time.monotonic() + (min(moments) - utc_now()).total_seconds()

    @property
    def _is_cancelled(self) -> bool:
        return self._run.is_cancel_requested or self._execution.interruption is not None

    @property
    def _deadline(self) -> datetime | None:
        """When the timeout is over, or the time to begin."""
        if self._run.started is None:
            return self._started_at + START_TIMEOUT
        return None if self._task.timeout is None else self._run.started + self._task.timeout

    def _write_outputs(self) -> None:
        outputs = self._process.stdout.text(), self._process.stderr.text()
        is_due = time.monotonic() >= self._written_at + OUTPUT_INTERVAL_SECONDS
        if outputs != self._written_outputs and is_due:
            record_outputs(self._cron.store, self._run_id, *outputs)
            self._written_outputs, self._written_at = outputs, time.monotonic()

    # Once it has ended.

    def record_end(self, registry: Registry) -> None:
        """Record what the process wrote, and how its run ended if it did not record that itself."""
        cron, execution = self._cron, self._execution
        lease_until = utc_now() + cron.settings.lease
        run = self._take_back(lease_until)
        if run is None:
            cron.supervisor.executions.drop(self._run_id)
            return
        by_shutdown = cron.supervisor.is_stopping
        if run.state is RunState.CLAIMED and (by_shutdown or self._lacks_resources):
            execution.take_back(run, lease_until)  # it has not begun, and is released
            return
        self._run, execution.by_shutdown = run, by_shutdown
        transition = self._make_transition(by_shutdown)
        execution.end_delegated(run, lease_until, transition, self._record_change)
        announce_in_own_request(cron, registry, execution.run, execution.clock, by_shutdown)

    def _make_transition(self, by_shutdown: bool) -> Callable[[Run], Run]:
        """Return how the run ended: as is on record apart from it, or as its process did."""
        outputs = {
            "stdout": self._process.stdout.text(),
            "stderr": self._process.stderr.text(),
            "exit_status": self._process.returncode,
        }
        if (end := self._end) is not None:
            return lambda run: evolve(ended(run, end.state, end.started, end.finished), **outputs)
        run, failure = self._run, self._explain_end(by_shutdown)
        now = max(utc_now(), run.started or run.slot)
        return lambda run: failed(run, now, failure, outputs)

    def _take_back(self, lease_until: datetime) -> Run | None:
        """Become the owner of the run, unless its process has recorded its end."""
        try:
            pid = self._process.pid or 0
            taken = take_back_run(self._cron.store, self._run_id, pid, lease_until)
            if taken is None:
                self._written_at = float("-inf")
                self._write_outputs()
        except StoreError as error:
            log.error("run=%s: what its process left is not recorded: %s", self._run_id, error)
            return None
        if taken is None:
            return None
        run, self._end = taken
        return run

    @property
    def _lacks_resources(self) -> bool:
        """Whether there was no thread or process to be had."""
        error = self._process.error
        is_refused = isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM)
        if is_refused := is_refused or isinstance(error, RuntimeError):
            log.warning("%s run=%s: no process: %s", self._task.name, self._run_id, error)
        return is_refused

    def _record_change(self, run: Run, by_shutdown: bool) -> None:
        has_end = self._end is not None and self._end.state is RunState.SUCCEEDED
        # The server may still be committing what the process sent it last.
        is_contested = self._end is None and self._cron.is_transactional(self._task)
        outcome = self._cron.outcome_of(run, by_shutdown)
        self._cron.write_buffer.add_outcome(
            outcome._replace(has_end=has_end, is_contested=is_contested)
        )

    def _explain_end(self, by_shutdown: bool) -> Failure:
        """Return how the run ended whose process has not recorded that."""
        end = describe_end(self._process)
        if self._is_lost(by_shutdown):
            return Failure(RunState.LOST, f"lost: {end}")
        if self._run.started is None:
            if self._deadline is not None and utc_now() >= self._deadline:
                minutes = START_TIMEOUT // timedelta(minutes=1)
                end = f"its process did not begin it within {minutes} minutes"
            elif line := _last_line(self._process.stderr.text()):
                end = f"{end} before it began: {line}"
            return Failure(RunState.FAILED, truncate_error(end))
        if self._deadline is not None and utc_now() >= self._deadline:
            return Failure(RunState.TIMED_OUT, f"ran longer than its timeout; {end}")
        if by_shutdown:
            return Failure(RunState.CANCELLED, f"the process stopped; {end}")
        if self._is_cancelled:
            return Failure(RunState.CANCELLED, f"was cancelled; {end}")
        return Failure(RunState.FAILED, end)

    def _is_lost(self, by_shutdown: bool) -> bool:
        """Return whether it was killed, by nobody here, and lost attempts are made good."""
        status = self._process.returncode
        is_killed = status is not None and status < 0
        is_late = self._deadline is not None and utc_now() >= self._deadline
        is_ended_here = is_late or by_shutdown or self._is_cancelled
        return is_killed and not is_ended_here and self._cron.lost_attempts_of(self._task) > 0


def describe_end(process: Process) -> str:
    """Say how the process of a run ended: ``its process ended with status 3``."""
    if process.returncode is None:
        if isinstance(process.error, UnknownStatusError):
            return "its process ended, and its exit status is not known"
        return f"its process could not be started: {process.error}"
    if process.returncode >= 0:
        return f"its process ended with status {process.returncode}"
    number = -process.returncode
    try:
        return f"its process was ended by signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"its process was ended by signal {number}"


def _last_line(text: str | None) -> str:
    lines = (text or "").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


# What the process itself does.


def kill_this_process() -> None:
    """End this process in a moment, with all of its group if it leads one: its task does not stop.

    Until then the end of its run is recorded.
    """
    Supervisor.make_thread("kill", _kill_own_group).start()


def _kill_own_group() -> None:
    time.sleep(SELF_KILL_SECONDS)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
