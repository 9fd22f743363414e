"""How an application's cron is: a state for each task, worked out from plain facts and a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from ..run import Run, RunState, first_id
from ..task import REQUEST, THREAD, CatchUp, Task
from .after import reach
from .facts import Active
from .pauses import Word

Show = Callable[[datetime], str]
"""Returns a moment (aware, UTC) as text."""

SILENCE = timedelta(minutes=3)
"""How long no tick may come before that is unhealthy."""

LATE = timedelta(minutes=3)
"""How long a slot may be due before it is late, or wait for a worker once it was sent."""

PATIENCE = timedelta(hours=1)
"""The same for what may wait until a tick has time: idle tasks, slots that are caught up."""

MUCH = 10
"""How many times its usual duration a run without a timeout may take."""

LONG = timedelta(minutes=10)
"""What such a run may take in any case."""


class HealthState(str, Enum):
    """How a task is; each member equals its own lower-case text."""

    OK = "ok"
    LATE = "late"
    MISSED = "missed"
    FAILING = "failing"
    STUCK = "stuck"
    PAUSED = "paused"
    ORPHANED = "orphaned"

    __str__ = str.__str__

    @property
    def healthy(self) -> bool:
        """Whether nobody has to look after a task in this state."""
        return self in (HealthState.OK, HealthState.PAUSED, HealthState.ORPHANED)


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What is known of one task; moments are aware, in UTC.

    ``task`` is None where it is not registered. ``ticked`` is the last tick that knew it,
    ``waits_since`` from when on the oldest slot that waits could have run (backfills aside),
    ``goes_on`` from when on one of its schedule can (None: none waits), ``last`` its newest run
    that is over, ``failed`` whether that was a failure, ``missed`` whether the newest record of it
    is a slot that was missed, ``usual`` the seconds that its successes took on average.
    """

    name: str
    task: Task | None
    ticked: datetime | None = None
    active: Sequence[Active] = ()
    waits_since: datetime | None = None
    goes_on: datetime | None = None
    pause: Word | None = None
    last: Run | None = None
    failed: bool = False
    missed: bool = False
    usual: float | None = None


@dataclass(frozen=True, slots=True)
class TaskHealth:
    """How one task is.

    ``detail`` says in a line what there is to say of that, ``next`` is its next slot (aware, UTC;
    None if there is none), ``last`` its newest run that is over and still on record.
    """

    name: str
    state: HealthState
    detail: str | None = None
    next: datetime | None = None
    last: Run | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the same as JSON values, moments as ISO 8601 in UTC."""
        return {
            "name": self.name,
            "state": self.state.value,
            "detail": self.detail,
            "next": _iso(self.next),
            "last": self.last and _shown(self.last),
        }


@dataclass(frozen=True, slots=True)
class Health:
    """How an application's cron is.

    ``last_tick`` is the moment of the last tick (aware, UTC), ``since_last_tick`` the seconds since
    then; both are None if there was none.
    """

    healthy: bool
    tasks: tuple[TaskHealth, ...]
    last_tick: datetime | None
    since_last_tick: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the same as JSON values, moments as ISO 8601 in UTC."""
        return {
            "healthy": self.healthy,
            "last_tick": _iso(self.last_tick),
            "since_last_tick": self.since_last_tick,
            "tasks": [task.as_dict() for task in self.tasks],
        }

    def complaints(self) -> list[str]:
        """Return a line for each thing that is unhealthy; none if all is well."""
        lines = [f"{each.name}: {each.state}, {each.detail}" for each in self.tasks if _bad(each)]
        silence = self.silence()
        return lines if silence is None else [silence, *lines]

    def silence(self) -> str | None:
        """Return a line that says for how long no tick has come; None if that is not too long."""
        if self.since_last_tick is None:
            return "no tick has come yet"
        if self.since_last_tick > SILENCE.total_seconds():
            return f"no tick has come for {self.since_last_tick:.0f} s"
        return None


def assess(
    facts: Iterable[TaskFacts], last_tick: datetime | None, now: datetime, show: Show
) -> Health:
    """Return how everything is at ``now`` (aware, UTC); ``show`` puts moments into details."""
    tasks = tuple(assess_task(each, now, show) for each in facts)
    silence = None if last_tick is None else max(now - last_tick, timedelta(0))
    ticking = silence is not None and silence <= SILENCE
    return Health(
        healthy=ticking and not any(_bad(each) for each in tasks),
        tasks=tasks,
        last_tick=last_tick,
        since_last_tick=None if silence is None else silence.total_seconds(),
    )


def assess_task(facts: TaskFacts, now: datetime, show: Show) -> TaskHealth:
    """Return how one task is at ``now`` (aware, UTC): the first state in this order that fits."""
    first = _first_slot(facts, now)
    following = _next(facts, first, now)
    state, detail = _state(facts, first, now, show)
    return TaskHealth(facts.name, state, detail, following, facts.last)


def _state(
    facts: TaskFacts, first: datetime | None, now: datetime, show: Show
) -> tuple[HealthState, str | None]:
    if facts.task is None:
        return HealthState.ORPHANED, "on record, but not registered"
    if detail := _stuck(facts, facts.task, now, show):
        return HealthState.STUCK, detail
    if facts.pause is not None:
        return HealthState.PAUSED, _paused(facts.pause, show)
    if detail := _late(facts, facts.task, first, now, show):
        return HealthState.LATE, detail
    if facts.missed:
        return HealthState.MISSED, "no tick came in time for its newest slot"
    if facts.failed:
        return HealthState.FAILING, _failed(facts.last)
    return HealthState.OK, None


def _stuck(facts: TaskFacts, task: Task, now: datetime, show: Show) -> str | None:
    for active in facts.active:
        if active.lease < now:
            return f"gave no sign of life within its lease: {active.told(show)}"
        if _is_left_lying(active.run, task, now):
            minutes = LATE // timedelta(minutes=1)
            told = active.told(show)
            return f"was sent, and no worker has taken it up within {minutes} minutes: {told}"
        begun = active.run.started
        limit = _limit(task, facts.usual)
        if begun is not None and limit is not None and now - begun > limit:
            seconds = (now - begun).total_seconds()
            most = limit.total_seconds()
            return f"goes on for {seconds:.0f} s, more than {most:.0f}: {active.told(show)}"
    return None


def _is_left_lying(run: Run, task: Task, now: datetime) -> bool:
    sent = task.executor not in (REQUEST, THREAD)
    return sent and run.state is RunState.CLAIMED and run.id < first_id(now - LATE)


def _limit(task: Task, usual: float | None) -> timedelta | None:
    if task.timeout is not None or usual is None:
        return task.timeout
    return max(LONG, timedelta(seconds=usual * MUCH))


def _late(
    facts: TaskFacts, task: Task, first: datetime | None, now: datetime, show: Show
) -> str | None:
    if first is not None and now - first > LATE:
        return f"due since {show(first)}, and no tick has come for it"
    since = facts.waits_since
    if since is None or facts.active:  # what waits for a run that goes on is as it should be
        return None
    patient = task.idle or task.catch_up is CatchUp.ALL
    if now - since > (PATIENCE if patient else LATE):
        return f"waits to run since {show(since)}"
    return None


def _first_slot(facts: TaskFacts, now: datetime) -> datetime | None:
    """Return the first slot that no tick has seen to; a tick puts all that is due on record."""
    if facts.task is None:
        return None
    paced = facts.task.pace is not None and (facts.active or _on_record(facts, now))
    return facts.task.following(now if facts.ticked is None or paced else facts.ticked)


def _on_record(facts: TaskFacts, now: datetime) -> datetime | None:
    """Return the next slot where it counts from the end of a run, so that it is on record."""
    if facts.task is None or facts.task.pace is None or facts.goes_on is None:
        return None
    return facts.goes_on if facts.goes_on - now <= reach(facts.task) else None


def _next(facts: TaskFacts, first: datetime | None, now: datetime) -> datetime | None:
    if (on_record := _on_record(facts, now)) is not None:
        return on_record
    if facts.task is None or first is None or first > now:
        return first
    return facts.task.following(now)


def _paused(word: Word, show: Show) -> str:
    until = "" if word.until is None else f" until {show(word.until)}"
    reason = "" if word.reason is None else f": {word.reason}"
    return f"since {show(word.moment)}{until}{reason}"


def _failed(last: Run | None) -> str:
    if last is None:
        return "its newest run went wrong"
    # The first line has the error's type; of SQLAlchemy's, the last is a link that fits them all.
    error = "" if last.error is None else f": {last.error.splitlines()[0].strip()}"
    return f"run {last.id} {last.state}{error}"


def _bad(task: TaskHealth) -> bool:
    return not task.state.healthy


def _shown(run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "slot": _iso(run.slot),
        "state": run.state.value,
        "finished": _iso(run.finished),
        "duration": run.duration,
        "error": run.error,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
