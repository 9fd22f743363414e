"""How late starts are, by the lines that tasks left as they began, and the record."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pyramid_cron.store.store import Store


def late(store: Store, starts: Path, task: str) -> list[float]:
    """Return the seconds from when ticks set out to claim runs of a task to when these started.

    A line is ``task slot attempt moment``.
    """
    claims = {(run.slot, run.attempt): run.claimed for run in store.history(task, limit=10**7)}
    found = []
    for name, slot, attempt, moment in map(str.split, starts.read_text().splitlines()):
        claimed = claims.get((datetime.fromisoformat(slot), int(attempt)))
        if name == task and claimed is not None:
            found.append((datetime.fromisoformat(moment) - claimed).total_seconds())
    return found
