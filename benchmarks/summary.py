"""The short table of figures in the README, made of what ``all.py`` has kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from figures import Table, loaded

BEGIN = ".. Figures: written by benchmarks/all.py, from here"
END = ".. to here"

Result = dict[str, Any]


def inserted(readme: str, results: Mapping[str, Result]) -> str:
    """Return the README with the table of these results, by the names of their benchmarks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, "", *_lines(results), "", END + after])


def _lines(results: Mapping[str, Result]) -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield ""
    yield from _row("", "pyramid_cron", "elsewhere")
    machines = set()
    for row in (_matching, _following, _idle_tick, _runs, _lateness, _memory, _importing):
        result = results.get(row.__name__.removeprefix("_"))
        if result is not None:
            yield from _row(*row([loaded(each) for each in result["tables"]]))
            machines.add(_where(result))
    yield ""
    yield f"Measured on {' and on '.join(sorted(machines))}."


def _row(first: str, *others: str) -> list[str]:
    return [f"   * - {first}".rstrip(), *(f"     - {other}" for other in others)]


def _where(result: Result) -> str:
    machine = result["machine"]
    return f"{machine['processor']}, {machine['cores']} cores, with Python {result['python']}"


def _matching(tables: list[Table]) -> tuple[str, str, str]:
    found, scanned = _pair(tables[0], 10_000, "SlotCalendar.due", "plain scan")
    return (
        "Find what is due of 10,000 tasks",
        f"{found:.0f} µs",
        f"ask each of them: {scanned:.0f} µs",
    )


def _following(tables: list[Table]) -> tuple[str, str, str]:
    return _compared("The next 1,000 slots in Europe/Berlin", tables[-1], "1,000, ms", "ms", ".1f")


def _idle_tick(tables: list[Table]) -> tuple[str, str, str]:
    tick, view = _pair(tables[0], 10_000, "idle tick, us", "bare view, us")
    what = "A tick with nothing due, of 10,000 tasks"
    return what, f"{tick:.0f} µs", f"a view that does nothing: {view:.0f} µs"


def _runs(tables: list[Table]) -> tuple[str, str, str]:
    """Compare with each library as it is fastest."""
    column, [table] = "1,000 tasks, ms", tables
    position = _position(table, column)
    best: dict[str, list[Any]] = {}
    for row in sorted(table.rows, key=lambda row: row[position] or float("inf")):
        best.setdefault(row[0].partition(",")[0], row)
    what = "1,000 tasks due at once, until all are on record"
    return _compared(what, replace(table, rows=list(best.values())), column, "ms", ",.0f")


def _lateness(tables: list[Table]) -> tuple[str, str, str]:
    return _compared("From the full minute to the start", tables[0], "median, ms", "ms", ",.0f")


def _memory(tables: list[Table]) -> tuple[str, str, str]:
    return _compared("Memory of a registered task", tables[0], "bytes per task", "bytes", ",.0f")


def _importing(tables: list[Table]) -> tuple[str, str, str]:
    return _compared("Start of an application with it", tables[0], "application, ms", "ms", ",.0f")


def _pair(table: Table, first: Any, *columns: str) -> list[float]:
    [row] = [each for each in table.rows if each[0] == first]
    return [row[_position(table, column)] for column in columns]


def _compared(what: str, table: Table, column: str, unit: str, form: str) -> tuple[str, str, str]:
    """Return ours, and those of all others, the least first."""
    position = _position(table, column)
    named = {row[0]: row[position] for row in table.rows if row[position] is not None}
    others = sorted((each, name) for name, each in named.items() if name not in ours(table))
    told = "; ".join(f"{name} {each:{form}}" for each, name in others)
    return what, f"{named[table.ours]:{form}} {unit}", f"{told} {unit}"


def ours(table: Table) -> tuple[str, ...]:
    """Return the names of the rows that are ours."""
    return table.ours, *table.also_ours


def _position(table: Table, column: str) -> int:
    return [each.name for each in table.columns].index(column)
