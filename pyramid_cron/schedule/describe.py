"""Plain English for schedules."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from .fields import DAY, DOW, MONTH
from .masks import values

if TYPE_CHECKING:
    from .cron import Cron
    from .dates import Dates

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("", "January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_NTH = ("first", "second", "third", "fourth", "fifth", "last")
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))

# More times of day than this aren't listed one by one.
_LISTED = 6


def describe_cron(cron: Cron) -> str:
    """Say when in a day, on which days, and in which zone if the schedule has its own."""
    minutes, hours = values(cron.minutes), values(cron.hours)
    steady = _steady(minutes, hours)
    days = _days(cron.dates)
    if not steady and (not days or days.startswith("in ")):
        days = f"every day {days}".rstrip()
    text = f"{steady or _times(minutes, hours)} {days}".rstrip()
    return text if cron.timezone is None else f"{text} ({cron.timezone})"


def describe_every(seconds: int) -> str:
    """Say an interval in its largest whole unit."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"every {unit}" if seconds == size else f"every {seconds // size} {unit}s"


def _steady(minutes: Sequence[int], hours: Sequence[int]) -> str:
    """Describe times that go on around the clock; "" for others."""
    step = _step(hours, 24)
    if step == 1:
        return "every hour" if minutes == [0] else _minutes(minutes, "of every hour")
    if step and len(hours) > 2 and len(minutes) == 1:
        return f"every {step} hours" + (f" at minute {minutes[0]}" if minutes[0] else "")
    return ""


def _times(minutes: Sequence[int], hours: Sequence[int]) -> str:
    if len(minutes) * len(hours) <= _LISTED:
        return "at " + _join([f"{hour:02}:{minute:02}" for hour in hours for minute in minutes])
    step = 60 if len(minutes) == 1 else _step(minutes, 60)
    if step and len(hours) == hours[-1] - hours[0] + 1:
        start, end = f"{hours[0]:02}:{minutes[0]:02}", f"{hours[-1]:02}:{minutes[-1]:02}"
        return f"{describe_every(step * 60)} from {start} to {end}"
    named = "hour" if len(hours) == 1 else "hours"
    return _minutes(minutes, f"of {named} {_spans(hours)}")


def _minutes(minutes: Sequence[int], where: str) -> str:
    step = _step(minutes, 60)
    if step:
        every = describe_every(step * 60)
        return every if where == "of every hour" else f"{every} {where}"
    return f"at minute{'s' * (len(minutes) > 1)} {_spans(minutes)} {where}"


def _step(numbers: Sequence[int], size: int) -> int:
    """Return the step in which ``numbers`` go from 0 evenly around ``size``, 0 if they don't."""
    step = size // len(numbers)
    return step if step < size and list(numbers) == list(range(0, size, step)) else 0


def _days(dates: Dates) -> str:
    """Describe the dates; "" if there is every day of every month."""
    month = "" if dates.months == MONTH.full else _spans(values(dates.months), _MONTHS)
    within = f" in {month}" if month else ""
    by_day = _by_day(dates, month or "the month")
    weekdays = _join(_named_weekdays(dates), "or" if by_day else "and")
    if by_day and weekdays:
        if dates.either:
            every = "" if dates.nth else "every "
            return f"on {by_day} or on {every}{_join(_named_weekdays(dates))}{within}"
        return f"on {by_day} if it is {weekdays}"
    if weekdays and dates.nth:
        return f"on {weekdays} of {month or 'the month'}"
    return f"on {by_day}" if by_day else (f"on {weekdays}{within}" if weekdays else within.strip())


def _by_day(dates: Dates, of: str) -> str:
    if dates.monthdays == DAY.full:
        return ""
    numbers = values(dates.monthdays)
    step = _stride(numbers)
    if step and not dates.last:
        start = f" from day {numbers[0]}" if numbers[0] > 1 else ""
        return f"every {step} day{start} of {of}"
    named = [f"day{'s' * (len(numbers) > 1)} {_spans(numbers)}"] if numbers else []
    return " and ".join(named + ["the last day"] * dates.last) + f" of {of}"


def _stride(numbers: Sequence[int]) -> str:
    """Return "2nd", "3rd" and so on if days of the month follow each other that way."""
    step = numbers[1] - numbers[0] if len(numbers) > 4 else 1
    if step == 1 or list(numbers) != list(range(numbers[0], 32, step)):
        return ""
    return {2: "2nd", 3: "3rd"}.get(step, f"{step}th")


def _named_weekdays(dates: Dates) -> list[str]:
    if dates.nth:
        return [
            f"the {which} {_WEEKDAYS[day]}"
            for which, weekdays in zip(_NTH, dates.nth, strict=True)
            for day in values(weekdays)
        ]
    return [] if dates.weekdays == DOW.full else _runs(values(dates.weekdays), _WEEKDAYS)


def _spans(numbers: Sequence[int], names: Sequence[str] | None = None) -> str:
    return _join(_runs(numbers, names))


def _runs(numbers: Sequence[int], names: Sequence[str] | None = None) -> list[str]:
    """Name numbers, of three or more in a row only the first and the last."""
    found: list[str] = []
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        named = [names[number] if names else str(number) for _, number in run]
        found += [f"{named[0]} to {named[-1]}"] if len(named) > 2 else named
    return found


def _join(texts: Sequence[str], word: str = "and") -> str:
    """Join texts as a sentence does: "a", "a and b", "a, b and c"."""
    *first, last = texts or [""]
    return f"{', '.join(first)} {word} {last}" if first else last
