"""A queue of reports to one service, and the thread that delivers them."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ..logs import WarnOnce
from ..run import Run, RunReason, RunState
from ..runtime.supervisor import Supervisor
from ..settings import Settings
from ..task import Task

_REPORT_NAMESPACE = uuid.UUID("b7f9d1c2-6a54-5e0b-9d3c-0f6e8a1c2d47")


class ReportKind(Enum):
    """What is reported."""

    START = "start"
    #: A success, or a condition that left nothing to do.
    SUCCESS = "success"
    #: A failure or a cancellation, without another attempt.
    FAILURE = "failure"
    #: A failure that is retried.
    RETRYING = "retrying"
    #: A slot that no tick came for in time.
    MISSED = "missed"
    #: A task that was paused since it kept failing.
    GAVE_UP = "gave_up"


RUN_KINDS = frozenset((ReportKind.START, ReportKind.SUCCESS, ReportKind.FAILURE))
"""What any service takes that has a state for each run."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report of a run to monitors."""

    kind: ReportKind
    task: Task
    #: The name that the service knows the task by.
    monitor: str
    #: The same for all attempts at one slot; None where no run is concerned.
    id: uuid.UUID | None = None
    #: The error of a failure, or why the task gave up.
    text: str = ""
    #: None where no run is concerned.
    run: Run | None = None

    @property
    def duration(self) -> float | None:
        """Seconds that this attempt took; None if it has not ended."""
        return None if self.run is None else self.run.duration


class DeliveryError(Exception):
    """A report was not delivered; the text is the cause, without secrets.

    ``is_check_specific``: the cause may be the report's monitor name, not the whole service.
    ``status`` is that of the HTTP answer, None without one.
    """

    def __init__(
        self, cause: str, *, is_check_specific: bool = False, status: int | None = None
    ) -> None:
        super().__init__(cause)
        self.is_check_specific, self.status = is_check_specific, status


class Monitor:
    """A service that gets reports of runs."""

    name: str
    #: The reports that it takes.
    kinds: frozenset[ReportKind] = RUN_KINDS

    def send(self, report: Report) -> None:
        """Deliver a report, within seconds. Raises any error if that fails; best DeliveryError."""
        raise NotImplementedError

    def problem(self, monitor: str) -> str | None:
        """Return why the service can't know a task by this name; None if it can."""
        raise NotImplementedError

    def ask(self, monitor: str) -> None:
        """Ask the service whether it knows this name, within seconds; by default, nothing.

        Raises DeliveryError where it does not, or where it does not answer.
        """

    def reset_after_fork(self) -> None:
        """Drop what the process shares with its parent: by default, nothing."""


def report_of(task: Task, run: Run, deployment: str, *, is_retrying: bool) -> Report | None:
    """Return the report of a run in its state, for no service yet; None if there is none.

    ``is_retrying``: it failed and has attempts left. ``deployment`` tells apart equal slots of
    installations that report to the same monitor.
    """
    kind = ReportKind.RETRYING if is_retrying else _kind_of(run)
    if kind is None:
        return None
    is_failure = kind in (ReportKind.FAILURE, ReportKind.RETRYING)
    text = _text_of(run, task) if is_failure else ""
    return Report(kind, task, "", report_id(task, run, deployment), text, run)


def _kind_of(run: Run) -> ReportKind | None:
    if run.state is RunState.RUNNING:
        return ReportKind.START
    if run.state is RunState.SUCCEEDED or run.reason is RunReason.CONDITION:
        # A task with nothing to do is fine, and its monitor expects to hear of it.
        return ReportKind.SUCCESS
    if run.reason is RunReason.MISSED:
        return ReportKind.MISSED
    return None if run.state is RunState.SKIPPED else ReportKind.FAILURE


def _text_of(run: Run, task: Task) -> str:
    attempts = task.retry.attempts
    attempt = f" (attempt {run.attempt} of {attempts})" if run.attempt <= attempts > 1 else ""
    return f"{run.state}{attempt}: {run.error or 'no error is known'}"


def report_id(task: Task, run: Run, deployment: str) -> uuid.UUID:
    """Return the id that all attempts at the run's slot have in reports.

    Attempts beyond the task's own, as a retry by hand makes them, have another one.
    """
    series = (run.attempt - 1) // task.retry.attempts
    name = "\n".join((deployment, run.task, run.slot.isoformat(), run.origin, str(series)))
    return uuid.uuid5(_REPORT_NAMESPACE, name)


def deployment_of(settings: Settings) -> str:
    """Return text that tells the store of this installation from others."""
    url = settings.url
    if url.get_backend_name() != "sqlite":
        return f"{url.render_as_string()} {settings.table_prefix}"
    if url.database in (None, "", ":memory:"):
        return f"{socket.gethostname()} {os.getpid()}"
    return f"{socket.gethostname()} {os.path.abspath(url.database)} {settings.table_prefix}"


MAX_WAITING_DELIVERIES = 1000
"""Deliveries that may wait for one service; further ones are dropped."""

DELIVERY_IDLE_SECONDS = 30.0
"""Seconds without a delivery after which the thread ends, until there is another one."""

log = logging.getLogger("pyramid_cron")


class Delivery(NamedTuple):
    """A report that waits."""

    #: Delivers it, or raises any error.
    send: Callable[[], object]
    #: The name that the service knows the task by; None for what concerns no task.
    monitor: str | None


class DeliveryQueue:
    """Delivers reports to one service in their order, while nobody waits for it.

    A failure is logged as a warning, once for each cause until a delivery succeeds.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Drop what waits: the parent process delivers it."""
        self._condition = threading.Condition(threading.Lock())
        self._deliveries: deque[Delivery] = deque()
        self._is_sending = False
        self._thread: threading.Thread | None = None
        self._warnings = WarnOnce()

    def put(self, send: Callable[[], object], monitor: str | None = None) -> None:
        """Have ``send`` called by the thread, soon; nothing is raised."""
        with self._condition:
            if not (is_full := len(self._deliveries) >= MAX_WAITING_DELIVERIES):
                self._deliveries.append(Delivery(send, monitor))
                self._condition.notify_all()
                self._ensure_thread()
        if is_full:
            self._warn(DeliveryError(f"{MAX_WAITING_DELIVERIES} reports wait already"), monitor)

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the queue to drain; return whether it did."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not (self._deliveries or self._is_sending), timeout
            )

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            thread = Supervisor.make_thread(self._service, self._loop)
            try:
                thread.start()
            except RuntimeError:  # the process ends, or has too many threads; the next put tries
                return
            self._thread = thread

    def _loop(self) -> None:
        changed = self._condition
        while True:
            with changed:
                if not changed.wait_for(lambda: self._deliveries, DELIVERY_IDLE_SECONDS):
                    self._thread = None
                    return
                delivery = self._deliveries.popleft()
                self._is_sending = True
            try:
                self._deliver(delivery)
            finally:
                with changed:
                    self._is_sending = False
                    changed.notify_all()

    def _deliver(self, delivery: Delivery) -> None:
        try:
            delivery.send()
        except (Exception, SystemExit) as error:
            self._warn(error, delivery.monitor)
            return
        seconds = self._warnings.clear(delivery.monitor)
        if seconds is not None:
            log.info("monitor %s: delivered again, after %.0f s", self._service, seconds)

    def _warn(self, error: BaseException, monitor: str | None) -> None:
        is_specific = not isinstance(error, DeliveryError) or error.is_check_specific
        cause = str(error) if isinstance(error, DeliveryError) else _describe(error)
        if self._warnings.add(cause, scope=monitor if is_specific else None):
            check = "" if monitor is None else f" for {monitor!r}"
            log.warning("monitor %s: delivery failed%s: %s", self._service, check, cause)


def _describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
