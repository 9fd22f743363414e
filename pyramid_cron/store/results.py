"""Writing how runs ended, and what follows from that."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
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

from ..planning.pauses import PauseRule, name_matcher
from ..planning.snapshot import WaitingRun
from ..run import Run, RunState, evolve, first_id
from .rows import (
    make_outcome_row,
    make_output_rows,
    make_pause_rule_row,
    make_run_row,
    make_waiting_row,
    select_pause_rules,
    state_by_task_index,
)
from .run_stats import count_runs
from .schema import MYSQL_DIALECTS, Tables, once_per_store
from .session import Session, batched, insert_new, upsert
from .ticks import TickRecord, write_ticks

RUN_UPDATE_COLUMNS = ("state", "reason", "started", "finished", "error", "traceback", "progress")


class Outcome(NamedTuple):
    """The new state of a run, and what follows from it."""

    run: Run
    #: Runs that wait from now on, such as the next attempt.
    followups: Sequence[WaitingRun] = ()
    #: Consecutive failures that pause the task; None unless this run failed.
    pause_after_failures: int | None = None
    #: How many attempts a slot has.
    max_attempts: int = 1


class FailurePause(NamedTuple):
    """A task that was paused because it kept failing, and the reason on record."""

    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeferredRun:
    """A waiting run that was deferred."""

    waiting_run: WaitingRun
    #: Of the deferred runs of a task with the same key only the first counts.
    key: str | None = None


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """What is to be written together."""

    outcomes: Sequence[Outcome] = ()
    #: Each with the names in its task set.
    ticks: Sequence[tuple[TickRecord, Collection[str]]] = ()
    deferred_runs: Sequence[DeferredRun] = ()

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.ticks or self.deferred_runs)


def apply_batch(session: Session, batch: WriteBatch) -> list[FailurePause]:
    """Write a batch, but for runs that this process does not own any more.

    Returns the tasks that were paused because they kept failing.
    """
    write_ticks(session, batch.ticks)
    for deferred_run in batch.deferred_runs:
        insert_deferred_run(session, deferred_run)
    return _write_outcomes(session, batch.outcomes)


def insert_deferred_run(session: Session, deferred_run: DeferredRun) -> None:
    """Let a deferred run wait, unless its key is on record."""
    waiting_run, key = deferred_run.waiting_run, deferred_run.key
    if key is not None:
        dedup_keys = session.tables.dedup_keys
        is_same = (dedup_keys.c.task == waiting_run.task) & (dedup_keys.c.key == key)
        if session.connection.scalar(select(dedup_keys.c.key).where(is_same)) is not None:
            return
        row = {"task": waiting_run.task, "key": key, "moment": waiting_run.slot}
        insert_new(session, dedup_keys, [row])
    insert_new(session, session.tables.waiting, [make_waiting_row(waiting_run)])


def extend_leases(session: Session, run_ids: Collection[str], lease_until: datetime) -> set[str]:
    """Renew the leases of runs; return the ids of those that this process still owns."""
    if not run_ids:
        return set()
    runs = session.tables.runs
    owned = _select_owned_ids(session).intersection(run_ids)
    for ids in batched(owned):
        session.connection.execute(update(runs).where(runs.c.id.in_(ids)).values(lease=lease_until))
    return owned


def _write_outcomes(session: Session, outcomes: Sequence[Outcome]) -> list[FailurePause]:
    """Write the outcomes of runs that this process owns; another owner writes its own."""
    if not outcomes:
        return []
    owned = _select_owned_ids(session)
    own_outcomes = [outcome for outcome in outcomes if outcome.run.id in owned]
    ended = [outcome for outcome in own_outcomes if outcome.run.state.is_final]
    running = [outcome.run for outcome in own_outcomes if not outcome.run.state.is_final]
    _update_runs(session, running)
    _update_runs(session, [outcome.run for outcome in ended], is_over=True)
    output_rows = make_output_rows(outcome.run for outcome in ended)
    insert_new(session, session.tables.run_outputs, output_rows)
    return write_followups(session, ended)


def _select_owned_ids(session: Session) -> set[str]:
    """Return the ids of the active runs of this process."""
    parameters = {"owner": session.owner.token}
    return set(session.connection.scalars(_owned_ids_query(session.tables), parameters))


@once_per_store
def _owned_ids_query(tables: Tables) -> Select[Any]:
    runs = tables.runs
    return select(runs.c.id).where(runs.c.lease.is_not(None), runs.c.owner == bindparam("owner"))


def _update_runs(session: Session, runs: Sequence[Run], *, is_over: bool = False) -> None:
    if not runs:
        return
    table, connection = session.tables.runs, session.connection
    if connection.dialect.name in MYSQL_DIALECTS:
        # The row exists, and keeps the payload that it was claimed with.
        claims = [make_run_row(evolve(run, payload=None), session.owner, None) for run in runs]
        rows = [claim | make_outcome_row(run) for claim, run in zip(claims, runs, strict=True)]
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
    """Return an insert that changes existing rows.

    The driver sends many inserts at once, but waits for the answer to each update.
    """
    statement = upsert("mysql", table)
    values: dict[str, Any] = {name: statement.inserted[name] for name in RUN_UPDATE_COLUMNS}
    values |= {"lease": null()} if is_over else {}
    overwrite: Insert = statement.on_duplicate_key_update(values)
    return overwrite


def end_run(session: Session, run: Run) -> None:
    """Write that a run of any owner is over, whose process did not write that."""
    runs = session.tables.runs
    values = {"state": str(run.state), "finished": run.finished, "error": run.error, "lease": None}
    session.connection.execute(update(runs).where(runs.c.id == run.id).values(values))


def write_followups(session: Session, outcomes: Sequence[Outcome]) -> list[FailurePause]:
    """Count runs that are over, let their follow-ups wait, pause tasks that keep failing.

    Returns the tasks that were paused.
    """
    count_runs(session, [outcome.run for outcome in outcomes])
    followups = [followup for outcome in outcomes for followup in outcome.followups]
    insert_new(session, session.tables.waiting, [make_waiting_row(run) for run in followups])
    pauses = [
        _pause_if_failing(session, outcome.run, outcome.pause_after_failures, outcome.max_attempts)
        for outcome in outcomes
        if outcome.pause_after_failures is not None
    ]
    return [pause for pause in pauses if pause is not None]


def _pause_if_failing(
    session: Session, run: Run, limit: int, max_attempts: int
) -> FailurePause | None:
    """Pause the run's task if its last ``limit`` slots failed.

    Slots count since the task's last success, pause or resume. One with attempts left has not
    failed yet.
    """
    runs, state = session.tables.runs, state_by_task_index(session.tables)
    failures = [state.value for state in RunState if state.is_failure]
    slots = select(runs.c.slot, runs.c.nonce).where(
        runs.c.task == run.task,
        state.in_(failures),
        runs.c.attempt >= max_attempts,
        runs.c.id > _last_success_or_rule(session, run.task, state),
    )
    if len(session.connection.execute(slots.distinct().limit(limit)).all()) != limit:
        return None
    pause = FailurePause(run.task, f"{limit} failures in a row")
    assert run.finished is not None
    rule = PauseRule(run.finished, True, glob.escape(run.task), None, pause.reason)
    session.connection.execute(insert(session.tables.pause_rules), make_pause_rule_row(rule))
    return pause


def _last_success_or_rule(session: Session, task: str, state: ColumnElement[str]) -> str:
    """Return an id: of the last success, or before the first run since a pause or resume."""
    runs = session.tables.runs
    rules = [rule for rule in select_pause_rules(session) if name_matcher(rule.pattern)(task)]
    since = first_id(rules[-1].since) if rules else ""
    successes = select(runs.c.id).where(
        runs.c.task == task, state == RunState.SUCCEEDED.value, runs.c.id > since
    )
    newest_success = successes.order_by(runs.c.id.desc()).limit(1)
    return session.connection.scalar(newest_success) or since
