"""Writing how runs ended, and what follows from that."""

from __future__ import annotations

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
    delete,
    func,
    insert,
    null,
    select,
    update,
)

from ..action_record import PAUSE_AFTER_ACTOR, ActionKind, ActionRecord, make_action
from ..planning.snapshot import PauseRule, WaitingRun, exact_pattern, matches_any
from ..run import Run, RunState, Trigger, evolve, make_schedule_origin
from ..run_transitions import cancelled
from ..schedule.zones import EPOCH
from .action_log import record_action
from .ends import Claim, delete_ends, end_of, read_ends, take_end
from .rows import (
    NO_OWNER,
    Session,
    batched,
    insert_new,
    make_outcome_row,
    make_output_rows,
    make_pause_rule_row,
    make_run_row,
    make_waiting_rows,
    select_pause_rules,
    state_by_task_index,
    to_run,
    upsert,
)
from .run_stats import count_runs
from .schema import MYSQL_DIALECTS, Tables, Values, once_per_store
from .stored_schedules import ScheduleChange, put_change
from .ticks import TickRecord, write_ticks

RUN_UPDATE_COLUMNS = (
    "state",
    "reason",
    "started",
    "finished",
    "error",
    "traceback",
    "exit_status",
    "progress",
)


class Outcome(NamedTuple):
    """The new state of a run, and what follows from it."""

    run: Run
    #: Runs that wait from now on, such as the next attempt.
    followups: Sequence[WaitingRun] = ()
    #: Consecutive failures that pause the task; None unless this run failed.
    pause_after_failures: int | None = None
    #: Whether its end was inserted in the task's own transaction, which is committed.
    has_end: bool = False
    #: Whether the task may still commit its transaction, and with it another end.
    is_contested: bool = False
    #: The command line of its task; None if that is a function.
    command: str | None = None


class FailurePause(NamedTuple):
    """A task or stored schedule that was paused as it kept failing, and the reason on record."""

    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeferredRun:
    """A waiting run that was deferred."""

    waiting_run: WaitingRun
    #: Whether it takes the place of one that waits with the same key.
    replaces: bool = False
    #: Is put on record with it.
    action: ActionRecord | None = None


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """What is to be written together."""

    outcomes: Sequence[Outcome] = ()
    #: Each with the names in its task set.
    ticks: Sequence[tuple[TickRecord, Collection[str]]] = ()
    deferred_runs: Sequence[DeferredRun] = ()
    schedule_changes: Sequence[ScheduleChange] = ()

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.ticks or self.deferred_runs or self.schedule_changes)


def apply_batch(session: Session, batch: WriteBatch) -> list[FailurePause]:
    """Write a batch, but for runs that this process does not own any more.

    Returns the tasks that were paused because they kept failing.
    """
    write_ticks(session, batch.ticks)
    for deferred_run in batch.deferred_runs:
        insert_deferred_run(session, deferred_run)
    for change in batch.schedule_changes:
        write_schedule_change(session, change)
    return _write_outcomes(session, batch.outcomes)


def insert_deferred_run(session: Session, deferred_run: DeferredRun) -> bool:
    """Let a deferred run wait, unless its key is on record; return whether it has moved that."""
    waiting_run, runs = deferred_run.waiting_run, session.tables.runs
    record_action(session, deferred_run.action)
    [row] = make_waiting_rows([waiting_run])
    if deferred_run.replaces:
        is_same = (runs.c.dedup_key == waiting_run.key) & (runs.c.task == waiting_run.task)
        run_id = session.connection.scalar(select(runs.c.id).where(is_same))
        moved = {name: row[name] for name in ("slot", "not_before", "payload")}
        # By the id alone: by another index MariaDB would lock what is beside it, until the commit.
        is_waiting = state_by_task_index(session.tables) == RunState.WAITING.value
        statement = update(runs).where(runs.c.id == run_id, is_waiting)
        if session.connection.execute(statement.values(moved)).rowcount:
            return True
    insert_new(session, runs, [row])
    return False


def write_schedule_change(session: Session, change: ScheduleChange) -> None:
    """Write a stored schedule as it is from now on, and end what waits for what it was."""
    put_change(session, change)
    record_action(session, change.action)
    runs, schedule = session.tables.runs, change.schedule
    origin = make_schedule_origin(schedule.name)
    is_waiting = runs.c.not_before.is_not(None) & (runs.c.origin == origin)
    # The next run of one with fixed delay. Its slot may be one of the new schedule, too.
    is_next = (runs.c.trigger == Trigger.SCHEDULE.value) & (runs.c.not_before > schedule.changed)
    # By their ids alone, too.
    next_ids = session.connection.scalars(select(runs.c.id).where(is_waiting, is_next)).all()
    is_still_waiting = state_by_task_index(session.tables) == RunState.WAITING.value
    for ids in batched(next_ids):
        session.connection.execute(delete(runs).where(runs.c.id.in_(ids), is_still_waiting))
    if not change.is_off:
        return
    rows = session.connection.execute(select(runs).where(is_waiting)).all()
    cause = "its schedule was removed" if change.is_removed else "its schedule was disabled"
    ended = [cancelled(to_run(row), schedule.changed, cause) for row in rows]
    for run in ended:
        end_run(session, run)
    count_runs(session, ended)


def extend_leases(session: Session, run_ids: Collection[str], lease_until: datetime) -> set[str]:
    """Renew the leases of runs; return the ids of those that this process still owns."""
    if not run_ids:
        return set()
    runs = session.tables.runs
    owned = _select_owned_ids(session).intersection(run_ids)
    for ids in batched(owned):
        session.connection.execute(
            update(runs).where(runs.c.id.in_(ids)).values(lease_until=lease_until)
        )
    return owned


def _write_outcomes(session: Session, outcomes: Sequence[Outcome]) -> list[FailurePause]:
    """Write the outcomes of runs that this process owns; another owner writes its own."""
    if not outcomes:
        return []
    owned = _select_owned_ids(session)
    own_outcomes = [
        outcome
        for outcome in outcomes
        # One whose task may have won is left as it is, until its lease has passed.
        if outcome.run.id in owned and (not outcome.is_contested or _wins(session, outcome.run))
    ]
    ended = [outcome for outcome in own_outcomes if outcome.run.state.is_final]
    active = [outcome.run for outcome in own_outcomes if outcome.run.state.is_active]
    waiting = [outcome.run for outcome in own_outcomes if outcome.run.state is RunState.WAITING]
    _update_runs(session, active)
    release_claims(session, waiting)
    _update_runs(session, [outcome.run for outcome in ended], is_over=True)
    write_outputs(session, make_output_rows(outcome.run for outcome in ended))
    delete_ends(session, [outcome.run.id for outcome in ended if outcome.has_end])
    return write_followups(session, ended)


def _wins(session: Session, run: Run) -> bool:
    """Return whether a run ends like this, and not as its task's transaction may say."""
    claim = take_end(session, end_of(run))
    if claim is not Claim.DUPLICATE:
        return claim is Claim.TAKEN
    # This process may have taken it before, and not have heard so.
    return read_ends(session, [run.id])[run.id].state is run.state


def _select_owned_ids(session: Session) -> set[str]:
    """Return the ids of the active runs of this process."""
    parameters = {"owner": session.owner.token}
    return set(session.connection.scalars(_owned_ids_query(session.tables), parameters))


@once_per_store
def _owned_ids_query(tables: Tables) -> Select[Any]:
    runs = tables.runs
    return select(runs.c.id).where(
        runs.c.lease_until.is_not(None), runs.c.owner == bindparam("owner")
    )


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
    values |= {"lease_until": null()} if is_over else {}
    return update(table).where(table.c.id == bindparam("run_id")).values(values)


@once_per_store
def _make_run_overwrite(table: Table, is_over: bool) -> Insert:
    """Return an insert that changes existing rows.

    The driver sends many inserts at once, but waits for the answer to each update.
    """
    statement = upsert("mysql", table)
    values: dict[str, Any] = {name: statement.inserted[name] for name in RUN_UPDATE_COLUMNS}
    values |= {"lease_until": null()} if is_over else {}
    overwrite: Insert = statement.on_duplicate_key_update(values)
    return overwrite


def write_live_outputs(session: Session, rows: Sequence[Values]) -> None:
    """Write what runs have logged and written so far, but for runs that are over.

    The same transaction that ends a run writes the whole of it, and gives up its lease.
    """
    owned = _select_owned_ids(session)
    write_outputs(session, [row for row in rows if row["run_id"] in owned])


def write_outputs(session: Session, rows: list[Values]) -> None:
    """Write what runs logged and their programs wrote; texts on record that a row lacks stay."""
    if rows:
        dialect = session.connection.dialect.name
        session.connection.execute(_make_output_upsert(dialect, session.tables.run_outputs), rows)


@once_per_store
def _make_output_upsert(dialect: str, table: Table) -> Insert:
    statement = upsert(dialect, table)
    is_mysql = dialect in MYSQL_DIALECTS
    new = statement.inserted if is_mysql else statement.excluded
    values = {
        column.name: func.coalesce(new[column.name], column)
        for column in table.c
        if not column.primary_key
    }
    output_upsert: Insert = (
        statement.on_duplicate_key_update(values)
        if is_mysql
        else statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)
    )
    return output_upsert


def release_claims(session: Session, runs: Sequence[Run]) -> None:
    """Let claimed runs of this process wait again, as they are in the state ``waiting``."""
    table = session.tables.runs
    for run in runs:
        values = {
            "state": str(run.state),
            "reason": run.why and str(run.why),
            "not_before": run.not_before,
            "claimed": None,
            "host": run.host,
            "pid": run.pid,
            "owner": NO_OWNER,
            "lease_until": None,
            "weight": 0,
            "lock_name": None,
        }
        is_own_claim = (table.c.id == run.id) & (table.c.owner == session.owner.token)
        is_unstarted = table.c.state == RunState.CLAIMED.value
        session.connection.execute(update(table).where(is_own_claim, is_unstarted).values(values))


def end_run(session: Session, run: Run) -> None:
    """Write that a run of any owner is over, whose process did not write that."""
    end_runs(session, [run])


def end_runs(session: Session, runs: Sequence[Run]) -> None:
    """Write that runs of any owner are over, whose processes did not write that."""
    rows = [
        {
            "run_id": run.id,
            "state": str(run.state),
            "started": run.started,
            "finished": run.finished,
            "error": run.error,
            "claimed": run.claimed,
        }
        for run in runs
    ]
    if rows:
        session.connection.execute(_make_run_end(session.tables.runs), rows)


@once_per_store
def _make_run_end(table: Table) -> Update:
    values: dict[str, Any] = {
        name: bindparam(name) for name in ("state", "started", "finished", "error", "claimed")
    }
    values |= {"reason": null(), "lease_until": null(), "not_before": null()}
    return update(table).where(table.c.id == bindparam("run_id")).values(values)


def write_followups(session: Session, outcomes: Sequence[Outcome]) -> list[FailurePause]:
    """Count runs that are over, let their follow-ups wait, pause tasks that keep failing.

    Returns the tasks that were paused.
    """
    count_runs(session, [outcome.run for outcome in outcomes])
    followups = [followup for outcome in outcomes for followup in outcome.followups]
    insert_new(session, session.tables.runs, make_waiting_rows(followups))
    pauses = [
        _pause_if_failing(session, outcome.run, outcome.pause_after_failures, outcome.command)
        for outcome in outcomes
        if outcome.pause_after_failures is not None
    ]
    return [pause for pause in pauses if pause is not None]


def _pause_if_failing(
    session: Session, run: Run, limit: int, command: str | None
) -> FailurePause | None:
    """Pause the run's task, or its stored schedule, if its last ``limit`` slots failed.

    Slots count since the task's last success, pause or resume. One that another attempt follows has
    not failed yet.
    """
    runs, state = session.tables.runs, state_by_task_index(session.tables)
    failures = [state.value for state in RunState if state.is_failure]
    slots = select(runs.c.slot, runs.c.origin).where(
        _is_same_series(session, run),
        state.in_(failures),
        ~_has_next_attempt(runs),
        _is_after_last_success(session, run, state, command),
    )
    if len(session.connection.execute(slots.distinct().limit(limit)).all()) != limit:
        return None
    failure_text = "1 failure" if limit == 1 else f"{limit} failures in a row"
    pause = FailurePause(run.schedule or run.task, failure_text)
    assert run.finished is not None
    pattern = exact_pattern(pause.task)
    rule = PauseRule(run.finished, True, pattern, reason=pause.reason, is_give_up=True)
    session.connection.execute(insert(session.tables.pause_rules), make_pause_rule_row(rule))
    action = make_action(
        ActionKind.PAUSE,
        run.finished,
        PAUSE_AFTER_ACTOR,
        task=run.task,
        schedule=run.schedule,
        run=run.id,
        details={"reason": pause.reason},
    )
    record_action(session, action)
    return pause


def _has_next_attempt(runs: Table) -> ColumnElement[bool]:
    """Return the condition: another attempt at the run's slot is on record."""
    attempts = runs.alias("attempts")
    is_next = attempts.c.attempt == runs.c.attempt + 1
    is_same_slot = [attempts.c[name] == runs.c[name] for name in ("task", "slot", "origin")]
    return select(attempts.c.id).where(*is_same_slot, is_next).exists()


def _is_same_series(session: Session, run: Run) -> ColumnElement[bool]:
    """Return the condition: of the task of a run, and of its stored schedule if it is of one."""
    runs = session.tables.runs
    is_same: ColumnElement[bool] = runs.c.task == run.task
    return is_same if run.schedule is None else is_same & (runs.c.origin == run.origin)


def _is_after_last_success(
    session: Session, run: Run, state: ColumnElement[str], command: str | None
) -> ColumnElement[bool]:
    """Return the condition: claimed after the last success and the last pause rule."""
    runs = session.tables.runs
    rules = [
        rule
        for rule in select_pause_rules(session)
        if matches_any(rule.pattern, {run.task, run.schedule or run.task}, command)
    ]
    since = rules[-1].since if rules else EPOCH
    is_since_rule: ColumnElement[bool] = runs.c.claimed >= since
    successes = select(runs.c.claimed, runs.c.id).where(
        _is_same_series(session, run), state == RunState.SUCCEEDED.value, is_since_rule
    )
    newest_first = successes.order_by(runs.c.claimed.desc(), runs.c.id.desc())
    success = session.connection.execute(newest_first.limit(1)).one_or_none()
    if success is None:
        return is_since_rule
    is_same_claim = (runs.c.claimed == success.claimed) & (runs.c.id > success.id)
    is_later: ColumnElement[bool] = (runs.c.claimed > success.claimed) | is_same_claim
    return is_later
