"""What somebody did to tasks, runs and schedules, as it is on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Any

from .run import make_run_ids

PAUSE_AFTER_ACTOR = "pause_after"
"""Who paused a task that kept failing."""


class ActionKind(str, Enum):
    """What was done; each member equals its own text."""

    RUN = "run"
    DEFER = "defer"
    RESCHEDULE = "reschedule"
    CANCEL = "cancel"
    CANCEL_ALL = "cancel_all"
    RETRY = "retry"
    BACKFILL = "backfill"
    PAUSE = "pause"
    RESUME = "resume"
    SCHEDULE = "schedule"
    UNSCHEDULE = "unschedule"
    RESET = "reset"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One action: what, who and when."""

    #: Ids sort by time.
    id: str
    #: Aware, in UTC.
    at: datetime
    kind: ActionKind
    #: A user's id, ``token``, an address, ``pcron`` and its user, a task, or ``pause_after``.
    who: str
    #: The name of the task; None where it was no single one.
    task: str | None = None
    #: The name of the stored schedule.
    schedule: str | None = None
    #: The id of the run.
    run: str | None = None
    #: The pattern of a pause or resume.
    pattern: str | None = None
    #: What else was said, by its argument: JSON values, moments as ISO 8601.
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)


def make_action(
    kind: ActionKind,
    at: datetime,
    who: str,
    *,
    details: Mapping[str, Any] = MappingProxyType({}),
    **what: Any,
) -> ActionRecord:
    """Return an action with an id of its own; ``what`` are its other fields.

    Details that are None are left out.
    """
    known = {key: value for key, value in details.items() if value is not None}
    return ActionRecord(make_run_ids(at, 1)[0], at, kind, who, details=known, **what)
