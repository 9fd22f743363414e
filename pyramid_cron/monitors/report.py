"""Reports of runs to monitors, and what a monitor is."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from enum import Enum

from ..run import Run, RunReason, RunState
from ..settings import Settings
from ..task import Task

_REPORT_NAMESPACE = uuid.UUID("b7f9d1c2-6a54-5e0b-9d3c-0f6e8a1c2d47")


class ReportKind(Enum):
    """What is reported: a start, a success, a failure, or a failure that is retried."""

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"
    RETRYING = "retrying"


@dataclass(frozen=True, slots=True)
class Report:
    """One report of a run to monitors."""

    kind: ReportKind
    task: Task
    #: The name that monitors know the task by.
    monitor: str
    #: The same for all attempts at one slot.
    id: uuid.UUID
    #: The error of a failure.
    text: str = ""
    #: Of this attempt, in seconds; None if it has not ended.
    duration: float | None = None


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
    """Return the report of a run in its state; None if there is nothing to report.

    ``is_retrying``: it failed and has attempts left. ``deployment`` tells apart equal slots of
    installations that report to the same monitor.
    """
    kind = ReportKind.RETRYING if is_retrying else _kind_of(run)
    if kind is None or task.monitor is None:
        return None
    is_failure = kind in (ReportKind.FAILURE, ReportKind.RETRYING)
    text = _text_of(run, task) if is_failure else ""
    return Report(kind, task, task.monitor, report_id(task, run, deployment), text, run.duration)


def _kind_of(run: Run) -> ReportKind | None:
    if run.state is RunState.RUNNING:
        return ReportKind.START
    if run.state is RunState.SUCCEEDED or run.reason is RunReason.CONDITION:
        # A task with nothing to do is fine, and its monitor expects to hear of it.
        return ReportKind.SUCCESS
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
