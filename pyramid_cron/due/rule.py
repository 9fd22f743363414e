"""What schedules ask of the local time, kept once for all entries that ask the same."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

from ..schedule import Cron
from ..schedule.dates import Dates


class Due(NamedTuple):
    """The number of a kind of dates, and the positions of the entries due on them."""

    kind: int
    positions: tuple[int, ...]


class Rule(NamedTuple):
    """The local times that a schedule names, as masks, and what is due then."""

    hours: int
    minutes: int
    wildcard: bool
    due: Due

    def frequency(self) -> int:
        """Return how many minutes of a day it names."""
        return self.hours.bit_count() * self.minutes.bit_count()

    def times(self) -> list[int]:
        """Return the minutes of the day that it names."""
        hours, minutes = _places(self.hours), _places(self.minutes)
        return [hour * 60 + minute for hour in hours for minute in minutes]


def _places(mask: int) -> list[int]:
    return [place for place in range(mask.bit_length()) if mask >> place & 1]


def collect(crons: Iterable[tuple[Cron, int]]) -> tuple[tuple[Dates, ...], tuple[Rule, ...]]:
    """Return the kinds of dates that the schedules know, and a rule for each distinct schedule."""
    kinds: dict[Dates, int] = {}
    entries: dict[tuple[int, int, bool, int], list[int]] = {}
    for cron, position in crons:
        kind = kinds.setdefault(cron.dates, len(kinds))
        entries.setdefault((cron.hours, cron.minutes, cron.wildcard, kind), []).append(position)
    rules = [
        Rule(hours, minutes, wildcard, Due(kind, _side_by_side(positions)))
        for (hours, minutes, wildcard, kind), positions in entries.items()
    ]
    return tuple(kinds), tuple(rules)


def _side_by_side(positions: Iterable[int]) -> tuple[int, ...]:
    # Copied through an array, the numbers of a rule are neighbours in memory. With many entries
    # that alone makes it twice as fast to list those that are due.
    return tuple(array("Q", positions))
