"""How late the slots of ``every="2s"`` start under one hit a minute, beside APScheduler.

    python benchmarks/seconds.py [--quick] [--minutes N]

Both run at the same time, each in a process of its own, with a task that writes when it started.

It runs itself once for each library: ``seconds.py contender NAME``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread

from common import Column, application, options, show, show_machine

INTERVAL = 2.0
COLUMNS = (
    Column("library"),
    Column("slots"),
    Column("missed"),
    Column("twice"),
    Column("median, ms", ",.1f", compared=True),
    Column("worst, ms", ",.0f"),
)
OURS = "pyramid_cron, curl"


def start(*_: object) -> None:
    """Be the task: leave a line with the seconds since the epoch, in one write."""
    file = os.open("starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{time.time()}\n".encode())
    os.close(file)


def pyramid_cron() -> None:
    """Serve by waitress, and let curl hit the trigger at once and on each full minute."""
    import waitress

    def register(config: object) -> None:
        config.add_cron_task(start, every=INTERVAL, name="task")

    server = waitress.create_server(application(Path(), register), listen="127.0.0.1:0")
    url = f"http://127.0.0.1:{server.effective_port}/cron"

    def hit() -> None:
        while True:
            command = ["curl", "-fsSL", "--max-redirs", "0", "-o", "/dev/null", url]
            subprocess.run(command, check=False)
            time.sleep(60 - time.time() % 60)

    Thread(target=hit, daemon=True).start()
    server.run()


def apscheduler() -> None:
    """Run the scheduler with its job in memory, its slots on even seconds like ours."""
    from apscheduler.schedulers.blocking import BlockingScheduler

    scheduler = BlockingScheduler(timezone="UTC")
    scheduler.add_job(start, "cron", second=f"*/{INTERVAL:.0f}", misfire_grace_time=None)
    scheduler.start()


CONTENDERS: dict[str, Callable[[], None]] = {OURS: pyramid_cron, "APScheduler": apscheduler}


def measure(seconds: float) -> list[tuple[object, ...]]:
    """Return the rows of the table."""
    with TemporaryDirectory(prefix="seconds-") as folder:
        processes = [_begin(Path(folder), name) for name in CONTENDERS]
        try:
            while not all((Path(folder) / name / "starts").exists() for name in CONTENDERS):
                time.sleep(0.1)  # on a busy machine it takes them long to begin
            first = time.time() // INTERVAL * INTERVAL + INTERVAL
            time.sleep(first + seconds - time.time())
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
                process.wait()
        last = first + seconds - INTERVAL
        return [(name, *_figures(Path(folder) / name, first, last)) for name in CONTENDERS]


def _begin(folder: Path, name: str) -> subprocess.Popen[bytes]:
    here = Path(__file__).resolve()
    (folder / name).mkdir()
    environ = {**os.environ, "PYTHONPATH": f"{here.parent}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-W", "ignore", str(here), "contender", name]
    return subprocess.Popen(command, cwd=folder / name, env=environ, stderr=subprocess.DEVNULL)


def _figures(folder: Path, first: float, last: float) -> tuple[object, ...]:
    moments = map(float, (folder / "starts").read_text().split())
    starts = [(moment // INTERVAL * INTERVAL, moment % INTERVAL) for moment in moments]
    counted = [(slot, late) for slot, late in starts if first <= slot <= last]
    due = round((last - first) / INTERVAL) + 1
    times = Counter(slot for slot, _ in counted)
    late = [late * 1e3 for _, late in counted]
    return due, due - len(times), len(counted) - len(times), median(late), max(late)


def main() -> None:
    parser = options(__doc__, "one minute")
    parser.add_argument("--minutes", type=float, help="how long; two minutes unless given")
    arguments = parser.parse_args()
    minutes = arguments.minutes or (1 if arguments.quick else 2)
    show(f"{minutes:g} minutes", COLUMNS, measure(minutes * 60), OURS)
    show_machine("APScheduler")


if __name__ == "__main__":
    if sys.argv[1:2] == ["contender"]:
        CONTENDERS[sys.argv[2]]()
    else:
        main()
