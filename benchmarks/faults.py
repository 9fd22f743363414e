"""How the record stands up to processes that are killed at random.

    python benchmarks/faults.py --seconds 120 [--processes 8] [--url URL]
    python benchmarks/faults.py --exactly-once --kills 2000 --seconds 1800 [--url URL]

Eight processes tick the same seconds over one store and are killed, one every quarter of a second.
Afterwards every slot that was due is accounted for. The exit code is 1 if one was lost track of, or
started more often than it may.

With ``--exactly-once`` the store lies in the application's database, and work and record are
compared run by run: four processes are killed at random and at named points, and frozen past their
leases at times.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from common import Column, show, show_machine

EXACTLY_ONCE = "--exactly-once"

ROOT = Path(__file__).parents[1]

COLUMNS = (Column("what came of it"), Column("number", ",.0f"))
LATENESS = (Column(""), *(Column(name, ",.1f") for name in ("median", "95 %", "99 %", "worst")))


def outcome(account: dict[str, Any]) -> list[tuple[str, float]]:
    """Return what happened, and how often what must not happen did."""
    return [
        ("seconds", account["seconds"]),
        ("processes killed", account["kills"]),
        ("ticks", account["ticks"]),
        ("slots that were due", account["slots"]),
        ("starts", account["starts"]),
        *((f"runs on record: {state}", n) for state, n in sorted(account["states"].items())),
        ("ticks that could not get at the store", account["troubles"]),
        ("slots of which nothing is known", len(account["unrecorded"])),
        ("slots that are counted twice", len(account["counted_twice"])),
        ("starts more often than allowed", len(account["twice"])),
        ("starts that are not on record", len(account["unfounded"])),
        ("slots held up by a run that had not begun", len(account["held_up"])),
        ("runs that seem to go on for ever", len(account["stuck"])),
        ("processes that died of something else", len(account["deaths"])),
    ]


def exact_outcome(account: dict[str, Any]) -> list[tuple[str, float]]:
    """Return the same of work and record that are one transaction."""
    return [
        ("seconds", account["seconds"]),
        ("processes killed", account["kills"]),
        *((f"of these {point}", number) for point, number in account["points"].items()),
        ("processes frozen", account["freezes"]),
        ("works done", account["work"]),
        *((f"runs on record: {state}", n) for state, n in sorted(account["states"].items())),
        ("ticks that could not get at the store", account["troubles"]),
        ("works missing", len(account["missing"])),
        ("works done twice", len(account["doubled"])),
        ("successes without work", len(account["recorded_without_work"])),
        ("works without a success", len(account["work_without_record"])),
        ("runs that seem to go on for ever", len(account["stuck"])),
        ("processes that died of something else", len(account["deaths"])),
    ]


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != EXACTLY_ONCE]
    is_exact = len(arguments) < len(sys.argv) - 1
    module = f"tests.integration.{'ledger' if is_exact else 'killing'}"
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if not done.stdout.startswith("{"):  # it was asked for help, or something is missing
        print(done.stdout)
        return done.returncode
    account = json.loads(done.stdout)
    if is_exact:
        show("", COLUMNS, exact_outcome(account))
    else:
        _show_outcome(account)
    for name, value in account.items():
        if isinstance(value, list) and value:
            print(f"{name}: {', '.join(value)}")
    show_machine("SQLAlchemy")
    return done.returncode


def _show_outcome(account: dict[str, Any]) -> None:
    show("", COLUMNS, outcome(account))
    late = [seconds * 1e3 for seconds in account.pop("late")]
    hundredths = quantiles(late, n=100, method="inclusive")
    row = ("first task", median(late), hundredths[94], hundredths[98], max(late))
    title = f"Milliseconds from a tick to the start of its first task, {len(late):,} times"
    show(title, LATENESS, [row])


if __name__ == "__main__":
    sys.exit(main())
