"""Slots of the past that are to run after all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Table, select, update

from ..planning.snapshot import WaitingRun
from ..run import (
    BACKFILL_ORIGINS,
    SCHEDULE_ORIGIN,
    RunState,
    Trigger,
    WaitReason,
    make_adhoc_origin,
)
from .rows import make_waiting_rows, state_by_task_index
from .session import Session, insert_new
from .store import Store


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


def add_backfill(store: Store, slot_range: SlotRange, origin: str) -> int:
    """Let the slots of a range wait that have not run and do not wait yet; return their number.

    A slot may lie in the future: once it is due, ticks find it waiting, and so do not take it as a
    new slot of the schedule too. Raises StoreError.
    """
    with store.write_session() as session:
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
