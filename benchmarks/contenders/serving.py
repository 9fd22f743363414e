"""The process of one contender: it reads how many tasks are to be due, and says how long it took.

python -m contenders.serving NAME FOLDER, with the folder of the benchmarks as the working one.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from . import CONTENDERS, AbsentError, Fresh

BEGIN, END = "/pyramid_cron_benchmark/begin", "/pyramid_cron_benchmark/end"
"""Files that don't exist: a trace shows when they were looked for."""


def serve(name: str, folder: Path) -> None:
    """Answer each line of the input with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stdout = sys.stderr
    contender = CONTENDERS[name]
    logging.basicConfig(filename=folder / "log", level=logging.INFO, force=True)
    try:
        module = import_module(f"contenders.{contender.module}")
        with module.serving(folder, **contender.options) as fresh:
            print(json.dumps({"ready": True}), file=answers)
            for line in sys.stdin:
                print(json.dumps(measured(fresh, folder, **json.loads(line))), file=answers)
    except (ImportError, AbsentError) as error:
        print(json.dumps({"absent": str(error).partition("\n")[0]}), file=answers)


def measured(fresh: Fresh, folder: Path, count: int, syncs: bool) -> dict[str, Any]:
    """Return the seconds for so many tasks and, if asked for, how often a server synced."""
    with fresh(Path(mkdtemp(dir=folder)), count) as round_:
        before = round_.synced() if syncs and round_.synced else None
        gc.collect()
        os.access(BEGIN, os.F_OK)
        start = time.perf_counter()
        round_.run()
        seconds = time.perf_counter() - start
        os.access(END, os.F_OK)
        if (done := round_.done()) != count:
            raise RuntimeError(f"{done} of {count} tasks were run and recorded")
        synced = None if before is None else round_.synced() - before
    return {"seconds": seconds, "synced": synced}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    serve(sys.argv[1], Path(sys.argv[2]))
