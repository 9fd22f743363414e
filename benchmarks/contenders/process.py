"""The processes of the contenders, as who measures sees them; with strace, if asked for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from . import Contender
from .serving import BEGIN, END

BENCHMARKS = Path(__file__).parent.parent
PATIENCE = 90.0
"""Seconds after which a contender that has not answered is given up."""

CALLS = "trace=fsync,fdatasync,?access,?faccessat,?faccessat2"
SYNC = re.compile(r"^\d+ +f(data)?sync\(")


class GivenUpError(Exception):
    """A contender is absent or broke; the message says why."""


class Serving:
    """A contender's process, from its start to :meth:`close`."""

    def __init__(self, contender: Contender, folder: Path, traced: bool = False) -> None:
        self._folder = Path(mkdtemp(dir=folder))
        self._trace = self._folder / "strace"
        tracer = ["strace", "-f", "--seccomp-bpf", "-o", str(self._trace), "-e", CALLS]
        command = [sys.executable, "-m", "contenders.serving", contender.name, str(self._folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with (self._folder / "errors").open("w") as errors:
            self._process = subprocess.Popen(
                [*(tracer if traced else []), *command], cwd=BENCHMARKS, stderr=errors, **pipes
            )

    def ready(self) -> None:
        """Wait until it can begin; GivenUpError if it is absent."""
        answer = self._answer()
        if "absent" in answer:
            raise GivenUpError(f"absent ({answer['absent']})")

    def seconds(self, count: int) -> float:
        """Return how long it takes when so many tasks are due."""
        return self._ask(count, syncs=False)["seconds"]

    def syncs(self, count: int) -> int:
        """Return how often it and its servers sync a file for so many tasks, if traced."""
        seen = self._seen()
        synced = self._ask(count, syncs=True)["synced"]
        return self._seen() - seen if synced is None else synced

    def dismiss(self) -> None:
        """Let it begin to end."""
        self._process.stdin.close()

    def close(self) -> None:
        """Return once it has ended."""
        self.dismiss()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()
        self._process.stdout.close()

    def _seen(self) -> int:
        """Return how many syncs the trace has between the marks."""
        if not self._trace.exists():
            return 0
        found, inside = 0, False
        for line in self._trace.read_text().splitlines():
            inside = (inside or BEGIN in line) and END not in line
            found += inside and bool(SYNC.match(line))
        return found

    def _ask(self, count: int, syncs: bool) -> dict[str, Any]:
        try:
            print(
                json.dumps({"count": count, "syncs": syncs}), file=self._process.stdin, flush=True
            )
        except BrokenPipeError:
            raise GivenUpError(self._why()) from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        timer = threading.Timer(PATIENCE, self._process.terminate)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            raise GivenUpError(self._why())
        return json.loads(line)

    def _why(self) -> str:
        errors = (self._folder / "errors").read_text().strip()
        return f"broke ({errors.splitlines()[-1] if errors else 'no answer'})"


def untraceable(folder: Path) -> str | None:
    """Return why strace can't count syncs here, or None if it can."""
    if shutil.which("strace") is None:
        return "it is not installed"
    trial = ["strace", "-f", "--seccomp-bpf", "-o", str(folder / "trial"), "-e", CALLS, "true"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[0]
