"""Rules laid out over a day, so that a minute finds what may be due in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TypeAlias

from .rule import Due, Rule

SELDOM = 4
"""Rules for up to so many minutes a day are not put together with others, each time anew."""

COPIES = 2048
"""So many references (16 KiB) an hour may be spent on putting a rule together with others."""

SPARSE = 180
"""Below so many minutes with anything in them, a dictionary is smaller than 1,440 places."""

Cell: TypeAlias = tuple[Due, ...]


class Sparse(dict[int, Cell]):
    """A day in which most minutes have nothing."""

    __slots__ = ()

    def __missing__(self, time: int) -> Cell:
        return ()


Timetable: TypeAlias = tuple[Cell, ...] | Sparse
"""By the minute of the day, 0 to 1439."""


def timetable(rules: Iterable[Rule]) -> Timetable:
    """Lay rules out over a day."""
    seldom: dict[int, list[Due]] = {}
    often: dict[int, list[Rule]] = {}
    for rule in rules:
        if rule.frequency() <= SELDOM:
            for time in rule.times():
                seldom.setdefault(time, []).append(rule.due)
        else:
            for time in rule.times():
                often.setdefault(time, []).append(rule)
    together = _together(often)
    cells = Sparse(
        (time, together.get(time, ()) + tuple(seldom.get(time, ())))
        for time in together.keys() | seldom.keys()
    )
    return cells if len(cells) < SPARSE else tuple(cells[time] for time in range(1440))


def _together(shelves: dict[int, list[Rule]]) -> dict[int, Cell]:
    """Put rules for the same dates together; most hours of a day share the outcome."""
    known: dict[tuple[int, ...], Cell] = {}
    cells: dict[int, Cell] = {}
    for time, rules in shelves.items():
        key = tuple(map(id, rules))
        if key not in known:
            known[key] = _merged(rules)
        cells[time] = known[key]
    return cells


def _merged(rules: Sequence[Rule]) -> Cell:
    """Merge what is due on the same kind of dates, so that one test does for all of it.

    What would take much memory to copy stays as it is.
    """
    alone: list[Due] = []
    kinds: dict[int, list[Due]] = {}
    for rule in rules:
        copies = rule.minutes.bit_count() * len(rule.due.positions)
        (alone if copies > COPIES else kinds.setdefault(rule.due.kind, [])).append(rule.due)
    return (*alone, *map(_merge, kinds.values()))


def _merge(dues: Sequence[Due]) -> Due:
    if len(dues) == 1:
        return dues[0]
    return Due(dues[0].kind, tuple(chain.from_iterable(due.positions for due in dues)))
