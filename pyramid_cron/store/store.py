"""The store: opened when first needed, read at any time, written in a few kinds of transactions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    insert,
    select,
    true,
    update,
)

from ..due.facts import Pending
from ..due.pauses import Word
from ..due.slots import Roster
from ..run import ID, Run, RunState, storable
from ..task import NAME
from .desk import Desk
from .engine import Database
from .filling import Span, fill_in
from .handing import adopt, entrust, give_back, recall
from .outcomes import Deferred, Noted, Outcome, Paused, defer, renew, write
from .owner import Owner
from .prune import prune
from .rows import all_words, going_on, insert_new, pending_row, state_of_one, to_run
from .schema import see_to_tables
from .tables import Tables, make_tables, once_per_store


@dataclass(frozen=True, slots=True)
class Glance:
    """What a tick looks at first: the last tick of each roster, and whether anything waits.

    ``busy`` is true where something that waits is ripe, or a run may have been lost.
    """

    last_ticks: dict[str, datetime]
    busy: bool


class Store:
    """The store behind ``cron.url``."""

    def __init__(self, url: URL, table_prefix: str) -> None:
        self.database = Database(url, forget=self._forget)
        self.tables = make_tables(table_prefix)
        self.is_open = False
        self._owner = Owner()

    @property
    def owner(self) -> Owner:
        """Who this process is, as the owner of what it claims."""
        if self._owner.pid != os.getpid():
            self._owner = Owner()
        return self._owner

    # Opening.

    def open(self) -> None:
        """Make the tables where they are missing; refuse a store of a newer version.

        Raises StoreError naming ``cron.url``.
        """
        self.database.recognize()
        if not self.is_open:
            see_to_tables(self.database, self.tables)
            self.is_open = True

    def _forget(self) -> None:
        self.is_open = False

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self.open()
        with self.database.read() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Give a connection that is the only one to write, over all hosts.

        SQLite has one writer at a time, and so no two that wait for each other. Elsewhere a lock on
        one row sees to the same.
        """
        self.open()
        with self.database.write() as connection:
            if self.database.dialect != "sqlite":
                connection.execute(_turn(self.tables))
            yield connection

    # What a tick needs.

    def glance(self, now: datetime) -> Glance:
        """Return what a tick at ``now`` looks at first."""
        with self._reading() as connection:
            rows = connection.execute(_signs(self.tables), {"now": now}).all()
        last_ticks = {row.id: row.last_tick for row in rows if row.id is not None}
        return Glance(last_ticks, bool(rows[0].busy))

    def rosters(self, ids: Iterable[str]) -> list[Roster]:
        """Return the rosters with these ids, with the names in them."""
        rosters = self.tables.rosters
        with self._reading() as connection:
            rows = connection.execute(select(rosters).where(rosters.c.id.in_(list(ids)))).all()
        return [Roster(row.id, frozenset(json.loads(row.tasks)), row.last_tick) for row in rows]

    @contextmanager
    def deciding(self, now: datetime, lease: datetime) -> Iterator[Desk]:
        """Give the desk at which slots are claimed: one at a time, over all hosts.

        What is claimed is durable when the block ends. ``lease`` is when the claims run out unless
        they are renewed.
        """
        with self._writing() as connection:
            yield Desk(self.tables, connection, self.owner, now, lease)

    def write(self, noted: Noted) -> list[Paused]:
        """Write what happened; a run that is not ours any more is left as it is.

        Returns the tasks that are paused for it.
        """
        with self._writing() as connection:
            return write(connection, self.tables, self.owner.token, noted)

    # What goes on.

    def renew(self, ids: Collection[str], lease: datetime) -> set[str]:
        """Renew the leases of runs; return the ids of those that are still ours."""
        with self._writing() as connection:
            return renew(connection, self.tables, self.owner.token, ids, lease)

    def cancelled(self) -> set[str]:
        """Return the ids of those of our runs whose end somebody asked for."""
        with self._reading() as connection:
            return set(connection.scalars(_cancelled(self.tables), {"owner": self.owner.token}))

    def ask_to_cancel(self, run_id: str) -> None:
        """Ask the owner of a run that goes on to end it."""
        runs = self.tables.runs
        with self._writing() as connection:
            going_on = update(runs).where(runs.c.id == run_id, runs.c.lease.is_not(None))
            connection.execute(going_on.values(cancel=1))

    # What goes to another process.

    def recall(self, run_id: str, now: datetime, outcome: Callable[[Run], Outcome]) -> Run | None:
        """End a run that was sent and that nobody has taken up; None if there is no such run."""
        with self._writing() as connection:
            return recall(connection, self.tables, run_id, now, outcome)

    def entrust(self, run_id: str, lease: datetime) -> None:
        """Leave a run of ours that was not begun to whoever takes it up before its lease passes."""
        with self._writing() as connection:
            entrust(connection, self.tables, self.owner, run_id, lease)

    def give_back(self, runs: Sequence[Run], now: datetime) -> None:
        """Let runs of ours that were not begun wait, as if nobody had claimed them."""
        with self._writing() as connection:
            give_back(connection, self.tables, self.owner, runs, now)

    def adopt(self, run_id: str, now: datetime, lease: datetime) -> Run | None:
        """Make a run ours that another process has claimed, once; None if that can't be."""
        with self._writing() as connection:
            return adopt(connection, self.tables, self.owner, run_id, now, lease)

    def hasten(self, pending: Pending) -> None:
        """Put on record what is to run again, or have it wait no longer if it waits already."""
        waiting = self.tables.waiting
        same = [key == getattr(pending, key.name) for key in waiting.primary_key]
        later = waiting.c.not_before > pending.not_before
        with self._writing() as connection:
            insert_new(connection, waiting, [pending_row(pending)])
            connection.execute(
                update(waiting).where(*same, later).values(not_before=pending.not_before)
            )

    def defer(self, deferred: Deferred) -> None:
        """Put on record what is to run once, unless its key is known already."""
        with self._writing() as connection:
            defer(connection, self.tables, deferred)

    def attempts(self, run: Run) -> int:
        """Return the number of the newest attempt at the slot of a run."""
        runs = self.tables.runs
        same = (runs.c.task == run.task, runs.c.slot == run.slot, runs.c.nonce == run.nonce)
        with self._reading() as connection:
            return int(connection.scalar(select(func.max(runs.c.attempt)).where(*same)) or 0)

    def fill_in(self, slots: Span, nonce: int) -> int:
        """Put a task's slots of the past on record, to be run; return how many there are.

        Those that have run, or wait to, are left out.
        """
        with self._writing() as connection:
            return fill_in(connection, self.tables, slots, nonce)

    def say(self, word: Word) -> list[Word]:
        """Put on record that tasks are paused or resumed; return what was so before."""
        row = {
            "moment": word.moment,
            "pauses": int(word.pauses),
            "pattern": word.pattern,
            "until": word.until,
            "reason": word.reason and storable(word.reason),
        }
        with self._writing() as connection:
            before = all_words(connection, self.tables)
            connection.execute(insert(self.tables.words), row)
        return before

    def prune(self, before: datetime, limit: int) -> int:
        """Forget up to ``limit`` runs, and as many ticks, from before a moment; return how many.

        A short transaction, so that nobody has to wait for it: to forget everything that is older,
        call it until nothing is left.
        """
        with self._writing() as connection:
            return prune(connection, self.tables, before, limit)

    # What people ask.

    def run(self, run_id: str) -> Run | None:
        """Return the run with all that is known of it; None for what is no id of one."""
        if not _is(ID, run_id):  # which some databases would rather not compare
            return None
        found = self._select(self._query().where(self.tables.runs.c.id == run_id))
        return found[0] if found else None

    def history(
        self,
        task: str | None = None,
        states: Collection[RunState] | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Return the newest runs, newest first."""
        if task is not None and not _is(NAME, task):
            return []
        runs = self.tables.runs
        state: ColumnElement[str] = runs.c.state
        query = self._query().order_by(runs.c.id.desc()).limit(limit)
        if task is not None:
            query = query.where(runs.c.task == task)
            state = state_of_one(self.tables)
        if states is not None:
            query = query.where(state.in_([each.value for each in states]))
        return self._select(query)

    def going_on(self, task: str) -> list[Run]:
        """Return the runs of a task that are not over, newest first."""
        with self._reading() as connection:
            active = going_on(connection, self.tables)
        return [each.run for each in reversed(active) if each.run.task == task]

    def durations(self, task: str, limit: int) -> list[float]:
        """Return the seconds that the task's newest successes took."""
        succeeded = self.history(task, (RunState.SUCCEEDED,), limit)
        return [run.duration for run in succeeded if run.duration is not None]

    def words(self) -> list[Word]:
        """Return who was paused and resumed, oldest first."""
        with self._reading() as connection:
            return all_words(connection, self.tables)

    def waiting(self, task: str | None = None) -> int:
        """Return how many slots wait for a later tick, of one task or of all."""
        waiting = self.tables.waiting
        query = select(func.count()).select_from(waiting)
        if task is not None:
            query = query.where(waiting.c.task == task)
        with self._reading() as connection:
            return int(connection.scalar(query) or 0)

    def _query(self) -> Select[Any]:
        runs, outputs = self.tables.runs, self.tables.outputs
        joined = runs.outerjoin(outputs, runs.c.id == outputs.c.run)
        kept = outputs.c.text.label("logged"), outputs.c.stdout, outputs.c.stderr
        return select(runs, *kept).select_from(joined)

    def _select(self, query: Select[Any]) -> list[Run]:
        with self._reading() as connection:
            return [to_run(row) for row in connection.execute(query)]


def _is(kind: re.Pattern[str], text: Any) -> bool:
    return isinstance(text, str) and kind.fullmatch(text) is not None


@once_per_store
def _signs(tables: Tables) -> Select[Any]:
    """Return what tells whether there is something to do beside what is due."""
    waiting, runs, rosters = tables.waiting, tables.runs, tables.rosters
    ripe = select(waiting.c.task).where(waiting.c.not_before <= bindparam("now"))
    expired = select(runs.c.id).where(runs.c.lease < bindparam("now"))
    busy = select((ripe.exists() | expired.exists()).label("busy")).subquery()
    columns = busy.c.busy, rosters.c.id, rosters.c.last_tick
    return select(*columns).select_from(busy.outerjoin(rosters, true()))


@once_per_store
def _turn(tables: Tables) -> Select[Any]:
    """Return what waits until nobody else writes."""
    meta = tables.meta
    return select(meta.c.value).where(meta.c.name == "schema").with_for_update()


@once_per_store
def _cancelled(tables: Tables) -> Select[Any]:
    """Return what finds the runs of an owner whose end somebody asked for."""
    runs = tables.runs
    going_on = runs.c.lease.is_not(None)
    return select(runs.c.id).where(going_on, runs.c.cancel == 1, runs.c.owner == bindparam("owner"))
