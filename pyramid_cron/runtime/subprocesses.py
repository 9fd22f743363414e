"""One program while it runs: started, read from, and ended with all that it started.

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO

from ..errors import CommandError
from .supervisor import Supervisor

TERM_GRACE_SECONDS = 3.0
"""Seconds between SIGTERM and SIGKILL; less than an interrupted task may take."""

OUTPUT_LINGER_SECONDS = 0.5
"""Seconds to read on after a program has ended: its children may still write."""

PROCESS_POLL_SECONDS = 0.05
"""Seconds within which the end of a program, or an interruption, is noticed."""

OUTPUT_CHUNK_BYTES = 64 * 1024


class UnknownStatusError(Exception):
    """A program has ended, and this process can't learn how."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The account that a program runs as, in numbers; None is this process's own."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None


class Process:
    """A program in a process group of its own, from its start to the end of the whole group."""

    def __init__(
        self,
        argv: tuple[str, ...],
        environ: Mapping[str, str],
        cwd: str | None,
        stdin: str | None,
        file_variables: Mapping[str, str] = MappingProxyType({}),
        identity: Identity = Identity(),
    ) -> None:
        """``file_variables`` are texts it finds in files; the paths are in these variables.

        ``identity``: as whom it runs, by default as this process does; only root may choose.
        """
        #: Its output so far.
        self.stdout, self.stderr = HeadTailBuffer(), HeadTailBuffer()
        #: None until the program has ended; a signal's number if below 0.
        self.returncode: int | None = None
        #: Why the program could not start, or why its end is not known.
        self.error: BaseException | None = None
        self._popen_arguments = (argv, environ, cwd, stdin)
        self._file_variables = file_variables
        self._identity = identity
        self._stop_event = threading.Event()
        self._end_request = threading.Event()
        self._end_event = threading.Event()
        self._term_grace = TERM_GRACE_SECONDS
        self._pid: int | None = None
        self._process_group: int | None = None
        self._thread = Supervisor.make_thread("command", self._run_in_thread)

    def run(self) -> None:
        """Start the program and wait until it is over; stop it if the waiting is interrupted."""
        try:
            self.start()
            while not self.wait(PROCESS_POLL_SECONDS):
                pass  # an interruption can be raised here
        except BaseException:
            self._stop_event.set()
            if self._thread.ident is not None:
                self._end_event.wait()
            raise

    def start(self) -> None:
        """Start the program. Raises RuntimeError where no thread can be had."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until the program is over, but no longer; return whether it is."""
        return self._end_event.wait(seconds)

    @property
    def pid(self) -> int | None:
        """Its process id; None before it has started."""
        return self._pid

    def request_end(self) -> None:
        """Send SIGTERM, once, to the program alone: it is to end all that it started."""
        self._end_request.set()

    def stop(self, grace: float = TERM_GRACE_SECONDS) -> None:
        """Send SIGTERM to the whole group, and SIGKILL after ``grace`` seconds."""
        self._term_grace = grace
        self._stop_event.set()

    def kill(self) -> None:
        """Kill the whole group at once, where there is no time left to wait for it."""
        self._term_grace = 0.0
        self._stop_event.set()
        group = self._process_group
        if group is not None:
            _signal_group(group, signal.SIGKILL)

    # What the thread does.

    def _run_in_thread(self) -> None:
        try:
            if not self._stop_event.is_set():
                self._spawn_and_wait()
        except BaseException as error:  # raised in the task's thread instead
            self.error = error
        finally:
            self._process_group = None
            self._end_event.set()

    def _spawn_and_wait(self) -> None:
        argv, environ, cwd, text = self._popen_arguments
        identity = self._identity
        with ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            paths = {}
            for name, value in self._file_variables.items():
                file = stack.enter_context(_input_file(value, tempfile.NamedTemporaryFile))
                paths[name] = file.name
                if identity.user is not None and identity.group is not None:
                    os.chown(file.fileno(), identity.user, identity.group)
            popen = subprocess.Popen(  # noqa: S603
                argv,
                stdin=subprocess.DEVNULL
                if text is None
                else stack.enter_context(_input_file(text, tempfile.TemporaryFile)),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=cwd,
                env={**environ, **paths},
                start_new_session=True,
                user=identity.user,
                group=identity.group,
                extra_groups=identity.groups,
            )
            program = _Program(popen)
            self._pid = self._process_group = program.pid
            for pipe, buffer in ((popen.stdout, self.stdout), (popen.stderr, self.stderr)):
                assert pipe is not None
                selector.register(stack.enter_context(pipe), selectors.EVENT_READ, buffer)
            try:
                self._read_until_exit(program, selector)
            finally:
                if self._stop_event.is_set() or not program.has_ended():
                    self._terminate_group(program, selector)
                self.returncode = None if program.is_status_unknown else popen.returncode
            if program.is_status_unknown:
                raise UnknownStatusError

    def _read_until_exit(self, program: _Program, selector: selectors.BaseSelector) -> None:
        """Read output until the program has ended, or is to be ended."""
        is_end_requested = False
        while not program.has_ended() and not self._stop_event.is_set():
            if self._end_request.is_set() and not is_end_requested:
                is_end_requested = True
                os.kill(program.pid, signal.SIGTERM)
            _read_output(program, selector)
        # Its children may go on in the background, and keep the pipes open for ever.
        until = time.monotonic() + OUTPUT_LINGER_SECONDS
        while selector.get_map() and time.monotonic() < until and not self._stop_event.is_set():
            _read_output(program, selector)

    def _terminate_group(self, program: _Program, selector: selectors.BaseSelector) -> None:
        """End the whole group with SIGTERM, and SIGKILL after a grace."""
        _signal_group(program.pid, signal.SIGTERM)
        since = time.monotonic()
        while _is_group_alive(program) and time.monotonic() < since + self._term_grace:
            _read_output(program, selector)
        _signal_group(program.pid, signal.SIGKILL)
        program.wait(PROCESS_POLL_SECONDS * 10)
        while (
            selector.select(0)
            and time.monotonic() < since + self._term_grace + OUTPUT_LINGER_SECONDS
        ):
            _read_output(program, selector)


class _Program:
    """A program that was started, and its exit status.

    Python's own ``Popen`` takes a status that it can't get for 0.
    """

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.pid = popen.pid
        #: Whether it has ended, and another part of this process, or its system, has the status.
        self.is_status_unknown = False
        self._popen = popen

    def has_ended(self) -> bool:
        """Return whether it has ended; its ``returncode`` is set then."""
        popen = self._popen
        if popen.returncode is None:
            try:
                pid, status = os.waitpid(popen.pid, os.WNOHANG)
            except ChildProcessError:
                popen.returncode = 0
                self.is_status_unknown = True
            else:
                if pid:
                    popen.returncode = os.waitstatus_to_exitcode(status)
        return popen.returncode is not None

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, but no longer; return whether it has."""
        until = time.monotonic() + seconds
        while not self.has_ended() and time.monotonic() < until:
            time.sleep(PROCESS_POLL_SECONDS / 10)
        return self.has_ended()


def _read_output(program: _Program, selector: selectors.BaseSelector) -> None:
    """Read output, or wait a moment for it."""
    if not selector.get_map():
        if program.wait(PROCESS_POLL_SECONDS):
            time.sleep(PROCESS_POLL_SECONDS / 10)  # only its children are left
        return
    for key, _ in selector.select(PROCESS_POLL_SECONDS):
        data = os.read(key.fd, OUTPUT_CHUNK_BYTES)
        if data:
            key.data.add(data)
        else:
            selector.unregister(key.fileobj)


@contextmanager
def _input_file(text: str, make_file: Callable[[], IO[bytes]]) -> Iterator[IO[bytes]]:
    """Give a file with the text, removed in the end: unlike a pipe, it needs no writer.

    Raises CommandError where there is no place for it.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(make_file())
            file.write(text.encode("utf-8", "surrogateescape"))
            file.seek(0)  # writes what is buffered
        except OSError as error:
            raise CommandError(
                f"its input could not be written to a temporary file: {error.strerror or error}"
            ) from error
        yield file


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a group; return whether any of its processes is left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # the processes left are another user's
    return True


def _is_group_alive(program: _Program) -> bool:
    return not program.has_ended() or _signal_group(program.pid, 0)


OUTPUT_HEAD_BYTES = 32 * 1024
"""Bytes kept of the beginning of a stream."""

OUTPUT_TAIL_BYTES = 32 * 1024
"""Bytes kept of its end."""


class HeadTailBuffer:
    """The first and the last 32 KiB of a stream of bytes, and how many were left out between."""

    __slots__ = ("_head", "_size", "_tail")

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Add the next bytes."""
        self._size += len(data)
        room = OUTPUT_HEAD_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room else data
        if len(self._tail) > 4 * OUTPUT_TAIL_BYTES:  # seldom, since what stays has to be moved
            del self._tail[:-OUTPUT_TAIL_BYTES]

    def text(self) -> str | None:
        r"""Return what is kept, readable whatever it was; None if there was nothing.

        Bytes that are no UTF-8, and NUL, which not every database can keep, are shown as ``\xff``.
        Where something was left out, a line says how many bytes.
        """
        if not self._size:
            return None
        if self._size <= OUTPUT_HEAD_BYTES + OUTPUT_TAIL_BYTES:
            return _decode(self._head + self._tail)
        head, tail = (
            _trim_partial_end(self._head),
            _trim_partial_start(self._tail[-OUTPUT_TAIL_BYTES:]),
        )
        left_out = self._size - len(head) - len(tail)
        return f"{_decode(head)}\n[... {left_out} bytes left out ...]\n{_decode(tail)}"


def _decode(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _trim_partial_end(data: bytearray) -> bytearray:
    """Leave out a character at the end that was cut in two."""
    for length in range(1, min(4, len(data)) + 1):
        byte = data[-length]
        if byte & 0xC0 != 0x80:
            needed = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
            return data[:-length] if length < needed else data
    return data


def _trim_partial_start(data: bytearray) -> bytearray:
    """Leave out the rest of a character at the start that was cut in two."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:]
