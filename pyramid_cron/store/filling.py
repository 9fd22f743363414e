"""Slots of the past that are to be filled in."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, select, update

from ..due.facts import BACKFILL, Pending
from ..run import RunState, Trigger
from .rows import insert_new, pending_row, state_of_one
from .tables import Tables


class Span(NamedTuple):
    """A task's slots in (since, until]; moments are aware."""

    task: str
    since: datetime
    until: datetime
    slots: Sequence[datetime] = ()

    def of(self, table: Table) -> tuple[ColumnElement[bool], ...]:
        """Return what is true of the rows of the task that are in the span."""
        slot = table.c.slot
        return table.c.task == self.task, slot > self.since, slot <= self.until


def fill_in(connection: Connection, tables: Tables, span: Span, nonce: int) -> int:
    """Let those slots wait that have not run and don't wait yet; return how many there are.

    A slot may be one that no tick has come for yet. From when it is due on it is found to wait, by
    whatever clock, so that no tick takes it for one of the schedule as well.
    """
    known = known_slots(connection, tables, span)
    new = [slot for slot in span.slots if slot not in known]
    set_aside(connection, tables, span, nonce)
    waiting = [Pending(span.task, slot, Trigger.BACKFILL, slot, nonce=nonce) for slot in new]
    insert_new(connection, tables.waiting, [pending_row(each) for each in waiting])
    return len(new)


def known_slots(connection: Connection, tables: Tables, span: Span) -> set[datetime]:
    """Return the slots of a span that have run, or wait to."""
    runs, waiting = tables.runs, tables.waiting
    ran = select(runs.c.slot).where(
        *span.of(runs), runs.c.nonce <= BACKFILL, runs.c.state != RunState.SKIPPED.value
    )
    wait = select(waiting.c.slot).where(*span.of(waiting), waiting.c.nonce <= BACKFILL)
    return {*connection.scalars(ran), *connection.scalars(wait)}


def set_aside(connection: Connection, tables: Tables, span: Span, nonce: int) -> None:
    """Take the key of this nonce from a span's skipped slots.

    They stay on record, and the slots may be claimed once more.
    """
    runs = tables.runs
    skipped = state_of_one(tables) == RunState.SKIPPED.value
    mine = update(runs).where(*span.of(runs), runs.c.nonce == nonce, skipped)
    connection.execute(mine.values(nonce=secrets.randbits(62) + 2))
