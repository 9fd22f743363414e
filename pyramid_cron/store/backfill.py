"""Slots of the past that are to run after all."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Table, select, update

from ..planning.snapshot import BACKFILL_ORIGIN, WaitingRun
from ..run import RunState, Trigger
from .rows import make_waiting_row, state_by_task_index
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


def add_backfill(store: Store, slot_range: SlotRange, nonce: int) -> int:
    """Let the slots of a range wait that have not run and do not wait yet; return their number.

    A slot may lie in the future: once it is due, ticks find it waiting, and so do not take it as a
    new slot of the schedule too. Raises StoreError.
    """
    with store.write_session() as session:
        already_handled = handled_slots(session, slot_range)
        _free_skipped_slots(session, slot_range, nonce)
        rows = [
            make_waiting_row(WaitingRun(slot_range.task, slot, Trigger.BACKFILL, slot, nonce=nonce))
            for slot in slot_range.slots
            if slot not in already_handled
        ]
        insert_new(session, session.tables.waiting, rows)
    return len(rows)


def handled_slots(session: Session, slot_range: SlotRange) -> set[datetime]:
    """Return the slots of a range that have run or wait."""
    runs, waiting = session.tables.runs, session.tables.waiting
    run_slots = select(runs.c.slot).where(
        *slot_range.conditions_on(runs),
        runs.c.nonce <= BACKFILL_ORIGIN,
        runs.c.state != RunState.SKIPPED.value,
    )
    waiting_slots = select(waiting.c.slot).where(
        *slot_range.conditions_on(waiting), waiting.c.nonce <= BACKFILL_ORIGIN
    )
    connection = session.connection
    return {*connection.scalars(run_slots), *connection.scalars(waiting_slots)}


def _free_skipped_slots(session: Session, slot_range: SlotRange, nonce: int) -> None:
    """Give skipped runs of the range another origin, so that their slots can be claimed."""
    runs = session.tables.runs
    is_skipped = state_by_task_index(session.tables) == RunState.SKIPPED.value
    statement = update(runs).where(
        *slot_range.conditions_on(runs), runs.c.nonce == nonce, is_skipped
    )
    session.connection.execute(statement.values(nonce=secrets.randbits(62) + 2))
