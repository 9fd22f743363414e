"""How long it takes to run and record tasks that are all due in one minute, beside peers.

    python benchmarks/runs.py [--quick] [--best] [--profile COUNT] [--folder FOLDER]

Of 100 and of 1,000 tasks that do nothing, it measures the time from "all are due" to "all have run
and are recorded", each library with one worker and a fresh store in each round. What a tick has to
do is in it: where a peer puts due tasks on a queue first, so is that. All of them log at INFO to a
file. Our own tasks have a transaction each, under pyramid_tm with an explicit manager, and what
they log is captured; the peers' have none of that. Figures are medians of rounds in which each
library has its turn, so that a busy machine slows them alike; those that wait for the disk feel it
less than those that compute, and ``--best`` takes the fastest rounds instead. "Log lines and
transactions only" is no library but what our two lines and one transaction a task cost by
themselves.

Syncs (fsync and fdatasync) are counted with strace in a separate round, in each library's processes
and in the Redis it started; PostgreSQL counts its own.

``requirements.txt`` names the peers. Those that are not installed, and those whose server is not
there, are shown as absent. Servers: PostgreSQL on 127.0.0.1:5432 (user postgres, database test) and
Redis on 127.0.0.1:6379; with "AOF always" a redis-server of its own. ``--profile`` shows instead
where our own time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import os
import pstats
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from contenders import CONTENDERS, LEAST, OURS
from contenders.process import GivenUpError, Serving, untraceable
from figures import Column, Table, show

SIZES = (100, 1000)
GOALS = {True: 12, False: 3}
"""How many times as long as ours the fastest peer should take that does, or doesn't, sync."""

ROUNDS = {False: 7, True: 3}
LIMIT = {False: 120.0, True: 25.0}
"""Seconds from the start that the rounds may take; by whether it has to be quick."""

Times = dict[tuple[str, int], list[float]]
Medians = dict[tuple[str, int], float]
Counts = dict[tuple[str, int], int]


def serve(folder: Path, names: list[str], traced: bool = False) -> dict[str, Serving]:
    """Start the contenders together; return those that take part, and say which don't."""
    started = {name: Serving(CONTENDERS[name], folder, traced) for name in names}
    for name, serving in list(started.items()):
        try:
            serving.ready()
        except GivenUpError as error:
            print(f"{name}: {error}", flush=True)
            started.pop(name).close()
    return started


def race(serving: dict[str, Serving], quick: bool, give_up: float) -> Times:
    """Return the seconds of each round by name and size, without who would not be ready in time."""
    times: Times = {}
    for each in serving.values():
        each.seconds(10)
    for number in range(ROUNDS[quick]):
        for size, (name, each) in product(SIZES, serving.items()):
            in_time = time.monotonic() + expected(times, name, size) < give_up
            if in_time or (number == 0 and size == SIZES[0]):
                times.setdefault((name, size), []).append(each.seconds(size))
    return times


def expected(times: Times, name: str, size: int) -> float:
    """Return about how many seconds a round will take, with what has to be set up for it."""
    known = times.get((name, size)) or [
        seconds * size / SIZES[0] for seconds in times.get((name, SIZES[0]), [])
    ]
    return 2 * max(known, default=0)


def count_syncs(folder: Path, names: list[str]) -> Counts:
    """Return how often each contender syncs for the lesser size, and ours for both."""
    why = untraceable(folder)
    if why:
        print(f"strace can't run ({why}): syncs are not counted")
        return {}
    counts = {}
    for name, each in serve(folder, names, traced=True).items():
        each.seconds(10)
        for size in SIZES if name == OURS.name else SIZES[:1]:
            counts[name, size] = each.syncs(size)
        each.close()
        if bool(counts[name, SIZES[0]]) != CONTENDERS[name].syncs:
            print(f"{name}: counted {counts[name, SIZES[0]]} syncs, which was not expected")
    return counts


def table(medians: Medians, counts: Counts) -> Table:
    """Return what there is to show."""
    rows = []
    for name, contender in CONTENDERS.items():
        if (name, SIZES[0]) in medians:
            took = [medians.get((name, size)) for size in SIZES]
            count = counts.get((name, SIZES[0]))
            rows.append(
                (
                    name,
                    *(each and each * 1e3 for each in took),
                    "yes" if contender.syncs else "no",
                    count,
                    None if count is None else count / SIZES[0],
                )
            )
    columns = (
        Column(""),
        *(Column(f"{size:,} tasks, ms", ",.1f", compared=True) for size in SIZES),
        Column("on disk"),
        Column(f"syncs of {SIZES[0]}"),
        Column("per run", ".2f"),
    )
    return Table("", columns, rows, ours=OURS.name, also_ours=[LEAST.name])


def judge(medians: Medians, counts: Counts) -> None:
    """Print how far the goals are met."""
    print()
    for size, (syncs, goal) in product(SIZES, GOALS.items()):
        peers = {
            name: took / medians[OURS.name, size]
            for (name, at), took in medians.items()
            if at == size
            and name not in (OURS.name, LEAST.name)
            and CONTENDERS[name].syncs == syncs
        }
        if peers:
            name = min(peers, key=peers.__getitem__)
            kind = "the fastest that syncs" if syncs else "the fastest that doesn't"
            met = "met" if peers[name] >= goal else "missed"
            print(f"{size:>5,} tasks, {kind}: {peers[name]:.1f}x ({name}); goal {goal}x: {met}")
    ours = [f"{counts[OURS.name, size]} for {size:,}" for size in SIZES if counts]
    print(f"our syncs in a tick: {', '.join(ours) or 'not counted'}")


def profile(folder: Path, count: int) -> None:
    """Print where the time of our own tick goes."""
    from contenders import ours

    logging.basicConfig(filename=folder / "log", level=logging.INFO)
    profiler = cProfile.Profile()
    for name, call in (("warm up", lambda run: run()), ("profile", profiler.runcall)):
        (folder / name).mkdir()
        with ours.fresh(folder / name, count) as round_:
            start = time.perf_counter()
            call(round_.run)
            print(f"{name}: {(time.perf_counter() - start) * 1e3:,.1f} ms for {count:,} tasks")
    for order in ("tottime", "cumtime"):
        pstats.Stats(profiler).strip_dirs().sort_stats(order).print_stats(30)


def sync_cost(folder: Path) -> float:
    """Return the median seconds that it takes to sync 4 KiB to this disk."""
    took = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return median(took)


def compare(folder: Path, quick: bool, typical: Callable[[list[float]], float]) -> None:
    """Measure, count, and print the table."""
    print(
        f"Python {sys.version.split()[0]}, {os.cpu_count()} cores,"
        f" {sync_cost(folder) * 1e6:,.0f} us to sync 4 KiB"
    )
    give_up = time.monotonic() + LIMIT[quick]
    names = [name for name in CONTENDERS if not (quick and CONTENDERS[name].server)]
    serving = serve(folder, names)
    try:
        times = race(serving, quick, give_up)
    finally:
        for end in (Serving.dismiss, Serving.close):
            for each in serving.values():
                end(each)
    counts = count_syncs(folder, list(serving))
    medians = {key: typical(rounds) for key, rounds in times.items()}
    show(table(medians, counts))
    judge(medians, counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no peer with a server")
    parser.add_argument("--profile", type=int, metavar="COUNT", help="profile our own tick instead")
    parser.add_argument("--best", action="store_true", help="the fastest rounds, not the medians")
    parser.add_argument("--folder", help="where to put the stores: choose the disk")
    arguments = parser.parse_args()
    with TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.profile:
            profile(Path(folder), arguments.profile)
        else:
            compare(Path(folder), arguments.quick, min if arguments.best else median)


if __name__ == "__main__":
    main()
