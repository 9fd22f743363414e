"""What every command is given."""

from __future__ import annotations

import argparse
import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from pyramid.request import Request

from ..app import CronApp
from ..schedule.quantities import parse_duration
from ..scheduler import Scheduler
from .output import CommandOutput


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The application, what was asked of it, and where the answer goes."""

    args: Namespace
    request: Request
    cron: CronApp
    output: CommandOutput
    now: datetime

    @property
    def scheduler(self) -> Scheduler:
        """What ``request.cron`` is."""
        found: Scheduler = self.request.cron
        return found

    @property
    def zone(self) -> ZoneInfo:
        """The zone of ``cron.timezone``."""
        return self.output.zone

    def parse_moment(self, text: str, option: str) -> datetime:
        """Return a moment as typed, in UTC."""
        return parse_moment_option(text, option, self.now, self.zone)

    def parse_range(self) -> tuple[datetime, datetime]:
        """Return ``--since`` and ``--until``, in UTC and in order."""
        since = self.parse_moment(self.args.since, "--since")
        until = self.parse_moment(self.args.until, "--until")
        if since >= until:
            raise CommandFailedError(
                f"--since {self.args.since!r} is not before --until {self.args.until!r}"
            )
        return since, until


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


RELATIVE_MOMENT = re.compile(r"([+-])([0-9]+[smhd]?)")
MOMENT_OPTIONS = ("--at", "--since", "--until", "--for")

_MOMENT_HINT = (
    "use ISO 8601 (2026-12-01T09:00, 2026-12-01T09:00:00+01:00), a date (2026-12-01), now, or what"
    " it is from now (-2h, +30m)"
)


def parse_moment_option(text: str, option: str, now: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment meant, in UTC; what has no offset is in ``zone``.

    ``now`` is aware; ``option`` names it in the error. A local time that happens twice means the
    first; one that is skipped is as far after the gap as it is after the gap's beginning.
    """
    written = text.strip()
    if written.lower() == "now":
        return now
    try:
        if relative := RELATIVE_MOMENT.fullmatch(written):
            distance = parse_duration(relative[2], argument=option)
            return now + distance if relative[1] == "+" else now - distance
        # Python 3.10 doesn't read the Z.
        found = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", written))
        aware = found if found.tzinfo is not None else found.replace(tzinfo=zone)
        return aware.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise CommandFailedError(f"{option} {text!r} is no moment; {_MOMENT_HINT}") from None


def parse_duration_option(text: str, option: str) -> timedelta:
    """Return a duration such as ``2h``; ``option`` names it in the error."""
    try:
        return parse_duration(text, argument=option, min_seconds=1)
    except ValueError:
        raise CommandFailedError(
            f"{option} {text!r} is no duration; use 90s, 30m, 2h or 1d"
        ) from None


def join_negative_moments(arguments: Sequence[str]) -> list[str]:
    """Join options with moments such as ``-2h``, which argparse would take for an option."""
    found: list[str] = []
    for argument in arguments:
        if found and found[-1] in MOMENT_OPTIONS and RELATIVE_MOMENT.fullmatch(argument):
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def parse_count(text: str) -> int:
    """Read a number of things to show."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, 1 or more")
    return int(text)
