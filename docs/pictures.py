"""The pictures of both shifts of the clocks, drawn of what the schedules themselves say.

    python docs/pictures.py

A picture shows some hours of the clock on the wall. In spring the hour that is skipped has a place
among them, though it takes no time; in autumn the hour that happens twice has two. Below are
schedules: a dot is a slot, a cross a time at which a schedule does not run, an arrow leads to the
slot instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from pyramid_cron import Cron

FOLDER = Path(__file__).parent / "_static"
ZONE = ZoneInfo("Europe/Berlin")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

SCHEDULES = {
    "fixed times": ["30 2 * * *", "0,30 2 * * *", "0 3 * * *", "0 1-4/1 * * *"],
    "rhythms": ["*/20 2 * * *", "0 * * * *"],
}

WIDTH, LEFT, RIGHT, TOP, LANE, HEADING = 780, 150, 40, 84, 34, 22

STYLE = """
  .paper { fill: #ffffff; stroke: #c9d1d9 }
  .shift { fill: #fbe3c6 }
  .line { stroke: #c9d1d9 }
  .lane { stroke: #e4e8ec }
  text { font: 13px sans-serif; fill: #1f2328 }
  .title { font-weight: bold; font-size: 15px }
  .code { font-family: monospace; font-size: 14px }
  .faint { fill: #59636e; font-size: 12px }
  .runs { fill: #0a6640 }
  .not { stroke: #b42318; stroke-width: 2; fill: none }
  .then { stroke: #0a6640; stroke-width: 1.5; fill: none }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #161b22; stroke: #3d444d }
    .shift { fill: #4a3316 }
    .line { stroke: #3d444d }
    .lane { stroke: #262c34 }
    text { fill: #e6edf3 }
    .faint { fill: #9da7b1 }
    .runs { fill: #56d394 }
    .not { stroke: #ff8f80 }
    .then { stroke: #56d394 }
  }
"""


@dataclass(frozen=True)
class Column:
    """An hour of the clock on the wall: what it shows, and when it begins (UTC).

    ``hour`` is a time of the clock without a zone. Of an hour that is skipped ``exists`` is false.
    """

    hour: datetime
    begins: datetime
    exists: bool = True


@dataclass(frozen=True)
class Mark:
    """What is drawn of a schedule, at a place counted in columns.

    ``instead`` is the place of the slot that makes up for it.
    """

    place: float
    runs: bool
    instead: float | None = None


@dataclass(frozen=True)
class Picture:
    """One shift: the hours around it, and what is said of those that are shaded."""

    name: str
    title: str
    columns: list[Column]
    notes: dict[int, str]

    def marks(self, cron: Cron) -> Iterator[Mark]:
        """Yield what is drawn of a schedule: its slots, and its times that are none."""
        slots = set(cron.between(self.columns[0].begins - MINUTE, self.end))
        for slot in slots:
            yield Mark(self.place(slot), runs=True)
        for place, moment in self.times(cron):
            if moment is None:
                made_up = self.place(self.resumed)
                is_made_up = self.resumed in slots and not cron.fields.is_wildcard
                yield Mark(place, runs=False, instead=made_up if is_made_up else None)
            elif moment not in slots:
                yield Mark(place, runs=False)

    def times(self, cron: Cron) -> Iterator[tuple[float, datetime | None]]:
        """Yield the places of all times of the clock that a schedule names, and when they are."""
        anywhere = Cron(cron.crontab(), timezone="UTC")
        for number, column in enumerate(self.columns):
            for minute in range(60):
                if anywhere.matches((column.hour + minute * MINUTE).replace(tzinfo=timezone.utc)):
                    when = column.begins + minute * MINUTE if column.exists else None
                    yield number + minute / 60, when

    def place(self, slot: datetime) -> float:
        """Return where in the picture a slot is."""
        for number, column in enumerate(self.columns):
            if column.exists and column.begins <= slot < column.begins + HOUR:
                return number + (slot - column.begins) / HOUR
        raise ValueError(slot)

    @property
    def end(self) -> datetime:
        """The moment at which the picture ends, which is in it no more."""
        return self.columns[-1].begins + HOUR - MINUTE

    @property
    def resumed(self) -> datetime:
        """The first instant after what is shaded."""
        return self.columns[max(self.notes) + 1].begins


def columns(first: datetime, count: int) -> list[Column]:
    """Return the hours that the clock shows from a moment on, skipped ones included."""
    found: list[Column] = []
    moment = first
    while len(found) < count:
        shown = moment.astimezone(ZONE).replace(tzinfo=None)
        while found and shown > (missing := found[-1].hour + HOUR):
            found.append(Column(missing, moment, exists=False))
        found.append(Column(shown, moment))
        moment += HOUR
    return found


def pictures() -> list[Picture]:
    """Return those of the year 2026 in Berlin."""
    spring = columns(datetime(2026, 3, 29, 0, tzinfo=timezone.utc), 4)
    autumn = columns(datetime(2026, 10, 24, 23, tzinfo=timezone.utc), 5)
    [skipped] = [number for number, column in enumerate(spring) if not column.exists]
    hours = [column.hour for column in autumn]
    first, second = (number for number, hour in enumerate(hours) if hours.count(hour) > 1)
    return [
        Picture(
            "spring",
            f"{spring[0].hour:%-d %B %Y}, Berlin: the clock is put forward",
            spring,
            {skipped: "skipped"},
        ),
        Picture(
            "autumn",
            f"{autumn[0].hour:%-d %B %Y}, Berlin: the clock is put back",
            autumn,
            {first: "the first time", second: "the second time"},
        ),
    ]


def draw(picture: Picture) -> str:
    """Return the SVG."""
    scale = (WIDTH - LEFT - RIGHT) / len(picture.columns)
    bottom = TOP + HEADING * len(SCHEDULES) + LANE * sum(map(len, SCHEDULES.values()))
    height = bottom + 64

    def x(place: float) -> float:
        return round(LEFT + scale * place, 1)

    parts = [
        f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        _text(16, 28, picture.title, "title"),
        _text(16, TOP - 24, "clock on the wall", "faint"),
        _text(16, TOP - 6, "UTC", "faint"),
    ]
    for number, note in picture.notes.items():
        parts.append(
            f'<rect class="shift" x="{x(number)}" y="{TOP}" '
            f'width="{scale:.1f}" height="{bottom - TOP}"/>'
        )
        parts.append(_text(x(number + 0.5), bottom + 16, note, "faint", "middle"))
    last = picture.columns[-1]
    edge = Column(last.hour + HOUR, last.begins + HOUR)
    for number, column in enumerate([*picture.columns, edge]):
        parts.append(f'<path class="line" d="M{x(number)} {TOP}V{bottom}"/>')
        parts.append(_text(x(number), TOP - 24, f"{column.hour:%-H:%M}", "", "middle"))
        parts.append(_text(x(number), TOP - 6, f"{column.begins:%-H:%M}", "faint", "middle"))
    y = TOP
    for heading, expressions in SCHEDULES.items():
        y += HEADING
        parts.append(_text(16, y - 4, heading, "faint"))
        for expression in expressions:
            parts += _lane(picture, expression, x, y + LANE // 2)
            y += LANE
    parts += _legend(height - 16)
    if any('"then"' in part for part in parts):
        parts += [
            _arrow(LEFT + 178, LEFT + 216, height - 12),
            _text(LEFT + 224, height - 16, "runs then instead", "faint"),
        ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{picture.title}">\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def _lane(picture: Picture, expression: str, x: Callable[[float], float], y: int) -> Iterator[str]:
    yield f'<path class="lane" d="M{x(0)} {y}H{x(len(picture.columns))}"/>'
    yield _text(16, y + 5, expression, "code")
    cron = Cron(expression, timezone=str(ZONE))
    for mark in sorted(picture.marks(cron), key=lambda mark: (mark.place, mark.runs)):
        yield _dot(x(mark.place), y) if mark.runs else _cross(x(mark.place), y)
        if mark.instead is not None:
            yield _arrow(x(mark.place), x(mark.instead), y)


def _dot(x: float, y: int) -> str:
    return f'<circle class="runs" cx="{x}" cy="{y}" r="5"/>'


def _cross(x: float, y: int) -> str:
    return f'<path class="not" d="M{x - 4:.1f} {y - 4}l8 8m0-8l-8 8"/>'


def _arrow(x: float, to: float, y: int) -> str:
    curve = f"M{x + 3:.1f} {y - 7}Q{(x + to) / 2:.1f} {y - 18} {to - 4:.1f} {y - 7}"
    return f'<path class="then" d="{curve}m-5.5-3l5.5 3l-6 1.5"/>'


def _legend(y: int) -> list[str]:
    return [
        _dot(LEFT, y - 4),
        _text(LEFT + 12, y, "runs", "faint"),
        _cross(LEFT + 70, y - 4),
        _text(LEFT + 82, y, "does not run", "faint"),
    ]


def _text(x: float, y: int, text: str, kind: str, anchor: str = "start") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def main() -> int:
    """Write them where the documentation has them."""
    for picture in pictures():
        (FOLDER / f"shift-{picture.name}.svg").write_text(draw(picture))
    return 0


if __name__ == "__main__":
    sys.exit(main())
