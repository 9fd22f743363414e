"""How the record stands up to processes that are killed at random.

    python benchmarks/faults.py --seconds 120 [--processes 8] [--url URL]

Eight processes tick the same seconds over one store, a SQLite file unless another is named, and are
killed with SIGKILL, one every quarter of a second. Their tasks have every kind of policy. Each
start of a task leaves a line in a file that no kill can take back; afterwards every slot that was
due is accounted for from these lines and the store. How late a start is counts from when its tick
set out to claim it, so waiting for the store, which eight processes want at once, is in it. The
exit code is 1 if a slot was lost track of, or started more often than it may. The test suite does
the same for some seconds.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from figures import Column, Table, show

ROOT = Path(__file__).parents[1]

CAME_OF_IT = (Column("what came of it"), Column("number", ",.0f"))
LATE = tuple(Column(name, ",.1f") for name in ("median", "95 of 100", "99 of 100", "worst"))


def came_of_it(found: dict[str, Any]) -> Table:
    """Return what happened, and how often what must not happen did."""
    rows = [
        ("seconds", found["seconds"]),
        ("processes killed", found["kills"]),
        ("ticks", found["ticks"]),
        ("slots that were due", found["slots"]),
        ("starts", found["starts"]),
        *((f"runs on record: {state}", count) for state, count in sorted(found["states"].items())),
        ("ticks that could not get at the store", found["troubles"]),
        ("slots of which nothing is known", len(found["unrecorded"])),
        ("slots that are counted twice", len(found["counted_twice"])),
        ("starts more often than allowed", len(found["twice"])),
        ("starts that are not on record", len(found["unfounded"])),
        ("runs that seem to go on for ever", len(found["stuck"])),
        ("processes that died of something else", len(found["deaths"])),
    ]
    return Table("", CAME_OF_IT, rows)


def lateness(late: list[float]) -> Table:
    """Return how many milliseconds starts came after their ticks."""
    hundredths = quantiles((each * 1e3 for each in late), n=100, method="inclusive")
    row = ("first task", median(late) * 1e3, hundredths[94], hundredths[98], max(late) * 1e3)
    heading = f"Milliseconds from a tick to the start of its first task, {len(late):,} times"
    return Table(heading, (Column(""), *LATE), [row])


def main() -> int:
    command = [sys.executable, "-W", "ignore", "-m", "tests.integration.killing", *sys.argv[1:]]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if not done.stdout.startswith("{"):  # it was asked for help, or something is missing
        print(done.stdout)
        return done.returncode
    found = json.loads(done.stdout)
    show(came_of_it(found))
    show(lateness(found.pop("late")))
    for name, each in found.items():
        if isinstance(each, list) and each:
            print(f"{name}: {', '.join(each)}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
