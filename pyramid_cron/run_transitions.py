"""How a run changes from its claim to its end; the one place that makes a run's next state.

Every function takes a run, plain values and the moment ``now`` (aware, UTC), and returns the run as
it is from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from .run import Progress, Run, RunReason, RunState, WaitReason, evolve
from .text import truncate_error

Outputs = Mapping[str, str | int | None]
"""What a run leaves behind, by the fields of :class:`Run`: log, stdout, stderr and exit_status."""

NO_OUTPUTS: Outputs = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Failure:
    """How a run ends whose task raised an error."""

    #: failed, timed_out or cancelled.
    state: RunState
    #: The error in a line.
    error: str
    #: None where the error has none, as a program's.
    traceback: str | None = None
    #: Whether the error leaves no other attempt.
    is_given_up: bool = False
    #: How long after the end of the run the next attempt is due; None as the task's ``retry`` says.
    retry_after: timedelta | None = None


def taken_over(run: Run, host: str, pid: int) -> Run:
    """Return a run that was handed off, in the process that carries it out."""
    return evolve(run, host=host, pid=pid)


def started(run: Run, now: datetime) -> Run:
    """Return a claimed run that begins."""
    return evolve(run, state=RunState.RUNNING, started=now)


def progressed(run: Run, progress: Progress) -> Run:
    """Return a run that has come so far."""
    return evolve(run, progress=progress)


def succeeded(run: Run, now: datetime, outputs: Outputs = NO_OUTPUTS) -> Run:
    """Return a run whose work is committed."""
    return evolve(run, state=RunState.SUCCEEDED, finished=now, **outputs)


def ended(run: Run, state: RunState, started_at: datetime | None, finished: datetime) -> Run:
    """Return a run whose end is on record apart from it."""
    began = run.started or started_at
    return evolve(run, state=state, started=began, finished=finished)


def failed(run: Run, now: datetime, failure: Failure, outputs: Outputs = NO_OUTPUTS) -> Run:
    """Return a run whose task raised an error: its own, or an interruption."""
    return evolve(
        run,
        state=failure.state,
        finished=now,
        error=failure.error,
        traceback=failure.traceback,
        is_given_up=failure.is_given_up,
        retry_after=failure.retry_after,
        **outputs,
    )


def condition_not_met(run: Run, now: datetime, outputs: Outputs = NO_OUTPUTS) -> Run:
    """Return a run whose task's ``when`` gave a false answer: its slot is skipped."""
    return evolve(
        run,
        state=RunState.SKIPPED,
        reason=RunReason.CONDITION,
        started=None,
        finished=now,
        **outputs,
    )


def skipped(run: Run, reason: RunReason, count: int = 1, detail: str | None = None) -> Run:
    """Return a run that stands for ``count`` slots which are skipped; ``run.slot`` is the newest.

    ``detail`` is recorded as its error.
    """
    error = None if detail is None else truncate_error(detail)
    return evolve(run, state=RunState.SKIPPED, reason=reason, count=count, error=error)


def cancelled(run: Run, now: datetime, cause: str = "was cancelled") -> Run:
    """Return a run that was cancelled before it began, claimed or waiting."""
    return evolve(
        run,
        state=RunState.CANCELLED,
        claimed=run.claimed or now,
        not_before=None,
        why=None,
        finished=now,
        error=f"{cause} before it began",
    )


def released(run: Run, now: datetime) -> Run:
    """Return a claimed run that has not begun: it waits again, for whoever comes first.

    From the beginning of this second, so that a tick at the moment of the one that claimed it finds
    it.
    """
    return evolve(
        run,
        state=RunState.WAITING,
        claimed=None,
        not_before=now.replace(microsecond=0),
        why=WaitReason.ROOM,
        host="",
        pid=0,
    )


def abandoned(
    run: Run,
    now: datetime,
    cause: str,
    *,
    is_timeout: bool,
    is_killed: bool,
    outputs: Outputs = NO_OUTPUTS,
) -> Run:
    """Return a run that was interrupted and did not stop in time.

    ``cause`` is the text of the interruption, ``is_timeout`` whether that was the task's timeout,
    ``is_killed`` whether its process was killed.
    """
    end = "it was killed" if is_killed else "it did not stop, and its thread may still be running"
    return evolve(
        run,
        state=RunState.TIMED_OUT if is_timeout else RunState.CANCELLED,
        finished=now,
        error=f"{cause}; {end}",
        **outputs,
    )


def lost(run: Run, now: datetime, *, is_handed_off: bool = False) -> Run:
    """Return a run whose lease expired.

    ``is_handed_off`` is whether it was sent to a queue and no worker had taken it over.
    """
    silence = (
        "sent it, and no worker took it up in time"
        if is_handed_off
        else "gave no sign of life within its lease"
    )
    error = f"lost: {run.host} (pid {run.pid}) {silence}"
    return evolve(run, state=RunState.LOST, finished=now, error=error)
