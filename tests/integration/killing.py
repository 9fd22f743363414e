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
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pyramid.registry import Registry
from sqlalchemy import func, select
from webtest import TestApp

from pyramid_cron import Every, Retry
from pyramid_cron.app import get_cron
from pyramid_cron.clock import utc_now
from pyramid_cron.errors import StoreError
from pyramid_cron.store.store import Store
from pyramid_cron.testing import CronTester
from tests.apps import configure
from tests.integration import accounting
from tests.integration.accounting import Account, account, lines
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
    #: Whether processes go on between ticks, and are frozen at times as well as killed.
    goes_on: bool = False

    def settings(self) -> dict[str, str]:
        return {
            "cron.beats": str(self.goes_on),
            "cron.url": self.url,
            "cron.table_prefix": self.prefix,
            "cron.lease": str(self.lease),
        }


@dataclass(frozen=True)
class Outcome(Account):
    """What came of it, how hard it was, and of what else than being killed processes died.

    ``late`` is how many seconds each run of ``quick``, the first in every tick, started after the
    tick set out to claim it. ``troubles`` are ticks that could not get at the store. ``deaths`` are
    a fault.
    """

    seconds: float
    kills: int
    late: list[float]
    troubles: int
    held_up: list[str]
    deaths: list[str]


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
    if place.goes_on:
        add("hanging", every=7, takes=5)
    app = config.make_wsgi_app()
    config.registry["trigger"] = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
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
) -> Outcome:
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
            if place.goes_on and random.random() < 0.5:
                _freeze(random.choice(living), random.uniform(0.2, 2 * place.lease))
                continue
            _kill(living.pop(random.randrange(len(living))))
            kills += 1
    finally:
        for pid in living:
            _kill(pid)
    registry = application(place, folder / "starts")
    _outlast_leases(get_cron(registry).store)
    CronTester(registry).tick()
    return Outcome(
        **asdict(account(get_cron(registry), folder / "starts")),
        seconds=round(time.monotonic() - begin, 1),
        kills=kills,
        late=late(get_cron(registry).store, folder / "starts", "quick"),
        troubles=len(lines(folder / "troubles")),
        held_up=_held_up(get_cron(registry).store),
        deaths=lines(folder / "deaths"),
    )


def _held_up(store: Store) -> list[str]:
    """Return slots that were skipped for a run which had been claimed for long, and not begun."""
    skipped = [run for run in store.history(limit=10**7) if str(run.reason) == "overlap"]
    held_up = []
    for run in skipped:
        found = re.search(r"run ([0-9a-f]{26})", run.error or "")
        blocking = found and store.get_run(found[1])
        if not blocking or blocking.claimed is None or run.claimed is None:
            continue
        started = blocking.started or blocking.finished
        waited = run.claimed - blocking.claimed
        if (started is None or started > run.claimed) and waited.total_seconds() > 3:
            held_up.append(f"{run.task} {run.slot.isoformat()} for {waited}")
    return held_up


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
    registry = application(place, folder / "starts")
    cron = CronTester(registry)
    while True:
        if place.goes_on:
            answer = registry["trigger"].get("/cron", status="*")
            if answer.status_int != 200:
                append(folder / "troubles", answer.status)
            time.sleep(random.uniform(0.5, 3))
            continue
        try:
            cron.tick()
        except StoreError as error:
            append(folder / "troubles", str(error))
        time.sleep(random.uniform(0.0, 0.4))


def _freeze(pid: int, seconds: float) -> None:
    """Stop a process for some seconds, which loses it the leases that end meanwhile."""
    os.kill(pid, signal.SIGSTOP)

    def wake() -> None:
        with suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(pid, signal.SIGCONT)

    threading.Timer(seconds, wake).start()


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _outlast_leases(store: Store) -> None:
    """Wait until no lease is left that a dead process has taken."""
    runs = store.tables.runs
    with store.database.read() as connection:
        lease = connection.scalar(select(func.max(runs.c.lease_until)))
    while lease is not None and utc_now() <= lease:
        time.sleep(0.05)


FAULTS = ("held_up", "deaths", *accounting.FAULTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill at random and print the account as JSON; return 1 if there were faults."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="the store; a SQLite file unless given")
    parser.add_argument("--prefix", default="cron_", help="of the store's tables")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--beats", action="store_true", help="they also go on between ticks")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--lease", type=float, default=LEASE)
    options = parser.parse_args(arguments)
    # That tasks fail is part of it.
    logging.getLogger("pyramid_cron").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{folder}/cron.sqlite"
        place = Place(url, options.prefix, options.lease, options.beats)
        outcome = kill_at_random(place, Path(folder), options.seconds, options.processes)
    print(json.dumps(asdict(outcome), indent=2))
    return int(any(getattr(outcome, name) for name in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
