"""A plot of durations as plain numbers, which a template draws as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..run import Run, RunState

LEAST = 2.0
"""How high a bar is at least, so that it can be seen."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One run: where its bar stands and how high it is."""

    run: Run
    x: float
    y: float
    width: float
    height: float

    @property
    def good(self) -> bool:
        """Whether the run succeeded."""
        return self.run.state is RunState.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Bars:
    """A plot, oldest run first; ``longest`` is the seconds that its full height stands for."""

    width: int
    height: int
    longest: float
    bars: tuple[Bar, ...]

    @property
    def failures(self) -> int:
        """How many of the runs did not succeed."""
        return sum(not bar.good for bar in self.bars)


def bars(runs: Sequence[Run], width: int, height: int) -> Bars:
    """Return the plot of those of the runs (newest first) that have a duration."""
    timed = [(run, run.duration) for run in reversed(runs) if run.duration is not None]
    longest = max((duration for _, duration in timed), default=0.0)
    step = width / max(len(timed), 20)
    placed = []
    for number, (run, duration) in enumerate(timed):
        tall = max(LEAST, max(0.0, duration) / longest * height if longest > 0 else LEAST)
        placed.append(
            Bar(
                run,
                round(number * step, 2),
                round(height - tall, 2),
                round(step * 0.75, 2),
                round(tall, 2),
            )
        )
    return Bars(width, height, longest, tuple(placed))
