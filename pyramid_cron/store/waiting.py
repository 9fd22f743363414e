"""Waiting runs: looking at them, deferring, moving and cancelling them.

Each function is a transaction of its own, and raises StoreError if that fails. Moments are aware,
those returned in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Table, bindparam, func, select, update

from ..action_record import ActionRecord
from ..planning.snapshot import WaitingRun, as_run
from ..run import (
    BACKFILL_ORIGINS,
    SCHEDULE_ORIGIN,
    Run,
    RunState,
    Trigger,
    WaitReason,
    make_adhoc_origin,
)
from ..run_transitions import cancelled
from .action_log import record_action
from .results import DeferredRun, Outcome, end_runs, insert_deferred_run, write_followups
from .rows import (
    Session,
    insert_new,
    make_waiting_rows,
    state_by_task_index,
    task_by_waiting_index,
    to_run,
)
from .schema import MYSQL_DIALECTS, Tables, once_per_store
from .store import Store


def list_waiting(
    store: Store, task: str | None, limit: int, trigger: Trigger | None = None
) -> list[Run]:
    """Return waiting runs with payloads, the next first: of a task, with a trigger, or all."""
    runs = store.tables.runs
    query = select(runs).where(_is_waiting(store.tables, task, trigger))
    query = query.order_by(runs.c.not_before, runs.c.slot, runs.c.id).limit(limit)
    with store.read_session() as session:
        return [to_run(row) for row in session.connection.execute(query)]


def peek_waiting(
    store: Store, now: datetime, limit: int, *, includes_expired: bool = False
) -> tuple[list[str], datetime | None]:
    """Return ids of runs that may begin at a moment, and when the next of the others may.

    Of many, the ids are of the ``limit`` that may begin first. Runs that wait until a tick has time
    are left out. With ``includes_expired`` ids of active runs whose lease has passed are among
    them: what they leave may begin.
    """
    with store.read_session() as session:
        startable = session.connection.scalars(_startable_query(store.tables, limit), {"now": now})
        ids = list(startable)
        if includes_expired:
            ids += session.connection.scalars(_expired_query(store.tables, limit), {"now": now})
        return ids, session.connection.scalar(_next_query(store.tables), {"now": now})


@once_per_store
def _startable_query(tables: Tables, limit: int) -> Select[Any]:
    runs = tables.runs
    is_startable = runs.c.not_before <= bindparam("now")
    query = select(runs.c.id).where(is_startable, runs.c.reason != WaitReason.TIME.value)
    return query.order_by(runs.c.not_before).limit(limit)


@once_per_store
def _expired_query(tables: Tables, limit: int) -> Select[Any]:
    runs = tables.runs
    return select(runs.c.id).where(runs.c.lease_until < bindparam("now")).limit(limit)


@once_per_store
def _next_query(tables: Tables) -> Select[Any]:
    not_before = tables.runs.c.not_before
    return select(func.min(not_before)).where(not_before > bindparam("now"))


def find_by_key(store: Store, task: str, key: str) -> Run | None:
    """Return the run that was deferred with a key, waiting or over; None if none is on record."""
    with store.read_session() as session:
        return _select_by_key(session, task, key)


def _select_by_key(
    session: Session, task: str, key: str, *, is_current: bool = False
) -> Run | None:
    """Return the run with a key; with ``is_current`` also one since the transaction's snapshot."""
    runs = session.tables.runs
    query = select(runs).where(runs.c.dedup_key == key, runs.c.task == task)
    if is_current and session.connection.dialect.name in MYSQL_DIALECTS:
        query = query.with_for_update(read=True)
    row = session.connection.execute(query).one_or_none()
    return None if row is None else to_run(row)


def defer_in(session: Session, deferred_run: DeferredRun) -> Run:
    """Let a deferred run wait as part of a transaction; return the run that has its key."""
    waiting_run = deferred_run.waiting_run
    task, key = waiting_run.task, waiting_run.key
    known = None if key is None else _select_by_key(session, task, key)
    if known is not None:
        if known.state is not RunState.WAITING or not deferred_run.replaces:
            return known
        waiting_run = replace(waiting_run, id=known.id)
    if insert_deferred_run(session, replace(deferred_run, waiting_run=waiting_run)):
        return as_run(waiting_run)
    run = None if key is None else _select_by_key(session, task, key, is_current=True)
    return run or as_run(waiting_run)


def defer_run(store: Store, deferred_run: DeferredRun) -> Run | None:
    """Let a deferred run wait; return the run on record that has its key, None without a key."""
    task, key = deferred_run.waiting_run.task, deferred_run.waiting_run.key
    with store.write_session() as session:
        insert_deferred_run(session, deferred_run)
        return None if key is None else _select_by_key(session, task, key)


def reschedule_run(
    store: Store, run_id: str, at: datetime, action: ActionRecord | None = None
) -> Run | None:
    """Move a waiting run to another moment; return it, None if it does not wait.

    If it does, ``action`` is put on record.
    """
    with store.write_session() as session:
        runs = session.tables.runs
        is_it = (runs.c.id == run_id) & _is_waiting(session.tables)
        session.connection.execute(update(runs).where(is_it).values(not_before=at))
        row = session.connection.execute(select(runs).where(is_it)).one_or_none()
        record_action(session, None if row is None else action)
    return None if row is None else to_run(row)


def cancel_waiting(
    store: Store,
    run_ids: Collection[str],
    now: datetime,
    outcome_of: Callable[[Run], Outcome],
    make_action: Callable[[int], ActionRecord],
) -> list[Run]:
    """Cancel those of these runs that wait; return them as they ended.

    ``outcome_of`` returns what follows from a cancelled run, and ``make_action`` the action to put
    on record for the number of those that are, if there are any.
    """
    with store.write_session() as session:
        runs = session.tables.runs
        query = select(runs).where(_is_waiting(session.tables), runs.c.id.in_(run_ids))
        rows = session.connection.execute(query).all()
        ended = [cancelled(to_run(row), now) for row in rows]
        end_runs(session, ended)
        write_followups(session, [outcome_of(run) for run in ended])
        if ended:
            record_action(session, make_action(len(ended)))
    return ended


def find_waiting_ids(store: Store, task: str, trigger: Trigger | None) -> list[str]:
    """Return ids of waiting runs of a task, and with a trigger only those that have it."""
    runs = store.tables.runs
    query = select(runs.c.id).where(_is_waiting(store.tables, task, trigger))
    with store.read_session() as session:
        return list(session.connection.scalars(query))


def _is_waiting(
    tables: Tables, task: str | None = None, trigger: Trigger | None = None
) -> ColumnElement[bool]:
    is_waiting: ColumnElement[bool] = tables.runs.c.not_before.is_not(None)
    if task is not None:
        is_waiting &= task_by_waiting_index(tables) == task
    if trigger is not None:
        is_waiting &= tables.runs.c.trigger == trigger.value
    return is_waiting


class SlotRange(NamedTuple):
    """A task's slots in (since, until]; moments are aware."""

    task: str
    since: datetime
    until: datetime
    slots: Sequence[datetime] = ()

    def conditions_on(self, table: Table) -> tuple[ColumnElement[bool], ...]:
        """Return the conditions on rows of the task that lie in the range."""
        slot = table.c.slot
        return table.c.task == self.task, slot > self.since, slot <= self.until


def add_backfill(
    store: Store,
    slot_range: SlotRange,
    origin: str,
    make_action: Callable[[int], ActionRecord] | None = None,
) -> int:
    """Let the slots of a range wait that have not run and do not wait yet; return their number.

    ``make_action`` returns the action to put on record for that number, if it is not 0.

    A slot may lie in the future: once it is due, ticks find it waiting, and so do not take it as a
    new slot of the schedule too. Raises StoreError.
    """
    with store.write_session(is_long=True) as session:
        already_handled = handled_slots(session, slot_range)
        _free_skipped_slots(session, slot_range, origin)
        waiting_runs = [
            WaitingRun(
                slot_range.task, slot, Trigger.BACKFILL, slot, origin=origin, why=WaitReason.TIME
            )
            for slot in slot_range.slots
            if slot not in already_handled
        ]
        insert_new(session, session.tables.runs, make_waiting_rows(waiting_runs))
        if waiting_runs and make_action is not None:
            record_action(session, make_action(len(waiting_runs)))
    return len(waiting_runs)


def handled_slots(session: Session, slot_range: SlotRange) -> set[datetime]:
    """Return the slots of a range that have run or wait."""
    runs = session.tables.runs
    query = select(runs.c.slot).where(
        *slot_range.conditions_on(runs),
        runs.c.origin.in_((SCHEDULE_ORIGIN, *BACKFILL_ORIGINS)),
        runs.c.state != RunState.SKIPPED.value,
    )
    return set(session.connection.scalars(query))


def _free_skipped_slots(session: Session, slot_range: SlotRange, origin: str) -> None:
    """Give skipped runs of the range another origin, so that their slots can be claimed."""
    runs = session.tables.runs
    is_skipped = state_by_task_index(session.tables) == RunState.SKIPPED.value
    statement = update(runs).where(
        *slot_range.conditions_on(runs), runs.c.origin == origin, is_skipped
    )
    session.connection.execute(statement.values(origin=make_adhoc_origin()))
