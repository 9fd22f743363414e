"""What the benchmarks register: task tables that grow the way real ones do."""

from __future__ import annotations

import random
from typing import NamedTuple

ALL = (
    frozenset(range(60)),
    frozenset(range(24)),
    frozenset(range(1, 32)),
    frozenset(range(1, 13)),
    frozenset(range(7)),
)
"""What a field may hold; weekdays count from Monday as 0."""


class Fields(NamedTuple):
    """The numbers each field names. All five must match, as among keywords of a task."""

    minutes: frozenset[int] = ALL[0]
    hours: frozenset[int] = ALL[1]
    days: frozenset[int] = ALL[2]
    months: frozenset[int] = ALL[3]
    weekdays: frozenset[int] = ALL[4]

    def crontab(self) -> str:
        """Return the five fields as text, weekdays counted from Sunday as 0."""
        sunday_first = frozenset((day + 1) % 7 for day in self.weekdays)
        named = (*self[:4], sunday_first)
        return " ".join(
            "*" if numbers == every else ",".join(map(str, sorted(numbers)))
            for numbers, every in zip(named, ALL, strict=True)
        )


def realistic(count: int) -> list[Fields]:
    """Return tables of an app: frequent tasks share their schedules, rare ones have their own."""
    rng = random.Random(count)

    def steps(minutes: int) -> frozenset[int]:
        return frozenset(range(0, 60, minutes))

    def one(*choices: int) -> frozenset[int]:
        return frozenset({rng.choice(choices)})

    def minute() -> frozenset[int]:
        return one(*range(60))

    def hour() -> frozenset[int]:
        return one(*range(24))

    kinds = {
        lambda: Fields(): 2,
        lambda: Fields(steps(5)): 10,
        lambda: Fields(steps(10)): 6,
        lambda: Fields(steps(15)): 9,
        lambda: Fields(minute()): 21,
        lambda: Fields(minute(), hour()): 27,
        lambda: Fields(minute(), hour(), weekdays=one(*range(7))): 10,
        lambda: Fields(minute(), hour(), days=one(*range(1, 29))): 6,
        lambda: Fields(
            steps(rng.choice((5, 10, 15, 30))),
            frozenset(range(rng.choice((7, 8, 9)), rng.choice((17, 18, 19)))),
            weekdays=frozenset(range(5)),
        ): 9,
    }
    return [kind() for kind in rng.choices(list(kinds), list(kinds.values()), k=count)]


def wide(count: int) -> list[Fields]:
    """Return tables where nearly every schedule is another one and names many slots a day."""
    rng = random.Random(count)

    def some(numbers: frozenset[int]) -> frozenset[int]:
        return frozenset(rng.sample(sorted(numbers), rng.randint(1, len(numbers))))

    def fields() -> Fields:
        if rng.random() < 0.5:
            return Fields(some(ALL[0]), some(ALL[1]), days=some(ALL[2]))
        return Fields(some(ALL[0]), some(ALL[1]), weekdays=some(ALL[4]))

    return [fields() for _ in range(count)]
