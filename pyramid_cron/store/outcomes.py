"""Writing what became of runs and ticks."""

from __future__ import annotations

import glob
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    insert,
    null,
    select,
    update,
)

from ..due.facts import Pending
from ..due.pauses import matcher
from ..run import Run, RunState, changed, first_id
from .dialects import insertion
from .rows import insert_new, outcome_row, output_rows, pending_row, run_row, state_of_one
from .tables import MYSQL, Tables, once_per_store
from .totals import count_runs, count_ticks

SKEW = timedelta(minutes=1)
"""How much the clocks of hosts may differ."""

PIECE = 1000
"""How many ids are put into one statement; databases take some ten thousand."""

CHANGING = ("state", "reason", "started", "finished", "error", "traceback", "progress")


@dataclass(frozen=True, slots=True)
class Tick:
    """One hit on the trigger: when (aware, UTC), who answered it, and how many runs it made.

    ``doubtful`` is whether it may be on record already: to write it was tried, without an answer.
    """

    id: str
    moment: datetime
    roster: str
    host: str
    pid: int
    runs: int = 0
    skipped: int = 0
    doubtful: bool = False


class Outcome(NamedTuple):
    """What became of a run, and what comes of that.

    ``then`` is what is to run later on; ``pause_after`` is set where the run is one failure more,
    to how many of them in a row pause the task. ``attempts`` is how many a slot has.
    """

    run: Run
    then: Sequence[Pending] = ()
    pause_after: int | None = None
    attempts: int = 1


class Paused(NamedTuple):
    """A task that is paused because it kept failing, and the reason as it is on record."""

    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Something that is to run once; of those with the same task and ``key`` the first counts."""

    pending: Pending
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """What is to be written together.

    That is outcomes, ticks with the names of their rosters, and what was deferred.
    """

    outcomes: Sequence[Outcome] = ()
    ticks: Sequence[tuple[Tick, Collection[str]]] = ()
    deferred: Sequence[Deferred] = ()

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.ticks or self.deferred)


def write(connection: Connection, tables: Tables, owner: str, noted: Noted) -> list[Paused]:
    """Write what became of runs that this owner still holds, and what ticked."""
    write_ticks(connection, tables, noted.ticks)
    for each in noted.deferred:
        defer(connection, tables, each)
    return write_outcomes(connection, tables, owner, noted.outcomes)


def write_ticks(
    connection: Connection, tables: Tables, ticks: Sequence[tuple[Tick, Collection[str]]]
) -> None:
    """Write ticks, and that the rosters of these names have ticked."""
    latest: dict[str, tuple[Tick, Collection[str]]] = {}
    for tick, names in ticks:
        known = latest.get(tick.roster)
        if known is None or _counts(tick.moment, known[0].moment):
            latest[tick.roster] = tick, names
    for tick, names in latest.values():
        call_roll(connection, tables, tick, names)
    rows = [
        {
            "id": tick.id,
            "moment": tick.moment,
            "roster": tick.roster,
            "host": tick.host,
            "pid": tick.pid,
            "runs": tick.runs,
            "skipped": tick.skipped,
        }
        for tick, _ in ticks
    ]
    counted = _on_record(connection, tables, [tick.id for tick, _ in ticks if tick.doubtful])
    insert_new(connection, tables.ticks, rows)
    count_ticks(connection, tables, len(rows) - counted)


def _on_record(connection: Connection, tables: Tables, ids: Sequence[str]) -> int:
    """Return how many of these ticks are on record."""
    column = tables.ticks.c.id
    return len(connection.scalars(select(column).where(column.in_(ids))).all()) if ids else 0


def call_roll(
    connection: Connection, tables: Tables, tick: Tick, names: Collection[str]
) -> datetime | None:
    """Note that the roster of these names has ticked; return when it last did.

    Its last tick goes back only after a clock was wrong by more than hosts usually differ. None is
    returned then, or if there was none.
    """
    rosters = tables.rosters
    found = connection.scalar(_last_tick(tables), {"roster": tick.roster})
    if found is None:
        row = {"id": tick.roster, "tasks": json.dumps(list(names)), "last_tick": tick.moment}
        insert_new(connection, rosters, [row])
    elif _counts(tick.moment, found):
        connection.execute(_ticked(tables), {"roster": tick.roster, "moment": tick.moment})
    return None if found is None or found - tick.moment > SKEW else found


@once_per_store
def _last_tick(tables: Tables) -> Select[Any]:
    rosters = tables.rosters
    return select(rosters.c.last_tick).where(rosters.c.id == bindparam("roster"))


@once_per_store
def _ticked(tables: Tables) -> Update:
    rosters = tables.rosters
    mine = update(rosters).where(rosters.c.id == bindparam("roster"))
    return mine.values(last_tick=bindparam("moment"))


def _counts(moment: datetime, known: datetime) -> bool:
    """Return whether a tick's moment takes the place of the one that is known as the last."""
    return moment > known or known - moment > SKEW


def write_outcomes(
    connection: Connection, tables: Tables, owner: str, outcomes: Sequence[Outcome]
) -> list[Paused]:
    """Write outcomes of runs that this owner still holds; others are told by who took them over."""
    if not outcomes:
        return []
    held = _held(connection, tables, owner)
    ours = [each for each in outcomes if each.run.id in held]
    over = [each for each in ours if each.run.state.final]
    changing = [each.run for each in ours if not each.run.state.final]
    _update(connection, tables.runs, changing)
    _update(connection, tables.runs, [each.run for each in over], is_over=True)
    insert_new(connection, tables.outputs, output_rows(each.run for each in over))
    return after(connection, tables, over)


def defer(connection: Connection, tables: Tables, deferred: Deferred) -> None:
    """Put on record what is to run once, unless its key is known already."""
    pending, keys = deferred.pending, tables.keys
    if deferred.key is not None:
        known = select(keys.c.key).where(keys.c.task == pending.task, keys.c.key == deferred.key)
        if connection.scalar(known) is not None:
            return
        row = {"task": pending.task, "key": deferred.key, "moment": pending.slot}
        insert_new(connection, keys, [row])
    insert_new(connection, tables.waiting, [pending_row(pending)])


def renew(
    connection: Connection, tables: Tables, owner: str, ids: Collection[str], lease: datetime
) -> set[str]:
    """Renew the leases of runs; return the ids of those that this owner still holds."""
    if not ids:
        return set()
    column = tables.runs.c.id
    held = _held(connection, tables, owner).intersection(ids)
    rest = sorted(held)
    while rest:
        piece, rest = rest[:PIECE], rest[PIECE:]
        connection.execute(update(tables.runs).where(column.in_(piece)).values(lease=lease))
    return held


def _held(connection: Connection, tables: Tables, owner: str) -> set[str]:
    """Return the ids of the runs that an owner has claimed and that are not over."""
    return set(connection.scalars(_held_by(tables), {"owner": owner}))


@once_per_store
def _held_by(tables: Tables) -> Select[Any]:
    runs = tables.runs
    return select(runs.c.id).where(runs.c.lease.is_not(None), runs.c.owner == bindparam("owner"))


def after(connection: Connection, tables: Tables, outcomes: Sequence[Outcome]) -> list[Paused]:
    """Put on record what comes of outcomes; return the tasks that are paused for them."""
    count_runs(connection, tables, [each.run for each in outcomes])
    then = [pending_row(pending) for each in outcomes for pending in each.then]
    insert_new(connection, tables.waiting, then)
    failing = [each for each in outcomes if each.pause_after is not None]
    paused = [_pause_failing(connection, tables, each) for each in failing]
    return [each for each in paused if each is not None]


def _update(
    connection: Connection, table: Table, runs: Sequence[Run], *, is_over: bool = False
) -> None:
    if not runs:
        return
    if connection.dialect.name in MYSQL:
        # The row is there, and so is what it was claimed with.
        claimed = [changed(run, payload=None) for run in runs]
        rows = [{**run_row(run, "", None), **outcome_row(run)} for run in claimed]
        connection.execute(_overwriting(table, is_over), rows)
    else:
        rows = [{"run_id": run.id, **outcome_row(run)} for run in runs]
        connection.execute(_updating(table, is_over), rows)


@once_per_store
def _updating(table: Table, is_over: bool) -> Update:
    values: dict[str, Any] = {name: bindparam(name) for name in CHANGING}
    values |= {"lease": null()} if is_over else {}
    return update(table).where(table.c.id == bindparam("run_id")).values(values)


@once_per_store
def _overwriting(table: Table, is_over: bool) -> Insert:
    """Return what changes rows that are known to be there.

    The driver sends many inserts at once, but waits for the answer to each update.
    """
    statement = insertion("mysql", table)
    values: dict[str, Any] = {name: statement.inserted[name] for name in CHANGING}
    values |= {"lease": null()} if is_over else {}
    overwriting: Insert = statement.on_duplicate_key_update(values)
    return overwriting


def _pause_failing(connection: Connection, tables: Tables, outcome: Outcome) -> Paused | None:
    """Pause the run's task if, since it was last resumed, so many slots failed and none succeeded.

    What has attempts left has not failed yet.
    """
    run, limit = outcome.run, outcome.pause_after
    runs, state = tables.runs, state_of_one(tables)
    mine = runs.c.task == run.task
    since = _last_word(connection, tables, run.task)
    good = select(runs.c.id).where(mine, state == RunState.SUCCEEDED.value, runs.c.id > since)
    since = connection.scalar(good.order_by(runs.c.id.desc()).limit(1)) or since
    failures = [each.value for each in RunState if each.failure]
    for_good = (state.in_(failures), runs.c.attempt >= outcome.attempts, runs.c.id > since)
    slots = select(runs.c.slot, runs.c.nonce).where(mine, *for_good)
    failed = connection.execute(slots.distinct().limit(limit)).all()
    if len(failed) != limit:
        return None
    paused = Paused(run.task, f"{limit} failures in a row")
    word = {
        "moment": run.finished,
        "pauses": 1,
        "pattern": glob.escape(run.task),
        "until": None,
        "reason": paused.reason,
    }
    connection.execute(insert(tables.words), word)
    return paused


def _last_word(connection: Connection, tables: Tables, task: str) -> str:
    """Return what sorts before the runs claimed since the task was last paused or resumed."""
    words = tables.words
    spoken = connection.execute(select(words.c.moment, words.c.pattern).order_by(words.c.id))
    moments = [row.moment for row in spoken if matcher(row.pattern)(task)]
    return first_id(moments[-1]) if moments else ""
