"""Back to cron text: a usual expression for what a `Cron` matches."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from .fields import DAY, DOW, HOUR, MINUTE, MONTH, Field
from .masks import values

if TYPE_CHECKING:
    from .cron import Cron
    from .dates import Dates


def crontab(cron: Cron) -> str:
    """Return five fields real cron can read; ValueError where it can't say the same."""
    if cron.dates.last or cron.dates.nth:
        raise ValueError(f"{cron!r}: a crontab knows no last day and no nth weekday of a month")
    return expression(cron)


def expression(cron: Cron) -> str:
    """Return five fields; ValueError where a day and a weekday must both match."""
    days = _days(cron.dates)
    if days is None:
        raise ValueError(f"{cron!r}: in a crontab, either of day and day-of-week is enough")
    return " ".join([*_times(cron), days[0], _text(MONTH, cron.dates.months), days[1]])


def arguments(cron: Cron) -> str:
    """Return the arguments of an equal `Cron`, without its zone."""
    if _days(cron.dates) is not None:
        return repr(expression(cron))
    minute, hour = _times(cron)
    day, month, dow = _day(cron.dates, 0), _text(MONTH, cron.dates.months), _dow(cron.dates, 0)
    return f"min={minute!r}, hour={hour!r}, day={day!r}, month={month!r}, dow={dow!r}"


def every_crontab(seconds: int) -> str:
    """Return the five fields, in UTC, of an interval that is counted from the epoch."""
    minutes, odd = divmod(seconds, 60)
    hours = minutes // 60
    if not odd and minutes < 60 and 60 % minutes == 0:
        return "* * * * *" if minutes == 1 else f"*/{minutes} * * * *"
    if seconds % 3600 == 0 and 24 % hours == 0:
        hour = {1: "*", 24: "0"}.get(hours, f"*/{hours}")
        return f"0 {hour} * * *"
    if seconds == 7 * 86_400:
        return "0 0 * * 4"  # the epoch was a Thursday
    raise ValueError(f"every={short(seconds)!r}: a crontab has no such interval")


def short(seconds: int) -> str:
    """Write an interval in its largest whole unit, as in ``30m``."""
    units = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    size, unit = next((size, unit) for size, unit in units if seconds % size == 0)
    return f"{seconds // size}{unit}"


def _times(cron: Cron) -> tuple[str, str]:
    """Return minute and hour; one of them begins with ``*`` just if they are a wildcard."""
    if not cron.wildcard:
        return _text(MINUTE, cron.minutes, 0), _text(HOUR, cron.hours, 0)
    minute, hour = _text(MINUTE, cron.minutes, 2), _text(HOUR, cron.hours, 2)
    if "*" in minute + hour:
        return minute, hour
    if cron.hours & 1 and (cron.minutes == 1 or not cron.minutes & 1):
        return minute, _starred(HOUR, cron.hours, 1)
    return _starred(MINUTE, cron.minutes, 1), hour


def _days(dates: Dates) -> tuple[str, str] | None:
    """Return day and day-of-week, None if they can't be said in one expression.

    Without a leading ``*`` in either, a crontab takes them for alternatives.
    """
    if dates.either:
        return _day(dates, 0), _dow(dates, 0)
    if dates.monthdays == DAY.full or dates.weekdays == DOW.full:
        return _day(dates), _dow(dates)
    if not dates.starred:
        return None
    weekdays = _sunday_first(dates.weekdays)
    starred = _starred(DAY, dates.monthdays, 2)
    if not starred and not _starred(DOW, weekdays, 2):
        starred = _starred(DAY, dates.monthdays, 1)
    if starred:
        return starred + ",L" * dates.last, _dow(dates)
    return _day(dates), _starred(DOW, weekdays, 1)


def _day(dates: Dates, least: int = 4) -> str:
    days = [_text(DAY, dates.monthdays, least)] if dates.monthdays else []
    return ",".join(days + ["L"] * dates.last)


def _dow(dates: Dates, least: int = 4) -> str:
    if dates.nth is None:
        return _text(DOW, _sunday_first(dates.weekdays), least)
    return ",".join(
        f"L{day}" if n == 6 else f"{day}#{n}"
        for n, weekdays in enumerate(dates.nth, 1)
        for day in values(_sunday_first(weekdays))
    )


def _text(field: Field, mask: int, least: int = 4) -> str:
    """Write a field; with a leading ``*`` if it is full or evenly has ``least`` values or more.

    With ``least`` 0 it never has one.
    """
    if mask == field.full:
        return "*" if least else f"{field.low}-{field.high}"
    starred = _starred(field, mask, least) if least else ""
    return starred if starred and "," not in starred else _listed(field, mask)


def _starred(field: Field, mask: int, least: int) -> str:
    """Write a field as ``*/2`` or ``*/2,7`` with ``least`` values or more in steps, or as ""."""
    for step in range(2, field.high - field.low + 2):
        steps = sum(1 << value for value in range(field.low, field.high + 1, step))
        if not steps & ~mask and steps.bit_count() >= least:
            rest = mask & ~steps
            return f"*/{step}" + ("," + _listed(field, rest) if rest else "")
    return ""


def _listed(field: Field, mask: int) -> str:
    """Write a field as a list of numbers and ranges, or as one range with a step."""
    numbers = values(mask)
    step = numbers[1] - numbers[0] if len(numbers) > 3 else 1
    if step > 1 and numbers == list(range(numbers[0], numbers[-1] + 1, step)):
        end = field.high if numbers[-1] + step > field.high else numbers[-1]
        return f"{numbers[0]}-{end}/{step}"
    runs = groupby(numbers, lambda value: value - (mask & (1 << value) - 1).bit_count())
    return ",".join(_run(list(run)) for _, run in runs)


def _run(run: list[int]) -> str:
    return f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run))


def _sunday_first(weekdays: int) -> int:
    return weekdays << 1 & 127 | weekdays >> 6
