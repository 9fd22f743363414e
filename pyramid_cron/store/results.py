"""Writing what became of runs and ticks."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
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

from ..planning.pauses import name_matcher
from ..planning.snapshot import WaitingRun
from ..run import Run, RunState, evolve, first_id
from .rows import (
    make_outcome_row,
    make_output_rows,
    make_run_row,
    make_waiting_row,
    state_by_task_index,
)
from .run_stats import count_runs
from .schema import MYSQL_DIALECTS, Tables, once_per_store
from .session import IDS_PER_STATEMENT, insert_new, upsert
from .ticks import TickRecord, write_ticks

RUN_UPDATE_COLUMNS = ("state", "reason", "started", "finished", "error", "traceback", "progress")


class Outcome(NamedTuple):
    """What became of a run, and what comes of that.

    ``then`` is what is to run later on; ``pause_after`` is set where the run is one failure more,
    to how many of them in a row pause the task. ``attempts`` is how many a slot has.
    """

    run: Run
    followups: Sequence[WaitingRun] = ()
    pause_after_failures: int | None = None
    max_attempts: int = 1


class FailurePause(NamedTuple):
    """A task that is paused because it kept failing, and the reason as it is on record."""

    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeferredRun:
    """Something that is to run once; of those with the same task and ``key`` the first counts."""

    waiting_run: WaitingRun
    key: str | None = None


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """What is to be written together.

    That is outcomes, ticks with the names of their rosters, and what was deferred.
    """

    outcomes: Sequence[Outcome] = ()
    ticks: Sequence[tuple[TickRecord, Collection[str]]] = ()
    deferred_runs: Sequence[DeferredRun] = ()

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.ticks or self.deferred_runs)


def apply_batch(
    connection: Connection, tables: Tables, owner_token: str, batch: WriteBatch
) -> list[FailurePause]:
    """Write what became of runs that this owner still holds, and what ticked."""
    write_ticks(connection, tables, batch.ticks)
    for each in batch.deferred_runs:
        insert_deferred_run(connection, tables, each)
    return write_outcomes(connection, tables, owner_token, batch.outcomes)


def write_outcomes(
    connection: Connection, tables: Tables, owner_token: str, outcomes: Sequence[Outcome]
) -> list[FailurePause]:
    """Write outcomes of runs that this owner still holds; others are told by who took them over."""
    if not outcomes:
        return []
    held = _select_owned_ids(connection, tables, owner_token)
    ours = [each for each in outcomes if each.run.id in held]
    over = [each for each in ours if each.run.state.is_final]
    changing = [each.run for each in ours if not each.run.state.is_final]
    _update_runs(connection, tables.runs, changing)
    _update_runs(connection, tables.runs, [each.run for each in over], is_over=True)
    insert_new(connection, tables.run_outputs, make_output_rows(each.run for each in over))
    return write_followups(connection, tables, over)


def insert_deferred_run(connection: Connection, tables: Tables, deferred_run: DeferredRun) -> None:
    """Put on record what is to run once, unless its key is known already."""
    pending, dedup_keys = deferred_run.waiting_run, tables.dedup_keys
    if deferred_run.key is not None:
        known = select(dedup_keys.c.key).where(
            dedup_keys.c.task == pending.task, dedup_keys.c.key == deferred_run.key
        )
        if connection.scalar(known) is not None:
            return
        row = {"task": pending.task, "key": deferred_run.key, "moment": pending.slot}
        insert_new(connection, dedup_keys, [row])
    insert_new(connection, tables.waiting, [make_waiting_row(pending)])


def extend_leases(
    connection: Connection,
    tables: Tables,
    owner_token: str,
    run_ids: Collection[str],
    lease_until: datetime,
) -> set[str]:
    """Renew the leases of runs; return the ids of those that this owner still holds."""
    if not run_ids:
        return set()
    column = tables.runs.c.id
    held = _select_owned_ids(connection, tables, owner_token).intersection(run_ids)
    rest = sorted(held)
    while rest:
        piece, rest = rest[:IDS_PER_STATEMENT], rest[IDS_PER_STATEMENT:]
        connection.execute(update(tables.runs).where(column.in_(piece)).values(lease=lease_until))
    return held


def _select_owned_ids(connection: Connection, tables: Tables, owner_token: str) -> set[str]:
    """Return the ids of the runs that an owner has claimed and that are not over."""
    return set(connection.scalars(_owned_ids_query(tables), {"owner": owner_token}))


@once_per_store
def _owned_ids_query(tables: Tables) -> Select[Any]:
    runs = tables.runs
    return select(runs.c.id).where(runs.c.lease.is_not(None), runs.c.owner == bindparam("owner"))


def write_followups(
    connection: Connection, tables: Tables, outcomes: Sequence[Outcome]
) -> list[FailurePause]:
    """Put on record what comes of outcomes; return the tasks that are paused for them."""
    count_runs(connection, tables, [each.run for each in outcomes])
    then = [make_waiting_row(pending) for each in outcomes for pending in each.followups]
    insert_new(connection, tables.waiting, then)
    failing = [each for each in outcomes if each.pause_after_failures is not None]
    paused = [_pause_if_failing(connection, tables, each) for each in failing]
    return [each for each in paused if each is not None]


def _update_runs(
    connection: Connection, table: Table, runs: Sequence[Run], *, is_over: bool = False
) -> None:
    if not runs:
        return
    if connection.dialect.name in MYSQL_DIALECTS:
        # The row is there, and so is what it was claimed with.
        claimed = [evolve(run, payload=None) for run in runs]
        rows = [{**make_run_row(run, "", None), **make_outcome_row(run)} for run in claimed]
        connection.execute(_make_run_overwrite(table, is_over), rows)
    else:
        rows = [{"run_id": run.id, **make_outcome_row(run)} for run in runs]
        connection.execute(_make_run_update(table, is_over), rows)


@once_per_store
def _make_run_update(table: Table, is_over: bool) -> Update:
    values: dict[str, Any] = {name: bindparam(name) for name in RUN_UPDATE_COLUMNS}
    values |= {"lease": null()} if is_over else {}
    return update(table).where(table.c.id == bindparam("run_id")).values(values)


@once_per_store
def _make_run_overwrite(table: Table, is_over: bool) -> Insert:
    """Return what changes rows that are known to be there.

    The driver sends many inserts at once, but waits for the answer to each update.
    """
    statement = upsert("mysql", table)
    values: dict[str, Any] = {name: statement.inserted[name] for name in RUN_UPDATE_COLUMNS}
    values |= {"lease": null()} if is_over else {}
    overwriting: Insert = statement.on_duplicate_key_update(values)
    return overwriting


def _pause_if_failing(
    connection: Connection, tables: Tables, outcome: Outcome
) -> FailurePause | None:
    """Pause the run's task if, since it was last resumed, so many slots failed and none succeeded.

    What has attempts left has not failed yet.
    """
    run, limit = outcome.run, outcome.pause_after_failures
    runs, state = tables.runs, state_by_task_index(tables)
    mine = runs.c.task == run.task
    since = _first_id_after_pause_rule(connection, tables, run.task)
    good = select(runs.c.id).where(mine, state == RunState.SUCCEEDED.value, runs.c.id > since)
    since = connection.scalar(good.order_by(runs.c.id.desc()).limit(1)) or since
    failures = [each.value for each in RunState if each.is_failure]
    for_good = (state.in_(failures), runs.c.attempt >= outcome.max_attempts, runs.c.id > since)
    slots = select(runs.c.slot, runs.c.nonce).where(mine, *for_good)
    failed = connection.execute(slots.distinct().limit(limit)).all()
    if len(failed) != limit:
        return None
    paused = FailurePause(run.task, f"{limit} failures in a row")
    word = {
        "moment": run.finished,
        "pauses": 1,
        "pattern": glob.escape(run.task),
        "until": None,
        "reason": paused.reason,
    }
    connection.execute(insert(tables.pause_rules), word)
    return paused


def _first_id_after_pause_rule(connection: Connection, tables: Tables, task: str) -> str:
    """Return what sorts before the runs claimed since the task was last paused or resumed."""
    pause_rules = tables.pause_rules
    spoken = connection.execute(
        select(pause_rules.c.moment, pause_rules.c.pattern).order_by(pause_rules.c.id)
    )
    moments = [row.moment for row in spoken if name_matcher(row.pattern)(task)]
    return first_id(moments[-1]) if moments else ""
