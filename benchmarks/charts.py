"""Charts of tables, as SVG whose colours can be read on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from figures import Table

WIDTH = 720
LABELS = 230
"""How much of it names what the bars are."""

ROW = 26
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #737b83 }
.ours { fill: #2f7fd6 } .theirs { fill: #9aa3ab }
.axis { stroke: #9aa3ab; stroke-opacity: .45 }
.line { fill: none; stroke-width: 2.5 }
"""
COLOURS = ("#2f7fd6", "#9aa3ab", "#d9822b", "#3f9f6b")
"""Of lines; what is ours is drawn first."""


def chart(table: Table) -> str | None:
    """Return the SVG of a table, None if it is not to be drawn or there would be nothing to see."""
    if table.chart == "lines":
        return lines(table)
    return bars(table) if table.chart == "bars" and _visible(table) else None


def _visible(table: Table) -> bool:
    """Return whether the longest bar leaves something of the shortest."""
    position = [column.name for column in table.columns].index(table.drawn[0])
    numbers = [row[position] for row in table.rows if row[position]]
    return max(numbers) < 1000 * min(numbers)


def described(table: Table) -> str:
    """Return in words what a chart shows, for those who can't see it."""
    what = "Bars" if table.chart == "bars" else "Lines"
    return f"{what} of {' and '.join(table.drawn)}, with the figures of the table."


def bars(table: Table) -> str:
    """Return a bar for each row, as long as its number, and that beside it."""
    [name] = table.drawn
    position = [column.name for column in table.columns].index(name)
    rows = [row for row in table.rows if row[position] is not None]
    most = max(row[position] for row in rows)
    space = WIDTH - LABELS - 90
    parts = [f'<text x="{LABELS}" y="16">{escape(name)}</text>']
    for number, row in enumerate(rows):
        top = ROW * (number + 1)
        length = max(1.5, row[position] / most * space)
        kind = "ours" if row[0] in (table.ours, *table.also_ours) else "theirs"
        shown = format(row[position], table.columns[position].form)
        parts += [
            f'<text x="{LABELS - 10}" y="{top + 15}" text-anchor="end">{escape(row[0])}</text>',
            f'<rect class="{kind}" x="{LABELS}" y="{top + 2}" width="{length:.1f}" height="18"/>',
            f'<text x="{LABELS + length + 8:.1f}" y="{top + 15}">{shown}</text>',
        ]
    return drawing(ROW * (len(rows) + 1) + 6, parts)


def lines(table: Table) -> str:
    """Return a line for each drawn column over the numbers of the first; both axes logarithmic."""
    names = [column.name for column in table.columns]
    places = [names.index(name) for name in table.drawn]
    end = WIDTH - 170
    across = Axis([row[0] for row in table.rows], 70, end)
    up = Axis([row[place] for row in table.rows for place in places], 260, 20)
    parts = [f'<text x="{(70 + end) / 2}" y="302" text-anchor="middle">{escape(names[0])}</text>']
    for tick in across.ticks:
        parts.append(f'<text x="{across(tick):.1f}" y="282" text-anchor="middle">{tick:,g}</text>')
    for tick in up.ticks:
        y = up(tick)
        parts += [
            f'<text x="60" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>',
            f'<line class="axis" x1="70" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>',
        ]
    for place, colour in zip(places, COLOURS, strict=False):
        points = [(across(row[0]), up(row[place])) for row in table.rows]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        x, y = points[-1]
        parts += [
            f'<polyline class="line" stroke="{colour}" points="{path}"/>',
            *(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}"/>' for a, b in points),
            f'<text x="{x + 12:.1f}" y="{y + 4:.1f}">{escape(names[place])}</text>',
        ]
    return drawing(312, parts)


class Axis:
    """Where numbers are on a logarithmic axis from one place to another."""

    def __init__(self, numbers: Sequence[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(numbers)))
        self.high = max(math.ceil(math.log10(max(numbers))), self.low + 1)
        self.start, self.end = start, end
        self.ticks = [10.0**power for power in range(self.low, self.high + 1)]

    def __call__(self, number: float) -> float:
        share = (math.log10(number) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def drawing(height: float, parts: Sequence[str]) -> str:
    """Return an SVG of these parts."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}">\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"
    )
