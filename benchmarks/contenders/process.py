"""One round of a contender, in a process of its own: ``python -m contenders.process NAME FOLDER``.

It prints the seconds for each number of tasks, and how often a server synced that can't be traced.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp

from . import CONTENDERS, AbsentError, Fresh

BEGIN, END = "/pyramid_cron_benchmark/begin", "/pyramid_cron_benchmark/end"
"""Files that don't exist: a trace shows when they were looked for."""

BENCHMARKS = Path(__file__).parent.parent
WARM_UP = 10
PATIENCE = 300.0
"""Seconds after which a contender that has not answered is given up."""

STRACE = ["strace", "-f", "--seccomp-bpf", "-e"]
STRACE += ["trace=fsync,fdatasync,?access,?faccessat,?faccessat2", "-o"]
SYNC = re.compile(r"^\d+ +f(data)?sync\(")


class GivenUpError(Exception):
    """A contender is absent or broke; the message says why."""


def seconds(name: str, folder: Path, *sizes: int) -> list[float]:
    """Return how long a contender takes when so many tasks are due."""
    return [seconds for seconds, _ in _round(name, Path(mkdtemp(dir=folder)), sizes, [])]


def syncs(name: str, folder: Path, *sizes: int) -> list[int]:
    """Return how often a contender and its servers sync a file for so many tasks."""
    folder = Path(mkdtemp(dir=folder))
    answers = _round(name, folder, sizes, [*STRACE, str(folder / "strace")])
    traced: list[int] = []
    for line in (folder / "strace").read_text().splitlines():
        if BEGIN in line:
            traced.append(0)
        elif END in line:
            traced.append(0)  # what comes after it, which is not counted
        elif traced and SYNC.match(line):
            traced[-1] += 1
    pairs = zip(traced[2::2], answers, strict=True)  # without the warm-up
    return [count if server is None else server for count, (_, server) in pairs]


def _round(
    name: str, folder: Path, sizes: tuple[int, ...], tracer: list[str]
) -> list[tuple[float, int | None]]:
    command = [*tracer, sys.executable, "-W", "ignore", "-m", "contenders.process", name]
    process = subprocess.run(
        [*command, str(folder), *map(str, sizes)],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if process.returncode:
        raise GivenUpError((process.stderr.strip().splitlines() or ["no answer"])[-1])
    return json.loads(process.stdout)


def main(name: str, folder: Path, sizes: list[int]) -> None:
    """Print what a contender takes, or exit with a message."""
    contender = CONTENDERS[name]
    logging.basicConfig(filename=folder / "log", level=logging.INFO, force=True)
    try:
        with redirect_stdout(sys.stderr):
            module = import_module(f"contenders.{contender.module}")
            place = nullcontext(partial(module.fresh, **contender.options))
            if hasattr(module, "serving"):
                place = module.serving(folder, **contender.options)
            with place as fresh:
                measure(fresh, folder, WARM_UP)
                answers = [measure(fresh, folder, size) for size in sizes]
    except (ImportError, AbsentError) as error:
        sys.exit(f"absent ({str(error).splitlines()[0]})")
    print(json.dumps(answers))


def measure(fresh: Fresh, folder: Path, count: int) -> tuple[float, int | None]:
    """Return the seconds for so many tasks, and how often a server synced that can't be traced."""
    with fresh(Path(mkdtemp(dir=folder)), count) as round_:
        before = round_.syncs() if round_.syncs else None
        gc.collect()
        os.access(BEGIN, os.F_OK)
        start = time.perf_counter()
        round_.run()
        took = time.perf_counter() - start
        os.access(END, os.F_OK)
        if (done := round_.done()) != count:
            sys.exit(f"{done} of {count} tasks were run and recorded")
        return took, None if before is None else round_.syncs() - before


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main(sys.argv[1], Path(sys.argv[2]), list(map(int, sys.argv[3:])))
