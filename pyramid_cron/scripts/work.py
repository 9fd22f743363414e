"""``pcron … work``: ticks, beats and runs for workers without HTTP; ``execute``: one run."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import FrameType
from typing import Any, TextIO

from ..app import CronApp, Worker
from ..planning.snapshot import check_pattern, matches_any
from ..run import RunState
from ..runtime.dispatcher import make_dispatcher
from ..runtime.queues import run_handed_off
from ..runtime.run_processes import kill_this_process
from ..task import PROCESS_EXECUTOR
from .context import EXIT_BAD_ANSWER, EXIT_FINE, CommandContext, CommandFailedError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def work(context: CommandContext) -> int:
    """``pcron … work``: until SIGTERM or SIGINT; running tasks then have their usual time to end.

    A second signal ends the process at once.
    """
    args, cron, registry = context.args, context.cron, context.request.registry
    patterns = args.only or ["*"]
    for pattern in patterns:
        check_pattern(pattern)

    def takes(name: str) -> bool:
        task = cron.find_task(name)
        command = None if task is None else task.command
        return any(matches_any(pattern, (name,), command) for pattern in patterns)

    cron.worker = Worker(args.threads, takes)
    dispatcher = make_dispatcher(cron, registry, is_worker=True)
    cron.use_dispatcher(dispatcher)
    with _stop_event() as is_stopped:
        context.output.print_line(f"working with {args.threads} threads; Ctrl-C or SIGTERM ends it")
        dispatcher.start_ticking(at_once=True)
        is_stopped.wait()
    dispatcher.stop()
    cron.close()
    return EXIT_FINE


@contextmanager
def _stop_event() -> Iterator[threading.Event]:
    """Give an event that the first signal sets; a second one does what it did before."""
    is_stopped = threading.Event()
    previous: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def stop(_number: int, _frame: FrameType | None) -> None:
        restore()
        is_stopped.set()

    for number in STOP_SIGNALS:
        previous[number] = signal.signal(number, stop)
    try:
        yield is_stopped
    finally:
        restore()


RUN_STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def execute(context: CommandContext) -> int:
    """``pcron … execute``: exit status 1 unless the run succeeded.

    It prints what the task prints. On SIGTERM the task has ``cron.shutdown_timeout`` to end.
    """
    cron, run = context.cron, context.scheduler.get_run(context.args.run)
    executor = cron.get_task(run.task).executor
    if executor != PROCESS_EXECUTOR:
        raise CommandFailedError(
            f"run {run.id} is of {run.task!r}, which has executor={executor!r}: only runs of tasks"
            f" with {PROCESS_EXECUTOR!r} can be executed"
        )
    if cron.dispatcher is not None:
        cron.dispatcher.stop()  # this process is for one run
    with _run_stop_event(cron) as is_stopped, _lasting_output():
        ended = (
            None
            if is_stopped.is_set()
            else run_handed_off(cron, context.request.registry, run.id, kill_this_process)
        )
    if ended is None:
        state = context.scheduler.get_run(run.id).state
        raise CommandFailedError(
            f"run {run.id} can't be executed: it is {state}, and not claimed for a process",
            EXIT_BAD_ANSWER,
        )
    return EXIT_FINE if ended.state is RunState.SUCCEEDED else EXIT_BAD_ANSWER


@contextmanager
def _run_stop_event(cron: CronApp) -> Iterator[threading.Event]:
    """Begin to stop the run at a signal, which may come more than once.

    A service manager sends it to all processes, and the process that has started this one, too.
    """
    is_stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        is_stopped.set()
        cron.supervisor.request_shutdown(cron.settings.shutdown_timeout.total_seconds())

    previous = {number: signal.signal(number, stop) for number in RUN_STOP_SIGNALS}
    try:
        yield is_stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _lasting_output() -> Iterator[None]:
    """Drop what is printed once nobody reads it: who has started this process may have died."""
    with redirect_stdout(_lasting(sys.stdout)), redirect_stderr(_lasting(sys.stderr)):
        yield


def _lasting(stream: TextIO) -> TextIO:
    try:
        file = _LastingFile(stream.fileno(), "wb", closefd=False)
    except OSError:  # it is no file
        return stream
    raw: Any = file
    return io.TextIOWrapper(raw, stream.encoding, "backslashreplace", write_through=True)


class _LastingFile(io.FileIO):
    """A pipe, or another file, that takes everything once its reader has gone."""

    def write(self, data: Any) -> int:
        """Write bytes; return how many."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return len(data)
