"""One program while it runs: started, listened to, told to stop, and killed with all it started.

A thread of its own does this, so that an interruption of the task's thread can neither lose a
program that was just started nor break off while it is stopped.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TypeAlias

from .output import Clipped

PATIENCE = 3.0
"""Seconds between SIGTERM and SIGKILL; less than a task may take that was told to stop."""

LINGER = 0.5
"""Seconds to read on, after a program has ended, what others write that still have its output."""

PAUSE = 0.05
"""Seconds within which the end of a program, or the wish to stop it, is noticed."""

CHUNK = 64 * 1024

Program: TypeAlias = "subprocess.Popen[bytes]"


class Process:
    """A program in a process group of its own, from its start to the end of the whole group.

    ``returncode`` is None until the program has ended; below 0 it is a signal's number. ``error``
    is what kept the program from starting. ``stdout`` and ``stderr`` may be read at any time.
    """

    def __init__(
        self, argv: tuple[str, ...], environ: Mapping[str, str], cwd: str | None, stdin: str | None
    ) -> None:
        self.stdout, self.stderr = Clipped(), Clipped()
        self.returncode: int | None = None
        self.error: BaseException | None = None
        self._start = (argv, environ, cwd, stdin)
        self._told = threading.Event()
        self._over = threading.Event()
        self._patience = PATIENCE
        self._group: int | None = None
        self._thread = threading.Thread(target=self._work, name="pyramid_cron command", daemon=True)

    def run(self) -> None:
        """Start the program and wait until it is over; stop it if the waiting is interrupted."""
        try:
            self._thread.start()
            while not self._over.wait(PAUSE):
                pass  # an interruption can be raised here
        except BaseException:
            self._told.set()
            if self._thread.ident is not None:
                self._over.wait()
            raise

    def kill(self) -> bool:
        """Kill the whole group at once, where there is no time left to wait for it; True."""
        self._patience = 0.0
        self._told.set()
        group = self._group
        if group is not None:
            _signal(group, signal.SIGKILL)
        return True

    # What the thread does.

    def _work(self) -> None:
        try:
            if not self._told.is_set():
                self._carry_through()
        except BaseException as error:  # told in the task's thread instead
            self.error = error
        finally:
            self._group = None
            self._over.set()

    def _carry_through(self) -> None:
        argv, environ, cwd, text = self._start
        with ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            program = subprocess.Popen(  # noqa: S603
                argv,
                stdin=subprocess.DEVNULL if text is None else stack.enter_context(_input(text)),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=cwd,
                env=environ,
                start_new_session=True,
            )
            self._group = program.pid
            for pipe, kept in ((program.stdout, self.stdout), (program.stderr, self.stderr)):
                assert pipe is not None
                selector.register(stack.enter_context(pipe), selectors.EVENT_READ, kept)
            try:
                self._listen(program, selector)
            finally:
                if self._told.is_set() or program.poll() is None:
                    self._stop(program, selector)
                self.returncode = program.returncode

    def _listen(self, program: Program, selector: selectors.BaseSelector) -> None:
        """Keep what is written until the program has ended, or was told to."""
        while program.poll() is None and not self._told.is_set():
            _read(program, selector)
        # What it started may go on in the background, and have its output for ever.
        until = time.monotonic() + LINGER
        while selector.get_map() and time.monotonic() < until and not self._told.is_set():
            _read(program, selector)

    def _stop(self, program: Program, selector: selectors.BaseSelector) -> None:
        """End the whole group: ask it to, then make it."""
        _signal(program.pid, signal.SIGTERM)
        since = time.monotonic()
        while _goes_on(program) and time.monotonic() < since + self._patience:
            _read(program, selector)
        _signal(program.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            program.wait(PAUSE * 10)
        while selector.select(0) and time.monotonic() < since + self._patience + LINGER:
            _read(program, selector)


def _read(program: Program, selector: selectors.BaseSelector) -> None:
    """Keep what was written, or wait a moment for something to happen."""
    if not selector.get_map():
        with suppress(subprocess.TimeoutExpired):
            program.wait(PAUSE)
        if program.returncode is not None:
            time.sleep(PAUSE / 10)  # only others of its group go on
        return
    for key, _ in selector.select(PAUSE):
        data = os.read(key.fd, CHUNK)
        if data:
            key.data.add(data)
        else:
            selector.unregister(key.fileobj)


@contextmanager
def _input(text: str) -> Iterator[IO[bytes]]:
    """Give a file to read the text from: unlike a pipe, it waits for nobody."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.seek(0)
        yield file


def _signal(group: int, number: int) -> bool:
    """Send a signal to a group; return whether there is anybody left in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # what is left has become somebody else's
    return True


def _goes_on(program: Program) -> bool:
    return program.poll() is None or _signal(program.pid, 0)
