"""The context of a command, what it prints, its exit statuses, and the values of options."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from pyramid.request import Request

from ..app import CronApp
from ..schedule.quantities import parse_duration, parse_integer_text
from ..schedule.zones import parse_moment, to_zone
from ..scheduler import Scheduler
from ..text import escape_unprintable, format_instant

Row = Sequence[str]


class CommandOutput:
    """Prints lines, tables and JSON, with local times in ``zone``.

    :param json_stream: where the JSON goes; None without ``--json``.

    With rich installed, tables have colours and frames on a terminal, without colours where
    ``NO_COLOR`` is set. Elsewhere they are aligned text.
    """

    def __init__(self, zone: ZoneInfo, *, json_stream: TextIO | None = None) -> None:
        self.zone = zone
        self._json_stream = json_stream

    @property
    def is_json(self) -> bool:
        """Whether the command has ``--json``."""
        return self._json_stream is not None

    def format_time(self, moment: datetime | None) -> str:
        """Return a moment (aware) in local time: ``2026-12-01 09:00:00 CET``; None as ``-``."""
        if moment is None:
            return "-"
        return f"{to_zone(moment, self.zone):%Y-%m-%d %H:%M:%S %Z}"

    def print_line(self, text: str = "") -> None:
        """Print a line."""
        print(text)

    def write(self, text: str) -> None:
        """Write text as it is, to the JSON stream with ``--json``."""
        (self._json_stream or sys.stdout).write(text)

    def print_json(self, value: Any) -> None:
        """Print a value as JSON, moments (aware, UTC) as ISO 8601."""
        self.write(json.dumps(value, indent=2, default=_encode_value) + "\n")

    def print_table(self, heads: Row, rows: Iterable[Row]) -> None:
        """Print a table; cells are escaped."""
        cells = [[escape_unprintable(cell) for cell in row] for row in rows]
        if _is_rich(sys.stdout):
            _print_rich_table(heads, cells)
            return
        for text in align_columns([list(heads), *cells]):
            print(text)

    def print_entries(self, heads: Row, entries: Iterable[tuple[Row, str]]) -> None:
        """Print a table whose rows have a line of details below; no column is folded.

        On a terminal the details are cut at its width.
        """
        rows, details = [list(heads)], [""]
        for cells, detail in entries:
            rows.append([escape_unprintable(cell) for cell in cells])
            details.append(_fit(f"    {escape_unprintable(detail)}"))
        for text, detail in zip(align_columns(rows), details, strict=True):
            print(text, *filter(None, [detail]), sep="\n")

    def print_pairs(self, pairs: Mapping[str, str]) -> None:
        """Print a line with name and value for each pair."""
        width = max(map(len, pairs), default=0) + 1
        for name, value in pairs.items():
            print(f"{name + ':':<{width}} {escape_unprintable(value)}".rstrip())


def align_columns(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _fit(line: str) -> str:
    """Return a line cut with an ellipsis at the width of the terminal, if there is one."""
    width = shutil.get_terminal_size().columns
    is_cut = sys.stdout.isatty() and len(line) > width
    return f"{line[: width - 1]}…" if is_cut else line


def format_seconds(value: float | None) -> str:
    """Return a duration in seconds with its unit; None as ``-``."""
    return "-" if value is None else f"{value:.3f} s"


def _encode_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_instant(value)
    raise TypeError(f"{value!r} is no JSON value")


def _is_rich(stream: Any) -> bool:
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return find_spec("rich") is not None


def _print_rich_table(heads: Row, rows: Iterable[Row]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for head in heads:
        # Ids of runs are copied, so they are not wrapped.
        table.add_column(head, overflow="fold", no_wrap=head == "RUN")
    for row in rows:
        table.add_row(*(Text(cell, style=_CELL_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


_CELL_STYLES = {
    "succeeded": "green",
    "ok": "green",
    "failed": "red",
    "failing": "red",
    "timed_out": "red",
    "lost": "red",
    "stuck": "red",
    "missed": "red",
    "late": "red",
    "gave_up": "red",
    "skipped": "dim",
    "paused": "yellow",
    "running": "cyan",
    "waiting": "cyan",
}


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
