"""Processes with their store in the application's database, killed at random and at named points.

Each task writes a line into a ledger that has no key, so that work done twice is seen. Afterwards
work and record are compared, run by run: python -m tests.integration.ledger --help
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
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import event, make_url

from pyramid_cron import Retry, Run, RunState, events
from pyramid_cron.app import get_cron
from pyramid_cron.errors import StoreError
from pyramid_cron.store.waiting import list_waiting
from pyramid_cron.testing import CronTester
from tests.databases import SERVERS, Place
from tests.exactly import MODES, OPEN, Books
from tests.integration.killing import append, lines

LEASE = 1.5
PROCESSES = 4

PATIENCE_SECONDS = 2.0
"""How long a run may take to begin before a process is killed all the same."""

POINTS = (
    "before the claim",
    "before the task",
    "in the task",
    "before the end",
    "after the end",
    "before the commit",
    "after the commit",
    "after the record",
)
"""Where a process may be killed by itself, in the order in which a run comes there."""

EVER = Retry(attempts=10**6, delay=0)
"""A busy SQLite file, or a serializable transaction, may refuse any statement."""


@dataclass(frozen=True)
class Outcome:
    """What came of it. Those from ``missing`` on are faults.

    ``missing`` are slots that were claimed, and deferred runs, of which no work is in the ledger;
    ``doubled`` those that have it twice; ``recorded_without_work`` runs that have succeeded and
    left nothing; ``work_without_record`` lines of runs that have not succeeded; ``stuck`` runs that
    are not over in the end. ``deaths`` are processes that died of something else.
    """

    seconds: float
    kills: int
    points: dict[str, int]
    freezes: int
    troubles: int
    work: int
    states: dict[str, int]
    missing: list[str]
    doubled: list[str]
    recorded_without_work: list[str]
    work_without_record: list[str]
    stuck: list[str]
    deaths: list[str]


FAULTS = (
    "missing",
    "doubled",
    "recorded_without_work",
    "work_without_record",
    "stuck",
    "deaths",
)


@dataclass(frozen=True)
class Trial:
    """What is tried: where, under which transactions, and how often a point kills."""

    place: Place
    folder: Path
    mode: str
    isolation: str | None
    lease: float
    #: The chance that a process is killed when it comes to a point.
    risk: float

    def die_at(self, point: str) -> None:
        """Kill this process, now and then."""
        if random.random() < self.risk:
            append(self.folder / "points", point)
            os.kill(os.getpid(), signal.SIGKILL)


def configured(trial: Trial) -> Books:
    """An application with tasks that are due each second or two, and one that others defer."""
    settings = {"cron.lease": str(trial.lease), "cron.beats": "false"}
    books = Books(trial.place, trial.mode, trial.isolation, settings)

    def work(system: dict, *, takes: float = 0.0, fails: bool = False) -> None:
        run, request = system["run"], system["request"]
        append(trial.folder / "starts", run.id)
        books.write(request, f"{run.task} {run.slot.isoformat()} {run.id}")
        if run.task == "parent":
            request.cron.defer("child", run.slot.isoformat())
        time.sleep(takes)
        trial.die_at("in the task")
        if fails and (run.slot.second + run.attempt) % 3:
            raise ValueError("so it goes")

    def child(system: dict) -> None:
        slot = system["payload"]
        books.write(system["request"], f"child {slot} {system['run'].id}")

    kept: dict[str, Any] = {"grace": None, "retry": EVER, "lost_attempts": 10**6}
    books.add_task("quick", work, every=2, **kept)
    books.add_task("long", lambda system: work(system, takes=0.2), every=5, **kept)
    books.add_task("failing", lambda system: work(system, fails=True), every=7, **kept)
    books.add_task("parent", work, every=4, executor="thread", **kept)
    books.add_task("child", child, on_demand=True, overlap="allow", **kept)
    _die_at_points(trial, books)
    return books


def _die_at_points(trial: Trial, books: Books) -> None:
    def die_at(point: str) -> Callable[..., None]:
        return lambda *_, **__: trial.die_at(point)

    def around_end(point: str) -> Callable[..., None]:
        start = f"INSERT INTO {trial.place.prefix}ends"

        def look(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(start):
                trial.die_at(point)

        return look

    event.listen(books.engine, "before_cursor_execute", around_end("before the end"))
    event.listen(books.engine, "after_cursor_execute", around_end("after the end"))
    event.listen(books.engine, "commit", die_at("before the commit"))
    if books.mode != "plain connection":
        event.listen(books.session_class, "after_commit", die_at("after the commit"))
    books.config.add_subscriber(die_at("before the claim"), events.TickStarted)
    books.config.add_subscriber(die_at("before the task"), events.RunStarted)


def kill_at_random(
    trial: Trial, *, kills: int, seconds: float, processes: int, freezes: bool
) -> Outcome:
    """Let processes tick while they are killed, until so many were or the time is over."""
    tester = _prepare(trial)
    herd = Herd(trial, lambda: _born(trial, tester), freezes)
    begin = time.monotonic()
    with suppress(KeyboardInterrupt):  # so far, then
        try:
            while herd.kills < kills and time.monotonic() - begin < seconds:
                herd.harm(processes)
        finally:
            herd.end()
    took = time.monotonic() - begin
    return _account(trial, seconds=round(took, 1), kills=herd.kills, freezes=herd.freezes)


class Herd:
    """Processes of one trial, which are killed and frozen."""

    def __init__(self, trial: Trial, bear: Callable[[], int], freezes: bool) -> None:
        self._trial = trial
        self._bear = bear
        self._freezes = freezes
        self._living: set[int] = set()
        #: When those that are frozen go on, by the monotonic clock.
        self._wake_at: dict[int, float] = {}
        self._progress = -1
        self.kills = self.freezes = 0

    def harm(self, processes: int) -> None:
        """Have so many processes, wait a moment, and kill or freeze one."""
        while len(self._living) < processes:
            self._living.add(self._bear())
        self._wait(random.uniform(0.02, 0.4))
        if not self._living:
            return
        pid = random.choice(sorted(self._living))
        if self._freezes and random.random() < 0.2:
            os.kill(pid, signal.SIGSTOP)
            self._wake_at[pid] = time.monotonic() + random.uniform(0.2, 2 * self._trial.lease)
            self.freezes += 1
        else:
            self._kill(pid)

    def _wait(self, seconds: float) -> None:
        """Wait, at least until another run has begun, but not long for that."""
        begin, starts = time.monotonic(), self._trial.folder / "starts"
        while True:
            time.sleep(min(seconds, 0.1))
            self._look()
            waited, progress = time.monotonic() - begin, starts.exists() and starts.stat().st_size
            if (waited > seconds and progress != self._progress) or waited > PATIENCE_SECONDS:
                self._progress = progress
                return

    def _look(self) -> None:
        """See which processes have died at a point, and wake those that were frozen for long."""
        for pid in [pid for pid in self._living if os.waitpid(pid, os.WNOHANG)[0]]:
            self._living.remove(pid)
            self.kills += 1
        for pid in [pid for pid, moment in self._wake_at.items() if time.monotonic() > moment]:
            del self._wake_at[pid]
            if pid in self._living:
                os.kill(pid, signal.SIGCONT)

    def _kill(self, pid: int) -> None:
        self._living.remove(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.kills += 1

    def end(self) -> None:
        """Kill all."""
        for pid in list(self._living):
            self._kill(pid)


def _prepare(trial: Trial) -> CronTester:
    """Make the tables, and the application that all processes are forked with, not connected."""
    books = configured(replace(trial, risk=0.0))
    books.tester().tick()
    books.close()
    books = configured(trial)
    books.engine.dispose()
    OPEN.remove(books)  # there is nothing to close
    return books.tester()


def _born(trial: Trial, tester: CronTester) -> int:
    """Start a process by a fork, which is quicker than a new Python."""
    if pid := os.fork():
        return pid
    try:
        random.seed()
        _tick_for_ever(trial, tester)
    except BaseException:
        append(trial.folder / "deaths", traceback.format_exc())
    finally:
        os._exit(1)


def _tick_for_ever(trial: Trial, tester: CronTester) -> None:
    cron = get_cron(tester.registry)
    cron.supervisor.on_room = lambda: trial.die_at("after the record")
    while True:
        try:
            tester.tick()
        except StoreError as error:
            append(trial.folder / "troubles", str(error))
        time.sleep(random.uniform(0.0, 0.3))


def _account(trial: Trial, **known: Any) -> Outcome:
    """Let one process finish what is left; compare work and record."""
    books = configured(replace(trial, risk=0.0))
    tester = books.tester()
    _finish(tester)
    store = get_cron(tester.registry).store
    runs = {run.id: run for run in store.history(limit=10**7)}
    work = [tuple(line.split()) for line in books.written()]
    done = Counter((task, slot) for task, slot, _ in work)
    ids = Counter(run_id for *_, run_id in work)
    succeeded = {run.id for run in runs.values() if str(run.state) == "succeeded"}
    outcome = Outcome(
        **known,
        points=dict(Counter(lines(trial.folder / "points"))),
        troubles=len(lines(trial.folder / "troubles")),
        work=len(work),
        states=dict(Counter(str(run.reason or run.state) for run in runs.values())),
        missing=[" ".join(key) for key in _promised(runs.values()) if not done[key]],
        doubled=[" ".join(key) for key, times in done.items() if times > 1],
        recorded_without_work=sorted(succeeded - ids.keys()),
        work_without_record=sorted(ids.keys() - succeeded),
        stuck=[f"{run.task} {run.id} {run.state}" for run in runs.values() if _is_open(run)],
        deaths=lines(trial.folder / "deaths"),
    )
    books.close()
    return outcome


def _is_open(run: Any) -> bool:
    return not run.state.is_final


def _finish(tester: CronTester) -> None:
    """Tick until nothing is left to do."""
    cron = get_cron(tester.registry)
    names = [task.name for task in cron.task_registry.tasks]
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with suppress(StoreError):
            tester.tick()
            if not (list_waiting(cron.store, None, 1) or any(map(cron.store.active_runs, names))):
                return
        time.sleep(0.1)


def _promised(runs: Iterable[Run]) -> set[tuple[str, str]]:
    """Return the slots that were not skipped, and what was deferred at each of ``parent``."""
    slots = {
        (run.task, run.slot.isoformat())
        for run in runs
        if run.state is not RunState.SKIPPED and run.task != "child"
    }
    return slots | {("child", slot) for task, slot in slots if task == "parent"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill processes, and print the account as JSON; return 1 if there were faults."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="the database; a SQLite file unless given")
    parser.add_argument("--prefix", default="cron_", help="of the store's tables and the ledger")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0, help="at most")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--mode", choices=MODES, default="explicit", help="who ends transactions")
    parser.add_argument("--isolation", help="of the application's transactions")
    parser.add_argument("--lease", type=float, default=LEASE)
    parser.add_argument("--risk", type=float, default=0.05, help="of being killed at a point")
    parser.add_argument("--no-freezes", action="store_true", help="no process is stopped for long")
    options = parser.parse_args(arguments)
    # That tasks fail is part of it.
    logging.getLogger("pyramid_cron").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        url = make_url(options.url or f"sqlite:///{name}/shop.sqlite")
        kind = "file" if url.get_backend_name() == "sqlite" else url.get_backend_name()
        place = Place("mariadb" if kind == "mysql" else kind, url, options.prefix)
        trial = Trial(
            place, Path(name), options.mode, options.isolation, options.lease, options.risk
        )
        try:
            outcome = kill_at_random(
                trial,
                kills=options.kills,
                seconds=options.seconds,
                processes=options.processes,
                freezes=not options.no_freezes,
            )
        finally:
            _drop(place)
    print(json.dumps(asdict(outcome), indent=2))
    return int(any(getattr(outcome, fault) for fault in FAULTS))


def _drop(place: Place) -> None:
    if place.kind in SERVERS:
        place.drop()
        place.execute(f"DROP TABLE IF EXISTS {place.prefix}ledger")


if __name__ == "__main__":
    sys.exit(main())
