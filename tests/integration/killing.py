"""Processes that tick the same seconds over one store while they are killed at random.

Each start of a task leaves a line in a file that no kill can take back. Afterwards every slot is
accounted for from that file and the store.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pyramid.registry import Registry
from sqlalchemy import func, select

from pyramid_cron import Every, Retry
from pyramid_cron.clock import utc_now
from pyramid_cron.run import Run
from pyramid_cron.state import cronwork
from pyramid_cron.store.engine import StoreError
from pyramid_cron.store.store import Store
from pyramid_cron.testing import CronTester
from tests.apps import configure
from tests.integration.late import late

PROCESSES = 8
LEASE = 1.5
SECONDS = 5.0


@dataclass(frozen=True)
class Place:
    """Where the store is, and how long its leases last."""

    url: str
    prefix: str = "cron_"
    lease: float = LEASE

    def settings(self) -> dict[str, str]:
        return {
            "cron.url": self.url,
            "cron.table_prefix": self.prefix,
            "cron.lease": str(self.lease),
        }


@dataclass
class Account:
    """What came of it. The first figures say how hard it was, those from ``deaths`` on are faults.

    ``late`` is how many seconds each run of ``quick``, the first in every tick, started after the
    tick set out to claim it.
    ``troubles`` are ticks that could not get at the store, ``deaths`` processes that died of
    something else than being killed.
    ``twice`` are slots that started more often than the task's attempts allow, or one attempt of
    which started twice; ``unrecorded`` slots that were due and of which the store knows nothing;
    ``unfounded`` starts of which it knows nothing; ``counted_twice`` slots that it counts more than
    once; ``stuck`` runs that still seem to go on though their leases have passed.
    """

    seconds: float
    kills: int
    ticks: int
    slots: int
    starts: int
    states: dict[str, int]
    late: list[float]
    troubles: int
    deaths: list[str]
    twice: list[str]
    unrecorded: list[str]
    unfounded: list[str]
    counted_twice: list[str]
    stuck: list[str]


def application(place: Place, starts: Path) -> Registry:
    """An app with tasks of every kind, each due once in a second or two."""
    config = configure(**place.settings())

    def add(name: str, *, takes: float = 0.0, fails: bool = False, **policy: object) -> None:
        def work(system: dict) -> None:
            run = system["run"]
            begun = utc_now().isoformat()
            append(starts, f"{name} {run.slot.isoformat()} {run.attempt} {begun}")
            time.sleep(takes)
            if fails and (run.slot.second + run.attempt) % 3:
                raise ValueError("so it goes")

        config.add_cron_task(work, name=name, **policy)

    add("quick", every=1)
    add("long", every=1, takes=0.4)
    add("beside", every=1, takes=0.2, overlap="allow")
    # Its slots do not count from the end of the run before, since there are two schedules.
    add("later", schedule=[Every(2), Every("1d")], takes=0.3, overlap="delay")
    add("each", every=1, catch_up="all")
    add("idle", every=2, idle=True)
    add("failing", every=2, fails=True, retry=Retry(attempts=3, delay=0.5))
    add("fragile", every=2, takes=0.3, retry=Retry(attempts=2, delay=0.1))
    config.make_wsgi_app()
    return config.registry


def append(path: Path, line: str) -> None:
    """Append a line in one write, so that those of many processes do not mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def kill_at_random(
    place: Place, folder: Path, seconds: float, processes: int = PROCESSES
) -> Account:
    """Let processes tick for some seconds, killing them at random; account for every slot."""
    begin = time.monotonic()
    living: list[int] = []
    kills = 0
    try:
        # On a busy machine it takes longer to be hard enough.
        while time.monotonic() - begin < seconds or kills < 2 * processes:
            while len(living) < processes:
                living.append(_born(place, folder))
            time.sleep(random.uniform(0.02, 0.5))
            _kill(living.pop(random.randrange(len(living))))
            kills += 1
    finally:
        for pid in living:
            _kill(pid)
    registry = application(place, folder / "starts")
    _outlast_leases(cronwork(registry).store)
    CronTester(registry).tick()
    return _account(registry, folder, round(time.monotonic() - begin, 1), kills)


def _born(place: Place, folder: Path) -> int:
    """Start a process by a fork, which is quicker than a new Python."""
    if pid := os.fork():
        return pid
    try:
        _tick_for_ever(place, folder)
    except BaseException:
        append(folder / "deaths", traceback.format_exc())
    finally:
        os._exit(1)


def _tick_for_ever(place: Place, folder: Path) -> None:
    random.seed()
    cron = CronTester(application(place, folder / "starts"))
    while True:
        try:
            cron.tick()
        except StoreError as error:
            append(folder / "troubles", str(error))
        time.sleep(random.uniform(0.0, 0.4))


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _outlast_leases(store: Store) -> None:
    """Wait until no lease is left that a dead process has taken."""
    runs = store.tables.runs
    with store.database.read() as connection:
        lease = connection.scalar(select(func.max(runs.c.lease)))
    while lease is not None and utc_now() <= lease:
        time.sleep(0.05)


# Accounting.


def _account(registry: Registry, folder: Path, seconds: float, kills: int) -> Account:
    cron = cronwork(registry)
    runs = cron.store.history(limit=10**7)
    first, last, ticks = _span(cron.store)
    starts = [_start(line) for line in _lines(folder / "starts")]
    due = {task.name: list(task.between(first, last)) for task in cron.tasks.all}
    attempts = {task.name: task.retry.attempts for task in cron.tasks.all}
    covered = {name: _covered(slots, runs, name) for name, slots in due.items()}
    waiting = _waiting(cron.store)
    return Account(
        seconds=seconds,
        kills=kills,
        ticks=ticks,
        slots=sum(map(len, due.values())),
        starts=len(starts),
        states=dict(Counter(str(run.reason or run.state) for run in runs)),
        late=late(cron.store, folder / "starts", "quick"),
        troubles=len(_lines(folder / "troubles")),
        deaths=_lines(folder / "deaths"),
        twice=_twice(starts, attempts),
        unrecorded=[
            f"{name} {slot.isoformat()}"
            for name, slots in due.items()
            for slot in slots
            if not covered[name][slot] and (name, slot) not in waiting
        ],
        unfounded=_unfounded(starts, runs),
        counted_twice=[
            f"{name} {slot.isoformat()}"
            for name, slots in covered.items()
            for slot, times in slots.items()
            if times > 1
        ],
        stuck=[f"{run.task} {run.id} {run.state}" for run in runs if not run.state.final],
    )


def _span(store: Store) -> tuple[datetime, datetime, int]:
    """Return the moment after which slots were due, the last one, and how many ticks came."""
    ticks, rosters, runs = store.tables.ticks, store.tables.rosters, store.tables.runs
    with store.database.read() as connection:
        first = connection.scalar(select(func.min(runs.c.id)))
        last = connection.scalar(select(func.max(rosters.c.last_tick)))
        count = connection.scalar(select(func.count()).select_from(ticks))
    begin = datetime.fromtimestamp(int(first[:12], 16) / 1000, timezone.utc)
    return begin.replace(second=0, microsecond=0) - timedelta.resolution, last, count


def _waiting(store: Store) -> set[tuple[str, datetime]]:
    table = store.tables.waiting
    with store.database.read() as connection:
        return {(row.task, row.slot) for row in connection.execute(select(table))}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


Start = tuple[str, datetime, int]


def _start(line: str) -> Start:
    task, slot, attempt, _moment = line.split()
    return task, datetime.fromisoformat(slot), int(attempt)


def _covered(due: Sequence[datetime], runs: Iterable[Run], name: str) -> Counter[datetime]:
    """Return how often the record speaks of each slot; a skipped run may stand for several."""
    covered: Counter[datetime] = Counter()
    for run in runs:
        if run.task == name and run.attempt == 1:
            end = bisect_right(due, run.slot)
            covered.update(due[max(0, end - run.count) : end])
    return covered


def _twice(starts: Sequence[Start], attempts: dict[str, int]) -> list[str]:
    same = [start for start, times in Counter(starts).items() if times > 1]
    slots = Counter((task, slot) for task, slot, _ in starts)
    often = [(*each, times) for each, times in slots.items() if times > attempts[each[0]]]
    return [f"{task} {slot.isoformat()} {number}" for task, slot, number in (*same, *often)]


def _unfounded(starts: Iterable[Start], runs: Iterable[Run]) -> list[str]:
    recorded = {(run.task, run.slot, run.attempt) for run in runs if run.started or run.error}
    unknown = [each for each in starts if each not in recorded]
    return [f"{task} {slot.isoformat()} {attempt}" for task, slot, attempt in unknown]


FAULTS = ("deaths", "twice", "unrecorded", "unfounded", "counted_twice", "stuck")


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill at random and print the account as JSON; return 1 if there were faults."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="the store; a SQLite file unless given")
    parser.add_argument("--prefix", default="cron_", help="of the store's tables")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--lease", type=float, default=LEASE)
    options = parser.parse_args(arguments)
    # That tasks fail is part of it.
    logging.getLogger("pyramid_cron").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{folder}/cron.sqlite"
        place = Place(url, options.prefix, options.lease)
        account = kill_at_random(place, Path(folder), options.seconds, options.processes)
    print(json.dumps(asdict(account), indent=2))
    return int(any(getattr(account, name) for name in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
