"""Slots of the past that are to be filled in."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, select, update

from ..planning.snapshot import BACKFILL_ORIGIN, WaitingRun
from ..run import RunState, Trigger
from .rows import make_waiting_row, state_by_task_index
from .schema import Tables
from .session import insert_new


class SlotRange(NamedTuple):
    """A task's slots in (since, until]; moments are aware."""

    task: str
    since: datetime
    until: datetime
    slots: Sequence[datetime] = ()

    def conditions_on(self, table: Table) -> tuple[ColumnElement[bool], ...]:
        """Return what is true of the rows of the task that are in the span."""
        slot = table.c.slot
        return table.c.task == self.task, slot > self.since, slot <= self.until


def insert_backfill(
    connection: Connection, tables: Tables, slot_range: SlotRange, nonce: int
) -> int:
    """Let those slots wait that have not run and don't wait yet; return how many there are.

    A slot may be one that no tick has come for yet. From when it is due on it is found to wait, by
    whatever clock, so that no tick takes it for one of the schedule as well.
    """
    known = handled_slots(connection, tables, slot_range)
    new = [slot for slot in slot_range.slots if slot not in known]
    free_skipped_slots(connection, tables, slot_range, nonce)
    waiting = [
        WaitingRun(slot_range.task, slot, Trigger.BACKFILL, slot, nonce=nonce) for slot in new
    ]
    insert_new(connection, tables.waiting, [make_waiting_row(each) for each in waiting])
    return len(new)


def handled_slots(connection: Connection, tables: Tables, slot_range: SlotRange) -> set[datetime]:
    """Return the slots of a span that have run, or wait to."""
    runs, waiting = tables.runs, tables.waiting
    ran = select(runs.c.slot).where(
        *slot_range.conditions_on(runs),
        runs.c.nonce <= BACKFILL_ORIGIN,
        runs.c.state != RunState.SKIPPED.value,
    )
    wait = select(waiting.c.slot).where(
        *slot_range.conditions_on(waiting), waiting.c.nonce <= BACKFILL_ORIGIN
    )
    return {*connection.scalars(ran), *connection.scalars(wait)}


def free_skipped_slots(
    connection: Connection, tables: Tables, slot_range: SlotRange, nonce: int
) -> None:
    """Take the key of this nonce from a span's skipped slots.

    They stay on record, and the slots may be claimed once more.
    """
    runs = tables.runs
    skipped = state_by_task_index(tables) == RunState.SKIPPED.value
    mine = update(runs).where(*slot_range.conditions_on(runs), runs.c.nonce == nonce, skipped)
    connection.execute(mine.values(nonce=secrets.randbits(62) + 2))
