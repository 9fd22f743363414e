"""``pcron … work``: ticks and beats in a process without HTTP, and the runs for workers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..app import Worker
from ..planning.snapshot import name_matcher
from ..runtime.beats import make_dispatcher
from .context import EXIT_FINE, CommandContext

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def work(context: CommandContext) -> int:
    """``pcron … work``: until SIGTERM or SIGINT; running tasks then have their usual time to end.

    A second signal ends the process at once.
    """
    args, cron, registry = context.args, context.cron, context.request.registry
    patterns = [name_matcher(pattern) for pattern in args.only or ("*",)]
    cron.worker = Worker(args.threads, lambda name: any(matches(name) for matches in patterns))
    dispatcher = make_dispatcher(cron, registry, is_worker=True)
    cron.use_dispatcher(dispatcher)
    with _stop_signals() as is_stopped:
        context.output.print_line(f"working with {args.threads} threads; Ctrl-C or SIGTERM ends it")
        dispatcher.start_ticking(at_once=True)
        is_stopped.wait()
    dispatcher.stop()
    cron.close()
    return EXIT_FINE


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
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
