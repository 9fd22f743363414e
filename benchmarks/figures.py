"""Tables of figures: what a benchmark prints, and ``all.py`` keeps.

A table is made of plain values, so that it can be printed, kept as JSON, written into the
documentation and drawn, all of the same figures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

KEEP = "BENCHMARK_TABLES"
"""The environment variable that names the file which tables are kept in, one a line."""

ABSENT = "-"


@dataclass(frozen=True)
class Column:
    """What a column says, how its numbers are written, and whether rows are compared by it."""

    name: str
    form: str = ""
    compared: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of values, the first of which says what the row is about; None is what there is not.

    ``ours`` is the row that others are compared with: by how many times as much they take, in
    columns that say so. A row in ``also_ours`` is no other's. ``chart`` is how to draw it: ``bars``
    of one column, or ``lines`` from the numbers of the first column up to those of some others.
    """

    title: str
    columns: Sequence[Column]
    rows: list[Sequence[Any]]
    ours: str = ""
    also_ours: Sequence[str] = ()
    chart: str = ""
    drawn: Sequence[str] = ()

    def ratio(self, row: Sequence[Any], position: int) -> float | None:
        """Return how many times as much as ours a row has in this column."""
        mine = next((each[position] for each in self.rows if each[0] == self.ours), None)
        comparable = self.columns[position].compared and mine and row[position] is not None
        return row[position] / mine if comparable else None

    def ahead(self) -> dict[str, list[str]]:
        """Return who takes less than ours, and how much less, by the names of columns."""
        found: dict[str, list[str]] = {}
        for position, column in enumerate(self.columns):
            for row in self.rows:
                ratio = self.ratio(row, position)
                if row[0] not in self.also_ours and ratio is not None and ratio < 0.995:
                    found.setdefault(column.name, []).append(f"{row[0]} ({ratio:.2f}x)")
        return found

    def cells(self) -> list[list[str]]:
        """Return everything as text, the heads first; ratios have columns of their own."""
        heads: list[str] = []
        for column in self.columns:
            heads += [column.name, *(["ratio"] if self.ours and column.compared else [])]
        return [heads, *(self._cells(row) for row in self.rows)]

    def _cells(self, row: Sequence[Any]) -> list[str]:
        texts: list[str] = []
        for position, (column, value) in enumerate(zip(self.columns, row, strict=True)):
            texts.append(ABSENT if value is None else format(value, column.form))
            if self.ours and column.compared:
                ratio = self.ratio(row, position)
                texts.append(ABSENT if ratio is None else f"{ratio:.2f}x")
        return texts


def loaded(data: dict[str, Any]) -> Table:
    """Return a table that was kept."""
    return Table(**(data | {"columns": [Column(**each) for each in data["columns"]]}))


def show(table: Table) -> None:
    """Print a table, and keep it where that is asked for."""
    cells = table.cells()
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{table.title}\n" if table.title else "")
    for first, *others in cells:
        line = "".join(
            f"{text:>{width + 2}}" for text, width in zip(others, widths[1:], strict=True)
        )
        print(f"{first:<{widths[0]}}{line}")
    print(flush=True)
    if path := os.environ.get(KEEP):
        with open(path, "a") as file:
            file.write(json.dumps(asdict(table)) + "\n")
