"""How long it takes to run and record tasks that are all due in one minute, beside peers.

    python benchmarks/runs.py [--quick] [--best] [--folder FOLDER]

Measures the time from "all are due" to "all have run and are recorded", of 100 and of 1,000 tasks
that do nothing, each library with one worker and a fresh store in each round. Libraries take turns.
Syncs are counted with strace in a separate round; PostgreSQL counts its own. requirements.txt names
the peers, docs/figures.rst says what is in the figures. Servers: PostgreSQL on 127.0.0.1:5432 (user
postgres, database test) and Redis on 127.0.0.1:6379.
"""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from common import Column, options, show, show_machine, timed
from contenders import CONTENDERS, OURS
from contenders.process import GivenUpError, seconds, syncs

SIZES = (100, 1000)
ROUNDS = 5
QUICK_ROUNDS = 2
COLUMNS = (
    Column(""),
    *(Column(f"{size:,} tasks, ms", ",.1f", compared=True) for size in SIZES),
    Column("on disk"),
    Column(f"syncs of {SIZES[0]}"),
)


def sync_cost(folder: Path) -> float:
    """Return the median milliseconds that it takes to sync 4 KiB to this disk."""
    with (folder / "synced").open("wb", buffering=0) as file:

        def sync() -> None:
            file.write(bytes(4096))
            os.fdatasync(file.fileno())

        return timed(sync, 100)


def measure(folder: Path, quick: bool) -> dict[str, list[list[float]]]:
    """Return the seconds of each round by size, of the contenders that are there."""
    names = [name for name in CONTENDERS if not (quick and CONTENDERS[name].server)]
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        for name in list(times):
            try:
                times[name].append(seconds(name, folder, *SIZES))
            except GivenUpError as error:
                print(f"{name}: {error}", flush=True)
                del times[name]
    return times


def count_syncs(name: str, folder: Path) -> int | None:
    """Return how often a contender syncs for the lesser size; None where that can't be counted."""
    try:
        return syncs(name, folder, SIZES[0])[0]
    except (GivenUpError, OSError) as error:
        print(f"{name}: syncs are not counted: {error}", flush=True)
        return None


def main() -> None:
    parser = options(__doc__, "fewer rounds, no peer with a server")
    parser.add_argument("--best", action="store_true", help="the fastest rounds, not the medians")
    parser.add_argument("--folder", help="where to put the stores: choose the disk")
    arguments = parser.parse_args()
    typical = min if arguments.best else median
    with TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        print(f"{sync_cost(folder):,.2f} ms to sync 4 KiB")
        times = measure(folder, arguments.quick)
        rows = [
            (
                name,
                *(typical(rounds) * 1e3 for rounds in zip(*by_round, strict=True)),
                "yes" if CONTENDERS[name].syncs else "no",
                count_syncs(name, folder),
            )
            for name, by_round in times.items()
        ]
    show("", COLUMNS, rows, OURS.name)
    show_machine("SQLAlchemy", "APScheduler", "celery", "dramatiq", "huey", "procrastinate")


if __name__ == "__main__":
    main()
