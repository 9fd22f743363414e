"""Errors that an application may meet, and those that a task may raise about itself."""

from __future__ import annotations

from datetime import timedelta

from .schedule.quantities import parse_duration


class StoreError(Exception):
    """The store could not do what was asked; the message names ``cron.url`` and the cause."""


class CommandError(Exception):
    """Raised when a program could not be run or ended badly; its text says how, in a line."""


class GiveUp(Exception):  # noqa: N818
    """Raise it in a task to fail with no other attempt, whatever its ``retry``."""


class RetryLater(Exception):  # noqa: N818
    """Raise it in a task to fail, and to have the next attempt after some time.

    :param after: how long after the end of this run: text such as ``"10m"``, seconds, or a
        timedelta. No ``max_delay`` limits it.
    :param message: why, for the run's record.

    The next attempt counts: after the last one that the task's ``retry`` allows, none follows.

    Raises ValueError for a wrong ``after``.
    """

    def __init__(self, after: str | float | timedelta, message: str = "") -> None:
        super().__init__(after, message)
        #: How long after the end of the run the next attempt may begin.
        self.after = parse_duration(after, argument="after")
        self.message = message

    def __str__(self) -> str:
        text = f"not before {self.after} have passed"
        return f"{self.message} ({text})" if self.message else text


class TemplatesMissingError(Exception):
    """Pages need the package jinja2."""

    def __init__(self) -> None:
        super().__init__(
            'pages need the package jinja2: pip install "pyramid_cron[web]";'
            " without it there is JSON (Accept: application/json)"
        )


class ExtraMissingError(Exception):
    """An optional dependency is not installed; the message names the extra."""
