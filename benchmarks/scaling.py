"""How far one store goes: what ticks and runs cost it, and what that makes of many hosts.

    python benchmarks/scaling.py [--quick] [--best] [--folder FOLDER] [--rtt MS] [--clients COUNT]

All who write to a store take turns, so what runs out is the time for which a transaction keeps
others waiting. Here that is measured in PostgreSQL, MariaDB and a SQLite file, from the moment that
its turn has come until it is committed, with nobody else there: of a tick that finds nothing due;
of one with 1 to 1,000 due runs; of one that another host was quicker than; of what runs in threads
and on Celery workers take. The model adds up such times:

* to each come the round trips of its statements on the network (``--rtt``), but not SQLite's;
* all hosts hit the trigger in the same instant, each minute, and none sees in time that another has
  claimed what is due: each takes a turn to find that nothing is left, one to put its tick on
  record, and one to look for what is old enough to be forgotten;
* runs may take half of each minute, less what ticks take of it;
* what processes compute is not in it, since every host has processors of its own.

To see whether it holds, up to 16 processes (``--clients``) hit a store in the same instant, for
some minutes in a row. It is measured how long it takes until the last has its answer, and compared
with what the model says of so many. Here they do share processors, with each other and with the
server, so what the clients compute is added to the model, and what the server does is missing.
Figures are medians; with ``--best``, for a machine that others use as well, only one in ten rounds
was faster.

The servers are those of the tests; ``--folder`` chooses the disk for SQLite's files.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from pyramid.config import Configurator
from sqlalchemy import event

sys.path.insert(0, str(Path(__file__).parents[1]))

from pyramid_cron.runtime.whole import run_tick_and_wait

from pyramid_cron.app import CronApp, get_cron
from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import Run, RunState, Trigger, evolve
from pyramid_cron.store.engine import STORE_WAIT_SECONDS
from pyramid_cron.store.results import Outcome, WriteBatch
from pyramid_cron.store.store import Store
from tests import databases

KINDS = ("postgresql", "mariadb", "file")
NAMES = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "file": "SQLite"}
DUE = (1, 10, 100, 1000)
HOSTS = (10, 100, 1000)
WIDTHS = (8, 12, 12, 12, 12, 14, 8)
SHARE = 0.5
"""How much of the time may be taken."""

Settings = dict[str, str]
Typical = Callable[[list[float]], float]

LEASE = timedelta(minutes=1)
RENEWALS = 3
"""How often a minute a process renews the leases of what goes on in it, if they last a minute."""

START = datetime(2026, 6, 1, 4, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


@dataclass
class Turns:
    """The turns that were taken at a store: what for, for how long, with how many round trips."""

    taken: list[tuple[str, float, int]] = field(default_factory=list)

    def forget(self) -> None:
        self.taken.clear()

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds, _ in self.taken)

    @property
    def trips(self) -> int:
        return sum(trips for _, _, trips in self.taken)

    def count(self, what: str) -> int:
        return sum(kind == what for kind, _, _ in self.taken)


@dataclass(frozen=True)
class Cost:
    """What something costs in a store: seconds of its turn, and round trips while they last."""

    seconds: float
    trips: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.trips + other.trips)

    def at(self, rtt: float) -> float:
        """Return the seconds if a round trip takes that long."""
        return self.seconds + self.trips * rtt


def watch(store: Store) -> Turns:
    """Return what will tell of all turns that are taken here from now on."""
    turns, local = Turns(), threading.local()
    writing = store._exclusive_transaction

    @contextmanager
    def watched() -> Iterator[Any]:
        with writing() as connection:
            local.trips = 1  # the commit
            begin = time.perf_counter()
            yield connection
        if what := getattr(local, "what", None):  # not what the supervisor does by itself
            turns.taken.append((what, time.perf_counter() - begin, local.trips))

    def named(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any) -> Any:
            # Of a context manager nothing has happened yet when this returns.
            local.what = name
            return call(*arguments)

        return do

    def executed(connection: Any, _c: Any, statement: str, parameters: Any, _x: Any, many: bool):
        one_by_one = many and connection.dialect.name in _sending_one_by_one(statement)
        local.trips = getattr(local, "trips", 0) + (len(parameters) if one_by_one else 1)

    store.open()
    store._exclusive_transaction = watched
    for name in ("deciding", "write", "renew", "entrust", "adopt", "prune"):
        setattr(store, name, named(name, getattr(store, name)))
    event.listen(store.database._engine, "before_cursor_execute", executed)
    return turns


def _sending_one_by_one(statement: str) -> tuple[str, ...]:
    """Return the dialects whose drivers send many rows of a statement one after the other."""
    return () if statement.startswith("INSERT") else ("mysql", "mariadb")


def nothing(_: object) -> None:
    """Be a task that does nothing."""


def application(settings: Settings, count: int, **policy: Any) -> Any:
    """Return the registry of an application with so many tasks."""
    config = Configurator(settings=settings, introspection=False)
    config.include("pyramid_cron")
    for number in range(count):
        config.add_cron_task(nothing, name=f"task {number}", **policy)
    config.make_wsgi_app()
    return config.registry


@contextmanager
def ticking(settings: Settings, count: int, **policy: Any) -> Iterator[tuple[Any, Turns]]:
    """Give a registry that has ticked once, and the turns that it takes from now on."""
    registry = application(settings, count, **policy)
    cron = get_cron(registry)
    turns = watch(cron.store)
    try:
        yield registry, turns
    finally:
        cron.close()


def tick(registry: Any, moment: datetime) -> None:
    """Tick, and put the tick on record at once, which otherwise a thread does."""
    run_tick_and_wait(get_cron(registry), registry, moment)
    get_cron(registry).supervisor.flush()


# What is measured, each in a store of its own.


def of_ticks(
    settings: Settings, typical: Typical, rounds: int, count: int, policy: dict[str, Any]
) -> tuple[Cost, float]:
    """Return what a tick costs, and how many seconds it takes to look whether to do anything."""
    costs, looks = [], []
    with ticking(settings, count, **policy) as (registry, turns):
        tick(registry, START)
        for number in range(1, rounds + 1):
            turns.forget()
            tick(registry, START + number * MINUTE)
            costs.append(Cost(turns.seconds, turns.trips))
            begin = time.perf_counter()
            get_cron(registry).store.peek(START + number * MINUTE)
            looks.append(time.perf_counter() - begin)
    return typical_cost(typical, costs), typical(looks)


def of_late_ticks(settings: Settings, typical: Typical, rounds: int) -> Cost:
    """Return what a tick costs that finds what it saw due claimed by another host."""
    costs = []
    with (
        ticking(settings, 10, min="*") as (first, _),
        ticking(settings, 10, min="*") as (second, turns),
    ):
        tick(first, START)
        tick(second, START)
        store = get_cron(second).store
        glance = store.peek
        for number in range(1, rounds + 1):
            moment = START + number * MINUTE
            seen = glance(moment)
            tick(first, moment)
            store.peek = lambda _, seen=seen: seen
            turns.forget()
            tick(second, moment)
            assert turns.count("deciding") == 1
            costs.append(Cost(turns.seconds, turns.trips))
    return typical_cost(typical, costs)


def of_runs(settings: Settings, typical: Typical, rounds: int) -> dict[str, Cost]:
    """Return what else there is to do, by name: for a run elsewhere, and once a minute."""
    costs: dict[str, list[Cost]] = {}
    with ticking(settings, 1, min="*") as (registry, turns):
        cron = get_cron(registry)
        for number in range(rounds):
            moment = START + number * MINUTE
            [run] = claimed(cron, 1, moment)
            ended = evolve(run, state=RunState.SUCCEEDED, started=moment, finished=moment)
            for name, call, *arguments in (
                ("renew", cron.store.renew_leases, [run.id], moment + LEASE),
                ("entrust", cron.store.hand_off, run.id, moment + LEASE),
                ("adopt", cron.store.take_over, run.id, moment, moment + LEASE),
                ("end", cron.store.write_batch, WriteBatch([Outcome(ended)])),
                ("prune", cron.store.prune, START - MINUTE, 500),
            ):
                turns.forget()
                call(*arguments)
                costs.setdefault(name, []).append(Cost(turns.seconds, turns.trips))
    return {name: typical_cost(typical, each) for name, each in costs.items()}


def of_renewals(settings: Settings, typical: Typical, rounds: int) -> tuple[Cost, float]:
    """Return what renewing 100 leases costs, and how long it takes to ask for ends asked for."""
    costs, asks = [], []
    with ticking(settings, 1, min="*") as (registry, turns):
        cron = get_cron(registry)
        ids = [run.id for run in claimed(cron, 100, START)]
        for number in range(rounds):
            turns.forget()
            cron.store.renew_leases(ids, START + number * MINUTE + LEASE)
            costs.append(Cost(turns.seconds, turns.trips))
            begin = time.perf_counter()
            cron.store.cancel_requests()
            asks.append(time.perf_counter() - begin)
    return typical_cost(typical, costs), typical(asks)


def claimed(cron: CronApp, count: int, moment: datetime) -> list[Run]:
    """Claim so many runs."""
    due = [WaitingRun(f"task {n}", moment, Trigger.SCHEDULE, moment) for n in range(count)]
    with cron.store.claim_transaction(moment, moment + LEASE) as desk:
        return desk.claim(due)[0]


def nearly_best(values: Iterable[float]) -> float:
    """Return what one in ten is less than."""
    found = sorted(values)
    return found[len(found) // 10]


def typical_cost(typical: Typical, costs: list[Cost]) -> Cost:
    return Cost(typical([each.seconds for each in costs]), median(each.trips for each in costs))


@dataclass(frozen=True)
class Measured:
    """What was measured of one kind of store."""

    idle: Cost
    look: float
    due: dict[int, Cost]
    late: Cost
    parts: dict[str, Cost]
    hundred: Cost
    ask: float

    @property
    def per_run(self) -> Cost:
        """What one run more in a tick costs, by ticks with few and with many."""
        few, many = min(self.due), max(self.due)
        more = many - few
        return Cost(
            (self.due[many].seconds - self.due[few].seconds) / more,
            (self.due[many].trips - self.due[few].trips) / more,
        )

    @property
    def runs(self) -> dict[str, Cost]:
        """What a run costs by executor."""
        here, parts = self.per_run, self.parts
        return {
            "request": here,
            "thread": here + parts["end"],
            "celery": here + parts["entrust"] + parts["adopt"] + parts["end"],
        }


def measure(kind: str, folder: Path, typical: Typical, rounds: int) -> Measured:
    def fresh(do: Callable[..., Any], *arguments: Any) -> Any:
        with settings_of(kind, folder) as settings:
            return do(settings, typical, *arguments)

    idle, look = fresh(of_ticks, rounds, 100, {"hour": 3})
    hundred, ask = fresh(of_renewals, rounds)
    return Measured(
        idle,
        look,
        {k: fresh(of_ticks, max(rounds // k, 10), k, {"min": "*"})[0] for k in DUE},
        fresh(of_late_ticks, rounds),
        fresh(of_runs, rounds),
        hundred,
        ask,
    )


@contextmanager
def settings_of(kind: str, folder: Path) -> Iterator[Settings]:
    """Give the settings of a store with nothing in it."""
    with TemporaryDirectory(dir=folder) as own, databases.place(kind, Path(own)) as found:
        yield {
            "cron.url": found.url.render_as_string(hide_password=False),
            "cron.table_prefix": found.prefix,
            "cron.timezone": "UTC",
        }


# What many processes at once take.


def client(settings: Settings, count: int, minutes: int, barrier: Any, told: Any) -> None:
    """Hit a store for some minutes in the same instants as others do; tell when, and what for."""
    logging.disable()
    with ticking(settings, count, min="*") as (registry, turns):
        cron = get_cron(registry)
        for number in range(minutes):
            time.sleep(0.3)  # in which what was noted before is written
            barrier.wait(60)
            turns.forget()
            begin, computed = time.perf_counter(), time.process_time()
            runs = run_tick_and_wait(cron, registry, START + number * MINUTE).runs
            end, computed = time.perf_counter(), time.process_time() - computed
            told.put((number, begin, end, computed, turns.count("deciding"), len(runs)))


@dataclass(frozen=True)
class Crowd:
    """What so many clients at once took: seconds until the last had its answer.

    ``computed`` are the seconds that all of them computed, ``turns`` is how many had to take one.
    """

    clients: int
    seconds: float
    computed: float
    turns: float


def crowd(
    kind: str, folder: Path, typical: Typical, clients: int, count: int, minutes: int
) -> Crowd:
    """Return how long it took until the last client had its answer, and how many took a turn."""
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(clients), context.Queue()
    with settings_of(kind, folder) as settings:
        arguments = (settings, count, minutes, barrier, told)
        working = [context.Process(target=client, args=arguments) for _ in range(clients)]
        for each in working:
            each.start()
        found = [told.get(timeout=120) for _ in range(clients * minutes)]
        for each in working:
            each.join(60)
    by_minute: dict[int, list[Any]] = {}
    for number, *rest in found:
        by_minute.setdefault(number, []).append(rest)
    del by_minute[0]  # the tables are made in it
    minutely = [list(zip(*answers, strict=True)) for answers in by_minute.values()]
    assert all(sum(runs) == count for *_, runs in minutely), "not every slot ran once"
    return Crowd(
        clients,
        typical([max(ends) - min(begins) for begins, ends, *_ in minutely]),
        typical([sum(computed) for _, _, computed, *_ in minutely]),
        median(sum(turns) for *_, turns, _ in minutely),
    )


# What is printed.


def show(name: str, found: Measured) -> None:
    print(f"\n{name}: measured, alone")
    print(f"{'':44}{'ms':>10}{'round trips':>14}")
    rows = {
        "a tick with nothing due": found.idle,
        "a tick that comes too late": found.late,
        **{f"a tick with {k:,} due": cost for k, cost in found.due.items()},
        "each run more in it": found.per_run,
        "the end of a run elsewhere": found.parts["end"],
        "sending a run to a queue": found.parts["entrust"],
        "taking it up there": found.parts["adopt"],
        "looking for what is old": found.parts["prune"],
        "renewing the lease of 1 run": found.parts["renew"],
        "renewing the leases of 100 runs": found.hundred,
    }
    for what, cost in rows.items():
        print(f"  {what:42}{cost.seconds * 1e3:>10.2f}{cost.trips:>14.2f}")
    for what, seconds in {
        "looking whether there is something to do": found.look,
        "asking which ends were asked for": found.ask,
    }.items():
        print(f"  {what + ' *':42}{seconds * 1e3:>10.2f}")
    print("  * reads, which keep nobody waiting")


def check(found: Measured, crowds: list[Crowd], count: int) -> None:
    """Print what the model says of what was measured."""
    print(f"  {'':20}{'model, ms:':>12}{'clients':>12}")
    heads = ("clients", "took turns", "turns", "compute", "both", "measured, ms", "ratio")
    print("  " + "".join(f"{head:>{width}}" for head, width in zip(heads, WIDTHS, strict=True)))
    for each in crowds:
        turns = found.due[count].seconds + (each.turns - 1) * found.late.seconds
        computed = each.computed / (os.cpu_count() or 1)
        cells = (
            f"{each.clients}",
            f"{each.turns:.0f}",
            *(f"{took * 1e3:.1f}" for took in (turns, computed, turns + computed, each.seconds)),
            f"{each.seconds / (turns + computed):.2f}x",
        )
        print("  " + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)))


def extrapolate(found: Measured, hosts: tuple[int, ...], rtt: float, unit: str) -> None:
    """Print how much of the store's time ticks take, and for how many runs there is room."""
    tidying = found.parts["prune"]
    print(f"  {'':10}{'store busy with ticks':>24}{'last':>10}", end="")
    print(f"{'runs a minute, at half load, by':>36}")
    print(f"  {unit:>10}{'idle':>12}{'late':>12}{'answer':>10}", end="")
    print("".join(f"{name:>12}" for name in found.runs))
    for count in hosts:
        idle = count * (found.idle + tidying).at(rtt)
        late = count * (found.late + tidying).at(rtt)
        answer = count * found.late.at(rtt)
        room = max(0.0, 60 * SHARE - late)
        print(f"  {count:>10,}{idle / 60:>12.1%}{late / 60:>12.1%}", end="")
        print(f"{answer:>8.2f} {'!' if answer > STORE_WAIT_SECONDS else 's'}", end="")
        print("".join(f"{int(room / cost.at(rtt)):>12,}" for cost in found.runs.values()))


def explain(rtt: float) -> None:
    print(f"""
Measured are the costs, on this machine, one client at a time, and the clients at once. All that is
said of more hosts is extrapolated, with {rtt * 1e3:g} ms for a round trip, in SQLite none.
"idle": nothing is due. "late": something is, all hosts hit in the same instant, and each takes its
turn to find it claimed; "last answer" is when the last of them has its answer. "!": those at the
end of the line wait for more than {STORE_WAIT_SECONDS} s and are
answered 503; the slots are run all the same, by those at its front.
Hosts that don't hit in the same instant don't wait.
"runs a minute": those for which half of the store's time is left then. So many tasks can be due
each minute. A run that lasts for more than 0.2 s costs as much again as its end, and one that lasts
for long a renewal {RENEWALS} times a minute and 5 reads a second, for its process' others as well.
Each process keeps up to 2 connections open: the server, or a pooler, has to take them.""")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer clients")
    parser.add_argument("--best", action="store_true", help="nearly the fastest, not medians")
    parser.add_argument("--folder", help="where to put SQLite's files: choose the disk")
    parser.add_argument("--rtt", type=float, default=0.5, help="milliseconds; the default is 0.5")
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    logging.disable()
    typical: Typical = nearly_best if options.best else median
    rounds, minutes = (20, 6) if options.quick else (200, 41)
    sizes = [n for n in (2, 4, 8, 16, 32, 64) if n < options.clients] + [options.clients]
    if options.quick:
        sizes = sizes[:2]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    with TemporaryDirectory(dir=options.folder) as folder:
        for kind in KINDS:
            if kind != "file" and (problem := databases.lacking(kind)):
                print(f"\n{NAMES[kind]}: {problem}")
                continue
            rtt = 0.0 if kind == "file" else options.rtt / 1e3
            found = measure(kind, Path(folder), typical, rounds)
            show(NAMES[kind], found)
            print(f"\n{NAMES[kind]}: measured, clients at once, 10 due, until the last answer")
            crowds = [crowd(kind, Path(folder), typical, n, 10, minutes) for n in sizes]
            check(found, crowds, 10)
            print(f"\n{NAMES[kind]}: extrapolated")
            hosts = HOSTS[:1] if kind == "file" else HOSTS
            extrapolate(found, hosts, rtt, "processes" if kind == "file" else "hosts")
    explain(options.rtt / 1e3)
    return 0


if __name__ == "__main__":
    sys.exit(main())
