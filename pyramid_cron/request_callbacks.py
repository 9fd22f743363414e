"""Callbacks that tasks and subscribers add to a request that they share with others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyramid.request import Request

log = logging.getLogger("pyramid_cron")


@contextmanager
def guarded_callbacks(request: Request, owner: str) -> Iterator[None]:
    """Let no callback that the block adds to the request make its answer fail.

    ``owner`` says who adds them. Errors are logged, and the callbacks behind still called.
    """
    queues = request.response_callbacks, request.finished_callbacks
    counts = [len(queue) for queue in queues]
    try:
        yield
    finally:
        for queue, count in zip(queues, counts, strict=True):
            for position in range(count, len(queue)):
                if not isinstance(queue[position], _GuardedCallback):
                    queue[position] = _GuardedCallback(queue[position], owner)


@dataclass(frozen=True, slots=True)
class _GuardedCallback:
    callback: Callable[..., Any]
    owner: str

    def __call__(self, *values: Any) -> None:
        try:
            self.callback(*values)
        except Exception:
            log.exception("%s: its callback of the request failed: %r", self.owner, self.callback)
