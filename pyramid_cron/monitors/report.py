"""What monitors are told of a run."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ..run import Run, RunReason, RunState
from ..settings import Settings
from ..task import Task

_REPORT_NAMESPACE = uuid.UUID("b7f9d1c2-6a54-5e0b-9d3c-0f6e8a1c2d47")


class ReportKind(Enum):
    """What is told: that it begins, went well, went wrong, or went wrong and is tried again."""

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"
    RETRYING = "again"


@dataclass(frozen=True, slots=True)
class Report:
    """One thing to tell a monitor.

    ``id`` is the same for all attempts at one slot. ``text`` says what went wrong; ``duration`` is
    that of the attempt, in seconds.
    """

    kind: ReportKind
    task: Task
    monitor: str
    id: uuid.UUID
    text: str = ""
    duration: float | None = None


class DeliveryError(Exception):
    """A monitor could not be told; the text says why, without secrets.

    ``alone`` says that it may be the fault of this report's monitor name and not of the service.
    ``status`` is that of an HTTP answer, if there was one.
    """

    def __init__(
        self, cause: str, *, is_check_specific: bool = False, status: int | None = None
    ) -> None:
        super().__init__(cause)
        self.is_check_specific, self.status = is_check_specific, status


class Monitor(Protocol):
    """A service that is told of runs."""

    name: str

    def send(self, report: Report) -> None:
        """Tell it, in some seconds. Raises any exception if that fails; TroubleError says why."""

    def problem(self, monitor: str) -> str | None:
        """Return why no report can be made under this name, or None."""


def report_of(task: Task, run: Run, deployment: str, *, is_retrying: bool) -> Report | None:
    """Return what monitors are told of a run as it is now, if anything.

    ``again`` says that it went wrong and is tried again; ``deployment`` keeps apart equal slots of
    installations that report to the same monitor.
    """
    kind = ReportKind.RETRYING if is_retrying else _kind_of(run)
    if kind is None or task.monitor is None:
        return None
    bad = kind in (ReportKind.FAILURE, ReportKind.RETRYING)
    text = _text_of(run, task) if bad else ""
    return Report(kind, task, task.monitor, report_id(task, run, deployment), text, run.duration)


def _kind_of(run: Run) -> ReportKind | None:
    if run.state is RunState.RUNNING:
        return ReportKind.START
    if run.state is RunState.SUCCEEDED or run.reason is RunReason.CONDITION:
        # A task with nothing to do is fine, and its monitor was told that it begins.
        return ReportKind.SUCCESS
    return None if run.state is RunState.SKIPPED else ReportKind.FAILURE


def _text_of(run: Run, task: Task) -> str:
    attempts = task.retry.attempts
    which = f" (attempt {run.attempt} of {attempts})" if run.attempt <= attempts > 1 else ""
    return f"{run.state}{which}: {run.error or 'no error is known'}"


def report_id(task: Task, run: Run, deployment: str) -> uuid.UUID:
    """Return the id under which monitors know all attempts at the run's slot.

    One that is tried again by hand, its attempts used up, has an id of its own.
    """
    by_hand = (run.attempt - 1) // task.retry.attempts
    name = "\n".join((deployment, run.task, run.slot.isoformat(), str(run.nonce), str(by_hand)))
    return uuid.uuid5(_REPORT_NAMESPACE, name)


def deployment_of(settings: Settings) -> str:
    """Return what tells the store of one installation from that of another."""
    url = settings.url
    if url.get_backend_name() != "sqlite":
        return f"{url.render_as_string()} {settings.table_prefix}"
    if url.database in (None, "", ":memory:"):
        return f"{socket.gethostname()} {os.getpid()}"
    return f"{socket.gethostname()} {os.path.abspath(url.database)} {settings.table_prefix}"
