"""Moments and durations as they are typed on a command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from ..schedule.quantities import parse_duration
from .errors import CommandFailedError

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
