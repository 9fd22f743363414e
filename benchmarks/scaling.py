"""How far one store goes: what ticks and runs cost it, and what that makes of many hosts.

    python benchmarks/scaling.py [--quick] [--best] [--folder FOLDER] [--rtt MS] [--clients COUNT]

Measures the turns that are taken in PostgreSQL, MariaDB and a SQLite file, adds them up for many
hosts that hit the trigger in the same instant, and compares that with some processes that do.
docs/figures.rst says what the model leaves out, docs/hosts.rst what came of it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from common import Column, options, show, show_machine
from pyramid.config import Configurator
from sqlalchemy import event

sys.path.insert(0, str(Path(__file__).parents[1]))

from pyramid_cron.app import CronApp, get_cron
from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import Run, RunState, Trigger, evolve
from pyramid_cron.runtime.tick import run_tick_and_wait
from pyramid_cron.store.engine import STORE_WAIT_SECONDS
from pyramid_cron.store.handoff import hand_off_run, take_over_run
from pyramid_cron.store.results import Outcome, WriteBatch
from pyramid_cron.store.retention import prune
from pyramid_cron.store.store import Store
from tests import databases

KINDS = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "file": "SQLite"}
DUE = (1, 10, 100, 1000)
CROWD_DUE = 10
HOSTS = (10, 100, 1000)
LOAD = 0.5
"""How much of the store's time may be taken."""

COSTS = (Column("alone"), Column("ms", ",.2f"), Column("round trips", ",.2f"))
CROWDS = (
    Column("clients at once"),
    Column("took turns", ".0f"),
    *(Column(f"{name}, ms", ",.1f") for name in ("turns", "computing", "both", "measured")),
    Column("ratio", ".2f"),
)
EXTRAPOLATED = (
    Column("hosts or processes", ","),
    *(Column(f"store busy, {name}", ".1%") for name in ("idle", "late")),
    Column("last answer, s", ",.2f"),
    *(Column(f"{name}, runs a minute", ",.0f") for name in ("request", "thread", "celery")),
)

IDLE, LATE = "a tick with nothing due", "a tick that comes too late"
MORE, END = "each run more in it", "the end of a run elsewhere"
HAND_OFF, TAKE_OVER = "handing a run off to a queue", "taking it over there"
PRUNE = "looking for runs to prune"
RENEW, RENEW_100 = "renewing the lease of 1 run", "renewing the leases of 100 runs"
PEEK = "peeking whether there is something to do *"
CANCEL_REQUESTS = "reading the cancel requests *"

WRITES = ("claim_transaction", "write_batch", "renew_leases")
"""What of a store takes a turn."""

Settings = dict[str, str]
Typical = Callable[[list[float]], float]

LEASE = timedelta(minutes=1)
START = datetime(2026, 6, 1, 4, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


class Turn(NamedTuple):
    """A turn that was taken at a store: what for, for how long, with how many round trips."""

    purpose: str
    seconds: float
    trips: int


class Cost(NamedTuple):
    """Seconds of a store's time, and round trips while they last; reads keep nobody waiting."""

    seconds: float
    trips: float | None = None

    def at(self, rtt: float) -> float:
        """Return the seconds if a round trip takes that long."""
        return self.seconds + (self.trips or 0) * rtt


Costs = dict[str, list[Cost]]


def watch(store: Store) -> list[Turn]:
    """Return a list that gets all turns that are taken here from now on."""
    turns: list[Turn] = []
    local = threading.local()
    write_session = store.write_session

    @contextmanager
    def watched() -> Iterator[Any]:
        with write_session() as session:
            local.trips = 1  # the commit
            begin = time.perf_counter()
            yield session
        if purpose := getattr(local, "purpose", None):  # not what the supervisor does by itself
            turns.append(Turn(purpose, time.perf_counter() - begin, local.trips))

    def named(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any) -> Any:
            # Of a context manager nothing has happened yet when this returns.
            local.purpose = name
            return call(*arguments)

        return do

    def executed(connection: Any, _c: Any, statement: str, parameters: Any, _x: Any, many: bool):
        one_by_one = many and connection.dialect.name in _sending_one_by_one(statement)
        local.trips = getattr(local, "trips", 0) + (len(parameters) if one_by_one else 1)

    store.open()
    store.write_session = watched
    for name in WRITES:
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
def ticking(settings: Settings, count: int, **policy: Any) -> Iterator[tuple[Any, list[Turn]]]:
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


def cost(turns: list[Turn], call: Callable[..., object], *arguments: Any) -> Cost:
    """Return what a call costs of the store's time."""
    turns.clear()
    call(*arguments)
    return Cost(sum(turn.seconds for turn in turns), sum(turn.trips for turn in turns))


def read_cost(call: Callable[..., object], *arguments: Any) -> Cost:
    begin = time.perf_counter()
    call(*arguments)
    return Cost(time.perf_counter() - begin)


def of_ticks(settings: Settings, rounds: int, name: str, count: int, **policy: Any) -> Costs:
    """Measure a tick, and looking whether there is something to do."""
    costs: Costs = {name: [], PEEK: []}
    with ticking(settings, count, **policy) as (registry, turns):
        tick(registry, START)
        for number in range(1, rounds + 1):
            moment = START + number * MINUTE
            costs[name].append(cost(turns, tick, registry, moment))
            costs[PEEK].append(read_cost(get_cron(registry).store.peek, moment))
    return costs


def of_late_ticks(settings: Settings, rounds: int) -> Costs:
    """Measure a tick that finds what it saw due claimed by another host."""
    costs = []
    with (
        ticking(settings, 10, min="*") as (first, _),
        ticking(settings, 10, min="*") as (second, turns),
    ):
        tick(first, START)
        tick(second, START)
        store = get_cron(second).store
        peek = store.peek
        for number in range(1, rounds + 1):
            moment = START + number * MINUTE
            before = peek(moment)
            tick(first, moment)
            store.peek = lambda _, before=before: before
            costs.append(cost(turns, tick, second, moment))
            assert [turn.purpose for turn in turns].count("claim_transaction") == 1
    return {LATE: costs}


def of_runs(settings: Settings, rounds: int) -> Costs:
    """Measure what else there is to do for a run elsewhere, and once a minute."""
    costs: Costs = {}
    with ticking(settings, 1, min="*") as (registry, turns):
        store = get_cron(registry).store
        hundred = [run.id for run in claimed(get_cron(registry), 100, START - MINUTE)]
        for number in range(rounds):
            moment = START + number * MINUTE
            [run] = claimed(get_cron(registry), 1, moment)
            ended = evolve(run, state=RunState.SUCCEEDED, started=moment, finished=moment)
            for name, call, *arguments in (
                (RENEW, store.renew_leases, [run.id], moment + LEASE),
                (HAND_OFF, hand_off_run, store, run.id, moment + LEASE),
                (TAKE_OVER, take_over_run, store, run.id, moment, moment + LEASE),
                (END, store.write_batch, WriteBatch([Outcome(ended)])),
                (RENEW_100, store.renew_leases, hundred, moment + LEASE),
                (PRUNE, prune, store, START - 2 * MINUTE, 500),
            ):
                costs.setdefault(name, []).append(cost(turns, call, *arguments))
            costs.setdefault(CANCEL_REQUESTS, []).append(read_cost(store.cancel_requests))
    return costs


def claimed(cron: CronApp, count: int, moment: datetime) -> list[Run]:
    """Claim so many runs."""
    due = [WaitingRun(f"task {n}", moment, Trigger.SCHEDULE, moment) for n in range(count)]
    with cron.store.claim_transaction(moment, moment + LEASE) as claims:
        return claims.claim(due)[0]


def nearly_best(values: Iterable[float]) -> float:
    """Return what one in ten is less than."""
    ordered = sorted(values)
    return ordered[len(ordered) // 10]


def measure(kind: str, folder: Path, typical: Typical, rounds: int) -> dict[str, Cost]:
    """Return what all of it costs in a kind of store, by name."""
    costs: Costs = {}

    def add(do: Callable[..., Costs], *arguments: Any, **policy: Any) -> None:
        with settings_of(kind, folder) as settings:
            costs.update(do(settings, *arguments, **policy))

    for count in DUE:
        add(of_ticks, max(rounds // count, 10), due_name(count), count, min="*")
    add(of_ticks, rounds, IDLE, 100, hour=3)
    add(of_late_ticks, rounds)
    add(of_runs, rounds)
    result = {
        name: Cost(
            typical([cost.seconds for cost in each]),
            None if each[0].trips is None else median(cost.trips for cost in each),
        )
        for name, each in costs.items()
    }
    few, many = (result[due_name(count)] for count in (DUE[0], DUE[-1]))
    more = DUE[-1] - DUE[0]
    result[MORE] = Cost(
        (many.seconds - few.seconds) / more, ((many.trips or 0) - (few.trips or 0)) / more
    )
    return result


def due_name(count: int) -> str:
    return f"a tick with {count:,} due"


@contextmanager
def settings_of(kind: str, folder: Path) -> Iterator[Settings]:
    """Give the settings of a store with nothing in it."""
    with TemporaryDirectory(dir=folder) as own, databases.place(kind, Path(own)) as place:
        yield {
            "cron.url": place.url.render_as_string(hide_password=False),
            "cron.table_prefix": place.prefix,
            "cron.timezone": "UTC",
        }


# What many processes at once take.


def client(settings: Settings, minutes: int, barrier: Any, results: Any) -> None:
    """Hit a store for some minutes in the same instants as others do; tell when, and what for."""
    logging.disable()
    with ticking(settings, CROWD_DUE, min="*") as (registry, turns):
        cron = get_cron(registry)
        for number in range(minutes):
            time.sleep(0.3)  # in which what was noted before is written
            barrier.wait(60)
            turns.clear()
            begin, computed = time.perf_counter(), time.process_time()
            runs = run_tick_and_wait(cron, registry, START + number * MINUTE).runs
            end, computed = time.perf_counter(), time.process_time() - computed
            turn = [turn.purpose for turn in turns].count("claim_transaction")
            results.put((number, begin, end, computed, turn, len(runs)))


def crowd(
    kind: str, folder: Path, typical: Typical, clients: int, minutes: int
) -> tuple[float, float, float]:
    """Return how many clients took a turn, the seconds that all computed, those until the last."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(clients), context.Queue()
    with settings_of(kind, folder) as settings:
        arguments = (settings, minutes, barrier, results)
        processes = [context.Process(target=client, args=arguments) for _ in range(clients)]
        for process in processes:
            process.start()
        answers = [results.get(timeout=120) for _ in range(clients * minutes)]
        for process in processes:
            process.join(60)
    by_minute: dict[int, list[Any]] = {}
    for number, *answer in answers:
        by_minute.setdefault(number, []).append(answer)
    del by_minute[0]  # the tables are made in it
    minutely = [list(zip(*answers, strict=True)) for answers in by_minute.values()]
    assert all(sum(runs) == CROWD_DUE for *_, runs in minutely), "not every slot ran once"
    return (
        median(sum(turns) for *_, turns, _ in minutely),
        typical([sum(computed) for _, _, computed, *_ in minutely]),
        typical([max(ends) - min(begins) for begins, ends, *_ in minutely]),
    )


def check(costs: dict[str, Cost], clients: int, measured: tuple[float, float, float]) -> Any:
    """Return a row of what the model says, and of what was measured."""
    took_turns, computed, seconds = measured
    turns = costs[due_name(CROWD_DUE)].seconds + (took_turns - 1) * costs[LATE].seconds
    computed /= os.cpu_count() or 1
    both = turns + computed
    milliseconds = (value * 1e3 for value in (turns, computed, both, seconds))
    return clients, took_turns, *milliseconds, seconds / both


def extrapolate(costs: dict[str, Cost], hosts: int, rtt: float) -> Any:
    """Return a row of how much of the store's time ticks take, and the runs there is room for."""
    idle = hosts * (costs[IDLE].at(rtt) + costs[PRUNE].at(rtt))
    late = hosts * (costs[LATE].at(rtt) + costs[PRUNE].at(rtt))
    room = max(0.0, 60 * LOAD - late)
    parts = ([MORE], [MORE, END], [MORE, HAND_OFF, TAKE_OVER, END])
    runs = (room / sum(costs[name].at(rtt) for name in names) for names in parts)
    return hosts, idle / 60, late / 60, hosts * costs[LATE].at(rtt), *runs


def main() -> None:
    parser = options(__doc__, "fewer rounds, fewer clients")
    parser.add_argument("--best", action="store_true", help="nearly the fastest, not medians")
    parser.add_argument("--folder", help="where to put SQLite's files: choose the disk")
    parser.add_argument("--rtt", type=float, default=0.5, help="milliseconds; the default is 0.5")
    parser.add_argument("--clients", type=int, default=16)
    arguments = parser.parse_args()
    logging.disable()
    typical: Typical = nearly_best if arguments.best else median
    rounds, minutes = (20, 6) if arguments.quick else (200, 41)
    sizes = [n for n in (2, 4, 8, 16, 32, 64) if n < arguments.clients] + [arguments.clients]
    with TemporaryDirectory(dir=arguments.folder) as name:
        for kind, title in KINDS.items():
            folder, is_file = Path(name), kind == "file"
            if not is_file and (problem := databases.lacking(kind)):
                print(f"\n{title}: {problem}")
                continue
            costs = measure(kind, folder, typical, rounds)
            show(
                title,
                COSTS,
                [(what, cost.seconds * 1e3, cost.trips) for what, cost in costs.items()],
            )
            rows = [
                check(costs, clients, crowd(kind, folder, typical, clients, minutes))
                for clients in (sizes[:2] if arguments.quick else sizes)
            ]
            show(f"{title}: the model and what was measured, {CROWD_DUE} due", CROWDS, rows)
            rtt = 0.0 if is_file else arguments.rtt / 1e3
            hosts = HOSTS[:1] if is_file else HOSTS
            rows = [extrapolate(costs, count, rtt) for count in hosts]
            show(f"{title}: extrapolated, {rtt * 1e3:g} ms a round trip", EXTRAPOLATED, rows)
    print("* reads, which keep nobody waiting.")
    print(f"Who waits for {STORE_WAIT_SECONDS} s is answered 503.")
    show_machine("SQLAlchemy", "psycopg", "PyMySQL")


if __name__ == "__main__":
    main()
