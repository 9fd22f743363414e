"""How late tasks start that are due in a minute, beside peers, and whether each starts once.

    python benchmarks/lateness.py [--quick] [--rounds COUNT]

Each library runs by its own means, as its documentation has it, with ten tasks that do nothing but
write when they started. In turn each has a minute in which its tasks are due while all others wait,
once in a round. A start is late by the time since the minute began. ``first`` is the median of the
first starts in a minute, the other figures are of all starts.

Ours is hit by ``curl``, started on the full minute; a cron daemon adds what it is late itself,
often about a second, which is not in the figures. The others have clocks of their own: what runs in
one process needs neither a request nor a broker, and APScheduler in memory has nothing to write.
huey looks for periodic tasks every minute from when its consumer started, so it may be late by
anything up to a minute. In ours, huey and procrastinate the tasks of a minute start one after the
other.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from figures import Column, Table, show
from punctual import CONTENDERS, running

TASKS = 10
SETTLING = 20
"""Seconds that they have to start."""

COLUMNS = (
    Column("library"),
    Column("slots"),
    Column("missed"),
    Column("twice"),
    Column("first, ms", ",.0f", compared=True),
    Column("median, ms", ",.0f", compared=True),
    Column("95 of 100, ms", ",.0f"),
    Column("worst, ms", ",.0f"),
)

OURS = "pyramid_cron, curl"


def measure(rounds: int) -> list[tuple[object, ...]]:
    """Let all of them run for so many rounds, and return a row for each."""
    names = list(CONTENDERS)
    begin = int((time.time() + SETTLING) // 60 + 1)
    end = begin + rounds * len(names)
    with TemporaryDirectory() as place, ExitStack() as stack:
        folders = {name: Path(place) / str(number) for number, name in enumerate(names)}
        for number, (name, folder) in enumerate(folders.items()):
            folder.mkdir()
            turns = ",".join(str(m) for m in range(60) if m % len(names) == number)
            stack.enter_context(running(name, folder, turns, TASKS))
        while (left := end * 60 - time.time()) > 0:
            time.sleep(left)
        rows = []
        for number, (name, folder) in enumerate(folders.items()):
            due = [m for m in range(begin, end) if m % 60 % len(names) == number]
            row = judged(folder, due)
            if row is None:
                print(f"{name}: {(folder / 'log').read_text().strip().splitlines()[-1:]}")
            rows.append((name, *(row or [None] * (len(COLUMNS) - 1))))
        return rows


def judged(folder: Path, due: list[int]) -> tuple[object, ...] | None:
    """Return what became of the slots of one library; None if it never started anything."""
    found: defaultdict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    path = folder / "starts"
    for line in path.read_text().splitlines() if path.exists() else []:
        task, moment = line.split()
        found[int(float(moment) // 60)][int(task)].append(float(moment) % 60 * 1e3)
    first = [min(min(each) for each in found[m].values()) for m in due if found[m]]
    late = [min(each) for m in due for each in found[m].values()]
    if len(late) < 2:
        return None
    counts = Counter(len(each) for m in due for each in found[m].values())
    missed = len(due) * TASKS - sum(counts.values())
    twice = sum(count for times, count in counts.items() if times > 1)
    return (
        len(due) * TASKS,
        missed,
        twice,
        median(first),
        median(late),
        quantiles(late, n=100, method="inclusive")[94],
        max(late),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two rounds, of six minutes each")
    parser.add_argument("--rounds", type=int, help="how many rounds; ten unless given")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 10)
    print(f"Python {sys.version.split()[0]}, rounds: {rounds}")
    show(Table("", COLUMNS, measure(rounds), OURS, chart="bars", drawn=("median, ms",)))


if __name__ == "__main__":
    main()
