"""The output of commands: lines, tables and JSON; tables by rich on a terminal, if installed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from ..schedule.zones import to_zone
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
