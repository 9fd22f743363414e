"""What all other tasks do while one hangs in the only worker of gunicorn.

    python benchmarks/hung_task.py [--minutes 5] [--kind sync] [--quick]

Gunicorn has one worker, ``sync`` or ``gthread``. One task in the request hangs from the first
minute's tick on, and does not end before the time is over. The trigger is hit once a minute,
whether earlier hits were answered or not. Afterwards the slots of all other tasks are counted, and
how late their runs began. The exit code is 1 if one is missing, began twice or was skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from common import Column, show, show_machine

KINDS = {
    "sync": ["--worker-class", "sync"],
    "gthread": ["--worker-class", "gthread", "--threads", "4"],
}
"""The options of gunicorn by kind of worker. Its own timeout is longer than the task hangs."""

COLUMNS = (
    Column("task"),
    Column("slots", ",.0f"),
    Column("ran", ",.0f"),
    Column("missing", ",.0f"),
    Column("twice", ",.0f"),
    Column("late, s", ",.2f"),
    Column("95 %", ",.2f"),
    Column("worst", ",.2f"),
)


# In the server.


def app() -> Any:
    """Return the application: a task that hangs, and others of each kind."""
    from pyramid.config import Configurator

    folder = Path(os.environ["CRON_FOLDER"])
    config = Configurator(
        settings={"cron.url": f"sqlite:///{folder}/cron.sqlite", "cron.timezone": "UTC"}
    )
    config.include("pyramid_cron")

    def hang(_: Any) -> None:
        (folder / "hangs").touch()
        while not (folder / "finish").exists():
            time.sleep(0.1)

    def begin(system: dict[str, Any]) -> None:
        run = system["run"]
        line = f"{run.task} {run.slot.isoformat()} {time.time()}\n".encode()
        file = os.open(folder / "starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line)
        os.close(file)

    config.add_cron_task(hang, name="hangs", min="*", priority=1)
    for number in range(10):
        config.add_cron_task(begin, name=f"minutely-{number}", min="*")
    config.add_cron_task(begin, name="in-a-thread", min="*", executor="thread")
    config.add_cron_task(begin, name="every-10s", every="10s")
    config.add_cron_task(begin, name="every-2s", every="2s")
    return config.make_wsgi_app()


# The trigger.


@contextmanager
def serving(kind: str, folder: Path, seconds: float) -> Iterator[str]:
    """Run gunicorn with one worker; give its address."""
    printed = folder / "printed"
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "-b", "127.0.0.1:0"]
    command += ["--timeout", str(int(seconds) + 120), *KINDS[kind], "hung_task:app()"]
    with printed.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=Path(__file__).parent,
            env={**os.environ, "CRON_FOLDER": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while not (match := re.search(r"Listening at: (http://\S+) ", printed.read_text())):
            if server.poll() is not None:
                raise RuntimeError(printed.read_text())
            time.sleep(0.05)
        yield match[1]
    finally:
        (folder / "finish").touch()
        server.terminate()
        server.wait(60)


def hit_each_minute(address: str, until: float) -> int:
    """Hit the trigger at each full minute until a moment, never waiting; return how often."""
    count = 0

    def hit() -> None:
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/cron", timeout=3600).read()

    while time.time() < until:
        time.sleep(60 - time.time() % 60)
        threading.Thread(target=hit, daemon=True).start()
        count += 1
    return count


def measure(kind: str, minutes: float) -> bool:
    """Let the task hang for so long, and show what became of the others; return if all was well."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(kind, folder, 60 * minutes) as address:
            begin = time.time()
            hits = hit_each_minute(address, begin + 60 * minutes)
            first = begin - begin % 60 + 60  # the first minute that was hit
            time.sleep(3)  # for what the last hit has found due
            end = time.time() - 2
            skipped, hanging = on_record(folder)
        rows = outcome(folder, first, end)
    title = f"{kind}, one worker: a task hangs for {minutes:g} minutes, {hits} hits"
    show(title, COLUMNS, rows)
    print(f"runs of others that were skipped: {skipped}; runs that hang: {hanging}\n", flush=True)
    return not skipped and not any(row[3] or row[4] for row in rows)


def outcome(folder: Path, first: float, end: float) -> list[tuple[Any, ...]]:
    """Return for each task its slots, which of them ran, and how late."""
    late: dict[str, dict[float, list[float]]] = {}
    for line in (folder / "starts").read_text().splitlines():
        task, slot, moment = line.split()
        at = datetime.fromisoformat(slot).timestamp()
        late.setdefault(task, {}).setdefault(at, []).append(float(moment) - at)
    rows = []
    for task, runs in sorted(late.items()):
        step = {"every-10s": 10, "every-2s": 2}.get(task, 60)
        # The process goes on between ticks from its first hit on.
        slots = [first + n * step for n in range(int((end - first) // step) + 1)]
        delays = sorted(each[0] for slot, each in runs.items() if slot in slots)
        missing = sum(slot not in runs for slot in slots)
        twice = sum(len(runs.get(slot, [])) > 1 for slot in slots)
        worst, most = delays[-1], delays[len(delays) * 19 // 20]
        rows.append((task, len(slots), len(delays), missing, twice, median(delays), most, worst))
    return rows


def on_record(folder: Path) -> tuple[int, int]:
    """Return how many runs of other tasks were skipped, and how many runs go on."""
    command = [sys.executable, "-W", "ignore", __file__, "--history", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    runs = json.loads(done.stdout)
    others = [run for run in runs if run["task"] != "hangs"]
    return (
        sum(run["reason"] in ("overlap", "missed") for run in others),
        sum(run["state"] == "running" for run in runs),
    )


def print_history(folder: str) -> None:
    """Print the runs on record as JSON."""
    os.environ["CRON_FOLDER"] = folder
    from pyramid_cron import scheduler

    runs = scheduler(app().registry).history(limit=10**6)
    keys = ("task", "state", "reason")
    print(json.dumps([{key: str(getattr(run, key)) for key in keys} for run in runs]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5, help="how long the task hangs")
    parser.add_argument("--quick", action="store_true", help="two minutes")
    parser.add_argument("--kind", choices=KINDS, help="one kind of worker only")
    parser.add_argument("--history", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.history:
        print_history(options.history)
        return 0
    minutes = min(options.minutes, 2) if options.quick else options.minutes
    fine = [measure(kind, minutes) for kind in ([options.kind] if options.kind else KINDS)]
    show_machine("gunicorn", "SQLAlchemy")
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
