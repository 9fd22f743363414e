"""Processes to test with: started, listened to, and ended whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

DEADLINE = 60.0
"""Seconds to wait for what has to come."""


def wait_until(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """Return the first true answer of ``condition``; fail if none comes in time."""
    give_up = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < give_up, f"in {seconds} s it never came: {condition}"
        time.sleep(0.01)
    return answer


class Child:
    """A process with what it printed so far; its standard error goes with its output."""

    def __init__(self, process: subprocess.Popen, printed: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._printed = printed

    @property
    def output(self) -> str:
        return self._printed.read_text()

    def lines(self, start: str) -> list[str]:
        """What follows ``start`` in the whole lines that begin with it."""
        whole = self.output.rpartition("\n")[0].splitlines()
        return [line.removeprefix(start) for line in whole if line.startswith(start)]

    def wait_for(self, start: str, count: int = 1) -> str:
        """Wait for that many lines beginning with ``start``; return the rest of the last."""

        def come() -> bool:
            assert self.process.poll() is None or len(self.lines(start)) >= count, self.output
            return len(self.lines(start)) >= count

        wait_until(come)
        return self.lines(start)[count - 1]

    def say(self, text: str) -> None:
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    def over(self) -> bool:
        return self.process.poll() is not None

    def ticks_until(self, answer: str) -> None:
        """Tell a ticker to tick until what it ran is as it should be."""

        def come() -> bool:
            count = len(self.lines("ticked"))
            self.say("tick")
            return answer in self.wait_for("ticked", count + 1)

        wait_until(come)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE)


@contextmanager
def python(printed: Path, *arguments: Any, **variables: str) -> Iterator[Child]:
    """Run Python in the root of the project; ``printed`` is where its output goes."""
    with program(printed, sys.executable, "-u", *arguments, **variables) as child:
        yield child


@contextmanager
def program(printed: Path, *command: Any, **variables: str) -> Iterator[Child]:
    """Run a program in the root of the project; ``printed`` is where its output goes."""
    with open(printed, "wb") as output:
        process = subprocess.Popen(
            [*map(str, command)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # On some Pythons importing Pyramid warns.
            env={**os.environ, "PYTHONWARNINGS": "ignore", **variables},
            # What it starts is ended with it.
            start_new_session=True,
        )
    try:
        yield Child(process, printed)
    finally:
        end_group(process)


def end_group(process: subprocess.Popen) -> None:
    """Kill a process that leads its own group, and the rest of the group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.stdin.close()
    process.wait(DEADLINE)


def missing(reason: str) -> None:
    """Skip a test whose means are not there; where everything has to be there, fail."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
