"""``request.cron``: ask what is registered and what happened, and run a task by hand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.scripting import prepare

from . import events, logs
from .counts import count
from .due.after import whole
from .due.facts import BACKFILL, BESIDE, Pending
from .due.health import Health
from .due.pauses import Word, matcher, paused
from .execute.by_hand import run_by_hand
from .execute.defer import defer
from .execute.queue import carry_out_sent
from .health import health
from .run import Run, RunState, Trigger, as_payload
from .schedule import At
from .schedule.duration import span
from .schedule.moments import in_utc
from .state import Cronwork, cronwork
from .store.filling import Span
from .store.outcomes import Deferred
from .task import NAME, Task

NONCES = {"delay": BACKFILL, "allow": BESIDE}
"""What may be said of a backfill's ``overlap``."""

FINAL = tuple(state for state in RunState if state.final)


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How a task stands.

    ``next`` is its next slot (aware, UTC; None if there is none), ``last`` its newest run that is
    over, ``running`` the runs that are not, ``waiting`` how many slots wait for a later tick, and
    ``paused`` the pause it is in, if any.
    """

    task: Task
    next: datetime | None
    last: Run | None
    running: tuple[Run, ...]
    waiting: int = 0
    paused: Word | None = None


class Scheduler:
    """What an application asks of its cron; ``request.cron`` is one.

    What it tells comes from the store, so it covers the runs of every host.
    """

    def __init__(self, registry: Registry, request: Request | None = None) -> None:
        self._registry = registry
        self._request = request

    @property
    def _cron(self) -> Cronwork:
        cron = cronwork(self._registry)
        cron.look_around()  # there are processes that no tick reaches
        return cron

    def tasks(self) -> list[Task]:
        """Return the registered tasks, in order of registration."""
        return list(self._cron.tasks.all)

    def status(self, name: str) -> TaskStatus:
        """Return how the task of this name stands. Raises LookupError if there is none."""
        cron = self._cron
        task = cron.tasks.named(name)
        return TaskStatus(
            task,
            next=task.following(cron.clock()),
            last=next(iter(cron.store.history(name, FINAL, limit=1)), None),
            running=tuple(cron.store.going_on(name)),
            waiting=cron.store.waiting(name),
            paused=paused(name, cron.clock(), cron.store.words()),
        )

    def history(
        self, name: str | None = None, state: RunState | str | None = None, limit: int = 50
    ) -> list[Run]:
        """Return the newest runs, newest first: of one task, or in one state, or all.

        Raises ValueError for a state there is not, or a limit below 1 or above 2147483647.
        """
        states = None if state is None else (_state(state),)
        return self._cron.store.history(name, states, count("limit", limit))

    def health(self) -> Health:
        """Return how things stand: whether ticks come, and how each task is.

        Raises StoreError if the store can't be read.
        """
        return health(self._cron)

    def run(self, name: str, payload: Any = None) -> Run:
        """Run a task now, in this request; return the run as it ended.

        The task has a transaction of its own. What the request did before is committed first, and
        what it does afterwards is in a new transaction. The task finds ``payload``, a JSON value,
        in its ``system``. A task that fails raises nothing here: look at the run's ``state``.

        Raises LookupError if there is no such task, TypeError or ValueError if the payload is not
        JSON, StoreError if the run can't be recorded, and what committing the request's own work
        raises.
        """
        cron = self._cron
        task = cron.tasks.named(name)
        with self._own_request() as request:
            keep = request is self._request
            return run_by_hand(cron, request, task, payload, cron.clock(), keep=keep)

    def defer(
        self,
        name: str,
        payload: Any = None,
        at: datetime | str | None = None,
        after: str | float | timedelta | None = None,
        key: str | None = None,
    ) -> Pending:
        """Run a task once, at the first tick that comes at a moment or later; return what waits.

        ``at`` is an aware datetime or ISO 8601 text with an offset, ``after`` an interval from the
        beginning of this second; with neither it is the next tick. The task finds ``payload``, a
        JSON value, in its ``system``. Of several calls for a task with the same ``key`` only the
        first counts, until it has run and its run is forgotten.

        Where there is a transaction (of pyramid_tm, or of the task that asks) it is on record once
        that is committed, and dropped if that is aborted, or a savepoint before it rolled back;
        otherwise at once.

        Raises LookupError if there is no such task, TypeError or ValueError for what is not JSON,
        no moment, no interval or no key, StoreError if it is to be put on record at once and can't.
        """
        self._cron.tasks.named(name)
        given = as_payload(payload)
        if key is not None:
            _check_key(key)
        slot = _moment(self._cron.clock(), at, after)
        nonce = secrets.randbits(62) + 2
        pending = Pending(name, slot, Trigger.DEFERRED, slot, nonce=nonce, payload=given)
        defer(self._cron, self._request, Deferred(pending, key))
        return pending

    def carry_out(self, run_id: str) -> Run | None:
        """Carry out a run that was sent to a queue; for the queue's worker to call.

        The run has a request and a transaction of its own. Returned is the run as it ended, or None
        if there is nothing to do: a message that comes twice is carried out once. Raises
        LookupError if the run or its task is not known here, as in an older version of the
        application, and StoreError if the store can't be reached to take the run up. Both are to
        be tried again later, here or by another worker.
        """
        return carry_out_sent(self._cron, self._registry, run_id)

    def pause(
        self, pattern: str = "*", until: datetime | None = None, reason: str | None = None
    ) -> list[str]:
        """Pause the tasks whose names match; return those names.

        ``pattern`` is a glob, or with ``re:`` in front a regular expression. A pause lasts until
        the aware moment ``until``, or until :meth:`resume`. What runs goes on; slots that come due
        are skipped with the reason ``paused``, and nothing is made up for them.

        Raises ValueError for a wrong pattern or moment, LookupError if no task matches.
        """
        now = self._cron.clock()
        if until is not None and (until := in_utc(until, "until")) <= now:
            raise ValueError(f"until={until!r}: must be an aware moment in the future")
        if reason is not None and not isinstance(reason, str):
            raise ValueError(f"reason={reason!r}: must be text")
        names, _ = self._say(Word(now, True, pattern, until, reason))
        self._tell([(events.TaskPaused, name, until, reason) for name in names])
        return names

    def resume(self, pattern: str = "*") -> list[str]:
        """End the pauses of the tasks whose names match; return the names of the paused ones.

        For all that match, ``pause_after`` counts anew. Raises ValueError for a wrong pattern,
        LookupError if no task matches.
        """
        word = Word(self._cron.clock(), False, pattern)
        matching, before = self._say(word)
        names = [name for name in matching if paused(name, word.moment, before)]
        self._tell([(events.TaskResumed, name) for name in names])
        return names

    def _tell(self, news: Sequence[tuple[Any, ...]]) -> None:
        with self._own_request() as request:
            for kind, *values in news:
                events.notify(kind, request, *values)

    def _say(self, word: Word) -> tuple[list[str], list[Word]]:
        """Put a word on record; return the tasks it is about, and what had been said before."""
        if not isinstance(word.pattern, str):
            raise ValueError(
                f"pattern={word.pattern!r}: must be text, a glob, or a regular expression after re:"
            )
        matches = matcher(word.pattern)
        names = [name for name in self._cron.tasks.by_name if matches(name)]
        if not names:
            raise LookupError(f"no cron task matches {word.pattern!r}")
        return names, self._cron.store.say(word)

    def cancel(self, run_id: str) -> None:
        """Ask for the end of a run, wherever it goes on; its state tells when it has come.

        Raises LookupError if there is no such run, ValueError if it is over.
        """
        run = self._run(run_id)
        if run.state.final:
            raise ValueError(f"run {run_id} is over: it has {run.state}")
        cron = self._cron
        ended = cron.store.recall(run_id, cron.clock(), cron.outcome)
        if ended is None:
            cron.store.ask_to_cancel(run_id)
            cron.supervisor.cancel(run_id)  # at once, if it is here
        else:
            logs.log_finished(ended)
            self._tell([(events.RunCancelled, ended)])

    def retry(self, run_id: str) -> None:
        """Try the slot of a run that went wrong or was cancelled once more, at the next tick.

        Raises LookupError if there is no such run, ValueError if it has not gone wrong.
        """
        run = self._run(run_id)
        if not (run.state.failure or run.state is RunState.CANCELLED):
            raise ValueError(f"run {run_id} can't be tried again: it is {run.state}")
        self._cron.tasks.named(run.task)
        again = Pending(
            run.task,
            run.slot,
            Trigger.RETRY,
            whole(self._cron.clock()),
            attempt=self._cron.store.attempts(run) + 1,
            nonce=run.nonce,
            payload=run.payload,
        )
        self._cron.store.hasten(again)

    def backfill(
        self,
        name: str,
        since: datetime,
        until: datetime,
        overlap: Literal["delay", "allow"] = "delay",
    ) -> int:
        """Run a task for its slots with ``since < slot <= until``; return how many there are.

        They run at the next ticks, oldest first, while these have time left. A slot that has run
        already, or waits to, is left out; one that was skipped is not. One that no tick has come
        for yet runs as one of them, and so once. Moments are aware.

        With ``overlap="delay"`` each waits until no other run of the task goes on, and the task's
        scheduled slots wait in turn while one does. With ``"allow"`` they run beside one another,
        and beside what is scheduled, as far as there is room; only tasks outside of the request
        and ticks at the same time do so. A task whose own ``overlap`` is ``"allow"`` does anyway.

        Raises LookupError if there is no such task, ValueError for moments that are naive, still to
        come, or in the wrong order, and for any other ``overlap``.
        """
        task = self._cron.tasks.named(name)
        if in_utc(since, "since") > in_utc(until, "until"):
            raise ValueError(f"until={until!r} is before since={since!r}: swap them")
        if until > self._cron.clock():
            raise ValueError(
                f"until={until!r} is in the future: those slots will run by themselves"
            )
        if overlap not in NONCES:
            raise ValueError(f"overlap={overlap!r}: must be one of 'delay', 'allow'")
        slots = Span(name, since, until, task.between(since, until))
        return self._cron.store.fill_in(slots, NONCES[overlap])

    def _run(self, run_id: str) -> Run:
        run = self._cron.store.run(run_id)
        if run is None:
            raise LookupError(f"there is no run {run_id!r}")
        return run

    @contextmanager
    def _own_request(self) -> Iterator[Request]:
        if self._request is not None:
            yield self._request
            return
        with prepare(registry=self._registry) as made:
            yield made["request"]


def _moment(
    now: datetime, at: datetime | str | None, after: str | float | timedelta | None
) -> datetime:
    if at is not None and after is not None:
        raise ValueError(f"at={at!r} and after={after!r} each say when; use one of them")
    if at is not None:
        return At(at).moment
    start = whole(now)
    return start if after is None else start + span(after, what="after")


def _check_key(key: Any) -> None:
    if not isinstance(key, str) or not NAME.fullmatch(key):
        raise ValueError(f"key={key!r}: must be text of 1 to 200 printable characters")


def _state(state: Any) -> RunState:
    try:
        return RunState(state)
    except ValueError:
        states = ", ".join(RunState)
        raise ValueError(f"state={state!r}: must be one of {states}") from None


def scheduler(registry: Registry) -> Scheduler:
    """Return the scheduler of this application, outside of any request."""
    return Scheduler(registry)


def request_scheduler(request: Request) -> Scheduler:
    """Return ``request.cron``."""
    return Scheduler(request.registry, request)
