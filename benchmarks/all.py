"""Run all benchmarks, one after the other, keep their figures, and write them where they are shown.

    python benchmarks/all.py [--quick] [NAME ...]
    python benchmarks/all.py --write

With names, only those run, and the figures of the others stay as they are kept, in
``benchmarks/results/``. ``--write`` runs nothing, and writes ``docs/figures/`` and the table in
README.rst from what is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from figures import KEEP
from publish import Result, publish

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Benchmark:
    """A script beside this one, its title, and the packages whose versions matter."""

    name: str
    title: str
    packages: Sequence[str] = ()
    arguments: Sequence[str] = ()
    quick: Sequence[str] = ("--quick",)

    def command(self, quick: bool) -> list[str]:
        return [f"benchmarks/{self.name}.py", *(self.quick if quick else self.arguments)]


BENCHMARKS = (
    Benchmark("matching", "Finding what is due", ["croniter"]),
    Benchmark("following", "The next slot", ["croniter", "cronsim", "APScheduler", "celery"]),
    Benchmark("idle_tick", "A tick with nothing due", ["pyramid", "pyramid_tm", "SQLAlchemy"]),
    Benchmark(
        "runs",
        "Many tasks due in one minute",
        ["SQLAlchemy", "APScheduler", "celery", "dramatiq", "huey", "procrastinate"],
    ),
    Benchmark(
        "lateness", "How late tasks start", ["APScheduler", "celery", "huey", "procrastinate"]
    ),
    Benchmark("memory", "A registered task", ["APScheduler", "celery", "croniter"], quick=()),
    Benchmark(
        "importing",
        "Starting an application",
        ["pyramid", "SQLAlchemy", "APScheduler", "celery", "huey"],
    ),
    Benchmark(
        "faults",
        "Processes killed at random",
        ["SQLAlchemy"],
        arguments=["--seconds", "120"],
        quick=["--seconds", "60"],
    ),
    Benchmark(
        "many_hosts",
        "Hosts that are cut off and killed",
        ["SQLAlchemy", "psycopg", "celery"],
        arguments=["--minutes", "10"],
        quick=["--minutes", "3"],
    ),
    Benchmark("executors", "Where a task runs", ["SQLAlchemy", "psycopg", "celery"]),
    Benchmark(
        "scaling",
        "How far one store goes",
        ["SQLAlchemy", "psycopg", "PyMySQL"],
        arguments=["--best"],
        quick=["--best", "--quick"],
    ),
    Benchmark("history", "A store with many runs", ["SQLAlchemy"]),
    Benchmark("pages", "Pages, with many runs on record", ["SQLAlchemy", "Jinja2"]),
)


def run(benchmark: Benchmark, quick: bool) -> Result | None:
    """Run a benchmark, and return what there is to keep of it; None if it failed."""
    command = benchmark.command(quick)
    print(f"\n=== python {shlex.join(command)}", flush=True)
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        tables = Path(folder) / "tables"
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            cwd=HERE.parent,
            env={**os.environ, KEEP: str(tables)},
            stdout=subprocess.PIPE,
            text=True,
        )
        output = ""
        for line in process.stdout or ():
            print(line, end="", flush=True)
            output += line
        if process.wait():
            print(
                f"{benchmark.name} ended with {process.returncode}; its figures stay as they were"
            )
            return None
        kept = tables.read_text().splitlines() if tables.exists() else []
    return {
        "benchmark": benchmark.name,
        "command": f"python {shlex.join(command)}",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "revision": revision(),
        "seconds": round(time.monotonic() - began),
        "machine": machine(),
        "python": platform.python_version(),
        "versions": versions(benchmark.packages),
        "tables": [json.loads(line) for line in kept],
        "output": output,
    }


def revision() -> str:
    """Return the commit that was measured; with a plus if the package differs from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "../pyramid_cron", "*.py")
    return f"{git('rev-parse', '--short=10', 'HEAD')}{'+' if changed else ''}"


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    found = re.search(r"^model name\s*: (.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": found[1] if found else platform.machine(),
        "cores": os.cpu_count(),
        "memory": f"{pages / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those that are installed."""
    found = {}
    for name in ("pyramid_cron", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def kept(benchmark: Benchmark) -> Result | None:
    """Return what was kept of a benchmark."""
    path = RESULTS / f"{benchmark.name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def main() -> int:
    """Run, keep and write; return 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="rougher figures, in a few minutes")
    parser.add_argument("--write", action="store_true", help="run nothing")
    names = [each.name for each in BENCHMARKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(names)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"no benchmark is called {' or '.join(sorted(unknown))}")
    RESULTS.mkdir(exist_ok=True)
    failed = False
    for benchmark in () if arguments.write else BENCHMARKS:
        if not arguments.names or benchmark.name in arguments.names:
            result = run(benchmark, arguments.quick)
            failed = failed or result is None
            if result:
                text = json.dumps(result, indent=1) + "\n"
                (RESULTS / f"{benchmark.name}.json").write_text(text)
    publish([(each.title, result) for each in BENCHMARKS if (result := kept(each))])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
