"""Many schedules that hardly any entries share, on one date."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import compress
from typing import TypeAlias

from .rule import Rule

Hour: TypeAlias = tuple[int, list[int], bytes]
"""An hour of the day, the positions named anywhere in it, and 60 flags for each of them."""

FLAGS = bytes.maketrans(b"01", b"\0\1")


class Crowd:
    """Rules that all apply on some date, entry by entry.

    The entries are sorted out once an hour. What is due in a minute of it then takes one pass over
    the flags of the others, whatever the rules look like: some nanoseconds for each. Only the hour
    last asked for is kept, and replaced as a whole; threads that race only repeat work.
    """

    __slots__ = ("_flags", "_hour", "_hours", "_positions")

    def __init__(self, rules: Iterable[Rule]) -> None:
        each = [(rule, position) for rule in rules for position in rule.due.positions]
        self._hours = [rule.hours for rule, _ in each]
        self._flags = [_flags(rule.minutes) for rule, _ in each]
        self._positions = [position for _, position in each]
        self._hour: Hour = (-1, [], b"")

    def at(self, hour: int, minute: int) -> Iterator[int]:
        """Yield the positions that the rules name at a time of the day."""
        known, positions, flags = self._hour
        if known != hour:
            _, positions, flags = self._hour = self._within(hour)
        return compress(positions, flags[minute::60])

    def _within(self, hour: int) -> Hour:
        named = [hours >> hour & 1 for hours in self._hours]
        positions = list(compress(self._positions, named))
        return hour, positions, b"".join(compress(self._flags, named))


def _flags(minutes: int) -> bytes:
    """Return a zero or a one for each minute of the hour."""
    return format(minutes, "060b")[::-1].encode().translate(FLAGS)
