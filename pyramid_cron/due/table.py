"""The schedules of one zone by local time: which entries they name on a date, at a minute."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from ..schedule import Cron
from .crowd import Crowd
from .rule import Rule, collect
from .timetable import timetable

DEAR = 24
"""Rules that take more references in a timetable than this per entry are dear."""

CROWDED = 128
"""Up to so many of them are worth it nevertheless, since they are found faster there."""


class Table:
    """Entries by the local time of their schedules, equal schedules kept once.

    A timetable has what the rules name. Only where there is a crowd of rules that name many minutes
    a day, and hardly any two entries agree, it would grow too large: those are asked one by one.
    """

    __slots__ = ("cells", "crowd", "kinds", "rules")

    def __init__(self, crons: Iterable[tuple[Cron, int]]) -> None:
        self.kinds, self.rules = collect(crons)
        dear = [rule for rule in self.rules if _is_dear(rule)]
        self.crowd = tuple(dear) if len(dear) > CROWDED else ()
        self.cells = timetable(rule for rule in self.rules if not (self.crowd and _is_dear(rule)))


def _is_dear(rule: Rule) -> bool:
    return rule.frequency() > DEAR * len(rule.due.positions)


class Day:
    """The entries that a table names at the minutes of a date, 0 to 1439 on the local clock.

    Which kinds of dates it is gets worked out once, for all minutes and all entries.
    """

    __slots__ = ("_cells", "_crowd", "_rules", "_truth")

    def __init__(self, table: Table, day: date) -> None:
        self._cells = table.cells
        self._rules = table.rules
        self._truth = [kind.match(day.year, day.month, day.day) for kind in table.kinds]
        today = [rule for rule in table.crowd if self._truth[rule.due.kind]]
        self._crowd = Crowd(today) if today else None

    def at(self, time: int) -> list[int]:
        """Return the positions named at a minute, once for each of their schedules."""
        due: list[int] = []
        truth = self._truth
        for kind, positions in self._cells[time]:
            if truth[kind]:
                due += positions
        if self._crowd:
            due += self._crowd.at(*divmod(time, 60))
        return due

    def again(self, time: int) -> list[int]:
        """Return the positions named at a minute that the local clock shows a second time.

        Only wildcard schedules follow it there.
        """
        return self._named({time // 60: 1 << time % 60}, wildcard=True)

    def made_up(self, times: range) -> list[int]:
        """Return the positions that fixed-time schedules name at any of the minutes left out."""
        skipped: dict[int, int] = {}
        for time in times:
            skipped[time // 60] = skipped.get(time // 60, 0) | 1 << time % 60
        return self._named(skipped, wildcard=False)

    def _named(self, times: dict[int, int], *, wildcard: bool) -> list[int]:
        """Go through all rules, which few minutes of a year are worth preparing better for."""
        return [
            position
            for hours, minutes, wild, (kind, positions) in self._rules
            if wild == wildcard
            and self._truth[kind]
            and any(hours >> hour & 1 and minutes & mask for hour, mask in times.items())
            for position in positions
        ]
