"""The desk at which slots are claimed: what one claiming transaction reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, select, update

from ..due.decide import Skip
from ..due.facts import Active, Facts, Pending
from ..due.pauses import Word
from ..run import Reason, Run, RunState, Trigger, brief, changed, new_ids
from .handing import NOBODY
from .outcomes import PIECE, Noted, Outcome, Paused, Tick, after, call_roll, renew, write
from .owner import Owner
from .rows import all_words, going_on, insert_new, pending_row, run_row, to_pending, to_run
from .tables import Tables, once_per_store
from .totals import count_runs

FAR = timedelta(days=1)
"""How much longer than here a lease is nowhere, also one of what was sent and not taken up yet."""

LEFT_TO_OTHERS = 5
"""Leases for which an application that does not know a task waits for a version that does."""


class Desk:
    """One transaction in which it is decided what runs; nobody else decides meanwhile."""

    def __init__(
        self,
        tables: Tables,
        connection: Connection,
        owner: Owner,
        now: datetime,
        lease: datetime,
    ) -> None:
        self._tables = tables
        self._connection = connection
        self._owner = owner
        self._now = now
        self._lease = lease
        self._blank = Run("", "", now, 1, Trigger.SCHEDULE, RunState.CLAIMED, owner.host, owner.pid)
        self.paused: list[Paused] = []

    def write(self, noted: Noted) -> None:
        """Write what happened until now; tasks that are paused for it are added to ``paused``."""
        self.paused += write(self._connection, self._tables, self._owner.token, noted)

    def renew(self, ids: Collection[str]) -> None:
        """Renew the leases of runs that this process still carries out."""
        renew(self._connection, self._tables, self._owner.token, ids, self._lease)

    def expire(self, outcome: Callable[[Run], Outcome], known: Container[str]) -> list[Run]:
        """Mark runs whose lease has passed as lost; return them.

        ``outcome`` tells what comes of a run that is lost. Who does not know the task can't, so
        runs of others than ``known`` have :data:`LEFT_TO_OTHERS` leases more.
        """
        runs = self._tables.runs
        rows = self._connection.execute(_expired(self._tables), {"now": self._now}).all()
        long_ago = self._now - LEFT_TO_OTHERS * (self._lease - self._now)
        lost = [
            replace(
                to_run(row),
                state=RunState.LOST,
                finished=self._now,
                error=_loss(row),
            )
            for row in rows
            if row.task in known or row.lease < long_ago
        ]
        for run in lost:
            over = {"state": run.state.value, "finished": run.finished, "error": run.error}
            statement = update(runs).where(runs.c.id == run.id)
            self._connection.execute(statement.values(**over, lease=None))
        self.paused += after(self._connection, self._tables, [outcome(run) for run in lost])
        return lost

    def shorten(self, active: Mapping[str, Sequence[Active]]) -> None:
        """Have leases that a clock gave which was far ahead pass as if they were given now.

        Whoever is alive renews them.
        """
        far = [each.run.id for runs in active.values() for each in runs if self._is_far(each)]
        if far:
            runs = self._tables.runs
            self._connection.execute(
                update(runs).where(runs.c.id.in_(far)).values(lease=self._lease)
            )

    def _is_far(self, active: Active) -> bool:
        return active.lease - self._lease > FAR

    def facts(self, paced: Collection[str] = ()) -> Facts:
        """Return what a decision needs to know; ``paced`` are the tasks that pace themselves."""
        tables, connection = self._tables, self._connection
        ripe = connection.execute(_ripe(tables), {"now": self._now})
        return Facts(
            waiting=[to_pending(row) for row in ripe],
            active=self._active(),
            paced=self._paced(paced),
            words=all_words(connection, tables),
        )

    def _paced(self, tasks: Collection[str]) -> dict[str, list[Pending]]:
        found: dict[str, list[Pending]] = {}
        rest = list(tasks)
        while rest:
            piece, rest = rest[:PIECE], rest[PIECE:]
            for row in self._connection.execute(_of_schedules(self._tables), {"tasks": piece}):
                found.setdefault(row.task, []).append(to_pending(row))
        return found

    def load(self) -> int:
        """Return the weight of all that runs outside of requests."""
        return Facts(active=self._active()).load

    def active(self, task: str) -> Sequence[Active]:
        """Return the runs of one task that go on."""
        return self._active().get(task, ())

    def _active(self) -> dict[str, list[Active]]:
        active: dict[str, list[Active]] = {}
        for each in going_on(self._connection, self._tables):
            if each.lease < self._now:  # as good as lost, it takes no room
                each = replace(each, weight=0)
            active.setdefault(each.run.task, []).append(each)
        return active

    def words(self) -> list[Word]:
        """Return who was paused and resumed, oldest first."""
        return all_words(self._connection, self._tables)

    def roll_call(self, tick: Tick, names: Collection[str]) -> datetime | None:
        """Note that the roster of these names has ticked; return when it last did, if it has."""
        return call_roll(self._connection, self._tables, tick, names)

    def claim(
        self,
        pending: Sequence[Pending],
        skips: Sequence[Skip] = (),
        weigh: Callable[[str], int] = lambda _: 0,
    ) -> tuple[list[Run], list[Run]]:
        """Claim slots, and put on record those that are skipped; return the runs that are ours.

        A slot that somebody else has is left out. What is claimed does not wait any more.
        ``weigh`` tells what a task's run takes of the capacity.
        """
        ids = new_ids(self._now, len(pending) + len(skips))
        # The history goes by ids: what runs is newer than the slots that were folded into it.
        skipped = [
            self._skipped(id_, each) for id_, each in zip(ids[: len(skips)], skips, strict=True)
        ]
        claims = [
            self._run(id_, each) for id_, each in zip(ids[len(skips) :], pending, strict=True)
        ]
        rows = [
            run_row(run, self._owner.token, self._lease, 0 if run.state.final else weigh(run.task))
            for run in (*claims, *skipped)
        ]
        all_new = insert_new(self._connection, self._tables.runs, rows)
        won = set(ids) if all_new else self._won(ids)
        noted = [run for run in skipped if run.id in won]
        count_runs(self._connection, self._tables, noted)
        return [run for run in claims if run.id in won], noted

    def _won(self, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        ends = {"first": ids[0], "last": ids[-1]}
        return set(self._connection.scalars(_between(self._tables), ends))

    def keep(self, pending: Iterable[Pending]) -> None:
        """Put on record what waits for a later tick."""
        insert_new(self._connection, self._tables.waiting, [pending_row(each) for each in pending])

    def drop(self, pending: Iterable[Pending]) -> None:
        """Take off the record what does not wait any more."""
        waiting = self._tables.waiting
        keys = ("task", "slot", "attempt", "nonce")
        rows = [{f"a_{key}": getattr(each, key) for key in keys} for each in pending]
        if rows:
            same = [waiting.c[key] == bindparam(f"a_{key}") for key in keys]
            self._connection.execute(delete(waiting).where(*same), rows)

    def cancel(self, ids: Sequence[str]) -> None:
        """Ask the owners of runs to end them."""
        if ids:
            runs = self._tables.runs
            self._connection.execute(update(runs).where(runs.c.id.in_(ids)).values(cancel=1))

    def _run(self, run_id: str, pending: Pending) -> Run:
        return changed(
            self._blank,
            id=run_id,
            task=pending.task,
            slot=pending.slot,
            attempt=pending.attempt,
            trigger=pending.trigger,
            payload=pending.payload,
            nonce=pending.nonce,
        )

    def _skipped(self, run_id: str, skip: Skip) -> Run:
        late = skip.skipped.reason in (Reason.MISSED, Reason.SUPERSEDED)
        trigger = Trigger.CATCH_UP if late else Trigger.SCHEDULE
        pending = Pending(skip.task, skip.skipped.newest, trigger, self._now)
        return replace(
            self._run(run_id, skip.asked or pending),
            state=RunState.SKIPPED,
            reason=skip.skipped.reason,
            count=skip.skipped.count,
            error=None if skip.detail is None else brief(skip.detail),
        )


def _loss(row: Row[Any]) -> str:
    process = f"{row.host} (pid {row.pid})"
    if row.owner == NOBODY:
        return f"lost: {process} sent it, and no worker took it up in time"
    return f"lost: {process} gave no sign of life within its lease"


@once_per_store
def _expired(tables: Tables) -> Select[Any]:
    return select(tables.runs).where(tables.runs.c.lease < bindparam("now"))


@once_per_store
def _ripe(tables: Tables) -> Select[Any]:
    return select(tables.waiting).where(tables.waiting.c.not_before <= bindparam("now"))


@once_per_store
def _of_schedules(tables: Tables) -> Select[Any]:
    waiting = tables.waiting
    named = waiting.c.task.in_(bindparam("tasks", expanding=True))
    return select(waiting).where(named, waiting.c.nonce == 0)


@once_per_store
def _between(tables: Tables) -> Select[Any]:
    column = tables.runs.c.id
    return select(column).where(column.between(bindparam("first"), bindparam("last")))
