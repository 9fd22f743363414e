"""Who takes part in runs.py: one module per library, each run in a process of its own.

A module's ``fresh(folder, count, **options)`` is a context manager that makes a store in which
``count`` tasks are due and gives a :class:`Round`. Where something lives for longer, such as a
worker process, ``serving(folder, **options)`` is a context manager around it that gives ``fresh``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Round:
    """``run`` returns when all tasks have run and are recorded; ``done`` says how many did.

    ``syncs`` counts those of a server that can't be traced from here.
    """

    run: Callable[[], object]
    done: Callable[[], int]
    syncs: Callable[[], int] | None = None


Fresh = Callable[[Path, int], AbstractContextManager[Round]]


class AbsentError(Exception):
    """A contender can't take part; the message says why."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A library in one configuration.

    ``syncs`` says whether what it wrote survives a power cut; ``server`` whether it needs one.
    """

    name: str
    module: str
    syncs: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    server: bool = False


OURS = Contender("pyramid_cron", "ours", syncs=True)
LEAST = Contender("log lines and transactions only", "least", syncs=False)

CONTENDERS = {
    contender.name: contender
    for contender in (
        OURS,
        LEAST,
        Contender("huey, SQLite default", "huey", True),
        Contender("huey, SQLite fsync=False", "huey", False, {"fsync": False}),
        Contender("huey, SQLite fsync=True", "huey", True, {"fsync": True}),
        Contender("APScheduler, SQLite default", "apscheduler", True, {"wal": False}),
        Contender("APScheduler, SQLite WAL, FULL", "apscheduler", True, {"wal": True}),
        Contender("procrastinate, PostgreSQL", "procrastinate", True, server=True),
        Contender("Celery, Redis", "celery", False, {"aof": False}, server=True),
        Contender("Celery, Redis AOF always", "celery", True, {"aof": True}, server=True),
        Contender("dramatiq, Redis", "dramatiq", False, {"aof": False}, server=True),
        Contender("dramatiq, Redis AOF always", "dramatiq", True, {"aof": True}, server=True),
    )
}
