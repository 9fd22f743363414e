"""What ends a command with one line on stderr."""

from __future__ import annotations

EXIT_FINE = 0
EXIT_BAD_ANSWER = 1
"""The answer is bad: a run failed, a check found problems, the tasks are unhealthy."""
EXIT_WRONG_USE = 2
"""It could not be answered: wrong use, or something it needs is not there."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells have it."""


class CommandFailedError(Exception):
    """What was asked for can't be done; the text says why and what would be right."""

    def __init__(self, text: str, exit_status: int = EXIT_WRONG_USE) -> None:
        super().__init__(text)
        self.exit_status = exit_status
