"""The context of a command, its exit statuses, and the values of options."""

from __future__ import annotations

import argparse
import json
import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request

from ..app import CronApp
from ..schedule.quantities import parse_duration, parse_integer_text
from ..schedule.zones import parse_moment
from ..scheduler import Scheduler
from .output import CommandOutput

EXIT_FINE = 0
EXIT_BAD_ANSWER = 1
"""A run failed, there are problems, or the tasks are unhealthy."""
EXIT_WRONG_USE = 2
"""Wrong use, or something the command needs is missing."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as in shells."""

RELATIVE_MOMENT = re.compile(r"([+-])([0-9]+[smhd]?)")
MOMENT_OPTIONS = ("--at", "--since", "--until", "--for")

_MOMENT_HINT = (
    "use ISO 8601 (2026-12-01T09:00, 2026-12-01T09:00:00+01:00), a date (2026-12-01), now, or what"
    " it is from now (-2h, +30m)"
)


class CommandFailedError(Exception):
    """The command failed; the text says why and how to do it right."""

    def __init__(self, text: str, exit_status: int = EXIT_WRONG_USE) -> None:
        super().__init__(text)
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The application, the arguments, the output and the moment of one command."""

    args: Namespace
    request: Request
    cron: CronApp
    output: CommandOutput
    now: datetime

    @property
    def scheduler(self) -> Scheduler:
        """The application's ``request.cron``."""
        scheduler: Scheduler = self.request.cron
        return scheduler

    @property
    def zone(self) -> ZoneInfo:
        """The zone of ``cron.timezone``."""
        return self.output.zone

    def parse_moment(self, text: str, option: str) -> datetime:
        """Return the moment that an option says, in UTC."""
        return parse_moment_option(text, option, self.now, self.zone)

    def parse_range(self) -> tuple[datetime, datetime]:
        """Return ``--since`` and ``--until`` in UTC; ``--since`` is before ``--until``."""
        since = self.parse_moment(self.args.since, "--since")
        until = self.parse_moment(self.args.until, "--until")
        if since >= until:
            raise CommandFailedError(
                f"--since {self.args.since!r} is not before --until {self.args.until!r}"
            )
        return since, until


def parse_moment_option(text: str, option: str, now: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment that an option says, in UTC: ``now``, relative to now, or ISO 8601.

    ``now`` is aware. Text without an offset is local time in ``zone``, as in
    :func:`~pyramid_cron.schedule.zones.parse_moment`. Raises CommandFailedError, naming the option.
    """
    text = text.strip()
    if text.lower() == "now":
        return now
    try:
        if relative := RELATIVE_MOMENT.fullmatch(text):
            distance = parse_duration(relative[2], argument=option)
            return now + distance if relative[1] == "+" else now - distance
        return parse_moment(text, zone)
    except (ValueError, OverflowError):
        raise CommandFailedError(f"{option} {text!r} is no moment; {_MOMENT_HINT}") from None


def parse_duration_option(text: str, option: str) -> timedelta:
    """Return the duration that an option says, such as ``2h``. Raises CommandFailedError."""
    try:
        return parse_duration(text, argument=option, min_seconds=1)
    except ValueError:
        raise CommandFailedError(
            f"{option} {text!r} is no duration; use 90s, 30m, 2h or 1d"
        ) from None


def parse_payload_option(text: str | None) -> Any:
    """Return the JSON value of ``--payload``; None without it. Raises CommandFailedError."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandFailedError(f"--payload {text!r} is no JSON: {error}") from None


def join_negative_moments(arguments: Sequence[str]) -> list[str]:
    """Join an option and its moment, ``--since -2h``: argparse takes ``-2h`` for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in MOMENT_OPTIONS and RELATIVE_MOMENT.fullmatch(argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def parse_count(text: str) -> int:
    """Return a whole number, 1 or more, for argparse."""
    try:
        return parse_integer_text("count", text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, 1 or more") from None
