"""What ends a command with one line on stderr."""

from __future__ import annotations

FINE = 0
BAD = 1
"""The answer is bad: a run failed, a check found problems, the tasks are unhealthy."""
WRONG = 2
"""It could not be answered: wrong use, or something it needs is not there."""
INTERRUPTED = 130
"""Ctrl-C, as shells have it."""


class CommandFailedError(Exception):
    """What was asked for can't be done; the text says why and what would be right."""

    def __init__(self, text: str, status: int = WRONG) -> None:
        super().__init__(text)
        self.status = status
