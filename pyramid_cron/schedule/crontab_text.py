"""Back to cron text: a usual expression for what a `Cron` matches."""

from __future__ import annotations

from itertools import groupby

from .dates import DateRule
from .fields import (
    DAY_FIELD,
    DOW_FIELD,
    HOUR_FIELD,
    MINUTE_FIELD,
    MONTH_FIELD,
    FieldSpec,
    mask_values,
)
from .parser import CronFields
from .zones import DAY_SECONDS


def cron_to_crontab(fields: CronFields) -> str:
    """Return five fields real cron can read; ValueError where it can't say the same."""
    if fields.dates.has_last_day or fields.dates.nth_weekdays:
        raise ValueError("a crontab knows no last day and no nth weekday of a month")
    return cron_to_expression(fields)


def cron_to_expression(fields: CronFields) -> str:
    """Return five fields; ValueError where a day and a weekday must both match."""
    days = _format_day_and_weekday(fields.dates)
    if days is None:
        raise ValueError("in a crontab, either of day and day-of-week is enough")
    return " ".join(
        [
            *_format_minute_and_hour(fields),
            days[0],
            _format_field(MONTH_FIELD, fields.dates.months),
            days[1],
        ]
    )


def repr_arguments(fields: CronFields) -> str:
    """Return the arguments of an equal `Cron`, without its zone."""
    arguments = cron_arguments(fields)
    if "schedule" in arguments:
        return repr(arguments["schedule"])
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def cron_arguments(fields: CronFields) -> dict[str, str]:
    """Return the arguments of an equal task: a schedule, or fields where both days must match."""
    if _format_day_and_weekday(fields.dates) is not None:
        return {"schedule": cron_to_expression(fields)}
    minute, hour = _format_minute_and_hour(fields)
    day, month, dow = (
        _format_monthdays(fields.dates, 0),
        _format_field(MONTH_FIELD, fields.dates.months),
        _format_weekdays(fields.dates, 0),
    )
    return {"min": minute, "hour": hour, "day": day, "month": month, "dow": dow}


def interval_to_crontab(seconds: int) -> str:
    """Return the five fields, in UTC, of an interval that is counted from the epoch."""
    minutes, odd_seconds = divmod(seconds, 60)
    hours = minutes // 60
    if not odd_seconds and minutes < 60 and 60 % minutes == 0:
        return "* * * * *" if minutes == 1 else f"*/{minutes} * * * *"
    if seconds % 3600 == 0 and 24 % hours == 0:
        hour = {1: "*", 24: "0"}.get(hours, f"*/{hours}")
        return f"0 {hour} * * *"
    if seconds == 7 * DAY_SECONDS:
        return "0 0 * * 4"  # the epoch was a Thursday
    raise ValueError(f"every={compact_interval(seconds)!r}: a crontab has no such interval")


def compact_interval(seconds: int) -> str:
    """Write an interval in its largest whole unit, as in ``30m``."""
    units = ((DAY_SECONDS, "d"), (3600, "h"), (60, "m"), (1, "s"))
    size, unit = next((size, unit) for size, unit in units if seconds % size == 0)
    return f"{seconds // size}{unit}"


def _format_minute_and_hour(fields: CronFields) -> tuple[str, str]:
    """Return minute and hour; one of them begins with ``*`` just if they are a wildcard."""
    if not fields.is_wildcard:
        return _format_field(MINUTE_FIELD, fields.minutes, 0), _format_field(
            HOUR_FIELD, fields.hours, 0
        )
    minute, hour = (
        _format_field(MINUTE_FIELD, fields.minutes, 2),
        _format_field(HOUR_FIELD, fields.hours, 2),
    )
    if "*" in minute + hour:
        return minute, hour
    if fields.hours & 1 and (fields.minutes == 1 or not fields.minutes & 1):
        return minute, _format_steps(HOUR_FIELD, fields.hours, 1)
    return _format_steps(MINUTE_FIELD, fields.minutes, 1), hour


def _format_day_and_weekday(dates: DateRule) -> tuple[str, str] | None:
    """Return day and day-of-week, None if they can't be said in one expression.

    Without a leading ``*`` in either, a crontab takes them for alternatives.
    """
    if dates.either_day_matches:
        return _format_monthdays(dates, 0), _format_weekdays(dates, 0)
    if dates.monthdays == DAY_FIELD.full_mask or dates.weekdays == DOW_FIELD.full_mask:
        return _format_monthdays(dates), _format_weekdays(dates)
    if not dates.has_star:
        return None
    weekdays = _to_sunday_first(dates.weekdays)
    starred = _format_steps(DAY_FIELD, dates.monthdays, 2)
    if not starred and not _format_steps(DOW_FIELD, weekdays, 2):
        starred = _format_steps(DAY_FIELD, dates.monthdays, 1)
    if starred:
        return starred + ",L" * dates.has_last_day, _format_weekdays(dates)
    return _format_monthdays(dates), _format_steps(DOW_FIELD, weekdays, 1)


def _format_monthdays(dates: DateRule, min_steps: int = 4) -> str:
    days = [_format_field(DAY_FIELD, dates.monthdays, min_steps)] if dates.monthdays else []
    return ",".join(days + ["L"] * dates.has_last_day)


def _format_weekdays(dates: DateRule, min_steps: int = 4) -> str:
    if dates.nth_weekdays is None:
        return _format_field(DOW_FIELD, _to_sunday_first(dates.weekdays), min_steps)
    return ",".join(
        f"L{day}" if n == 6 else f"{day}#{n}"
        for n, weekdays in enumerate(dates.nth_weekdays, 1)
        for day in mask_values(_to_sunday_first(weekdays))
    )


def _format_field(field: FieldSpec, mask: int, min_steps: int = 4) -> str:
    """Write a field; with a leading ``*`` if it is full or has ``min_steps`` even steps or more.

    With ``min_steps`` 0 it never has one.
    """
    if mask == field.full_mask:
        return "*" if min_steps else f"{field.low}-{field.high}"
    starred = _format_steps(field, mask, min_steps) if min_steps else ""
    return starred if starred and "," not in starred else _format_list(field, mask)


def _format_steps(field: FieldSpec, mask: int, min_steps: int) -> str:
    """Write a field as ``*/2`` or ``*/2,7`` with ``min_steps`` steps or more, or as ""."""
    for step in range(2, field.high - field.low + 2):
        steps = sum(1 << value for value in range(field.low, field.high + 1, step))
        if not steps & ~mask and steps.bit_count() >= min_steps:
            extra = mask & ~steps
            return f"*/{step}" + ("," + _format_list(field, extra) if extra else "")
    return ""


def _format_list(field: FieldSpec, mask: int) -> str:
    """Write a field as a list of numbers and ranges, or as one range with a step."""
    numbers = mask_values(mask)
    step = numbers[1] - numbers[0] if len(numbers) > 3 else 1
    if step > 1 and numbers == tuple(range(numbers[0], numbers[-1] + 1, step)):
        end = field.high if numbers[-1] + step > field.high else numbers[-1]
        return f"{numbers[0]}-{end}/{step}"
    ranges = groupby(numbers, lambda value: value - (mask & (1 << value) - 1).bit_count())
    return ",".join(_format_range(list(values)) for _, values in ranges)


def _format_range(numbers: list[int]) -> str:
    return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 2 else ",".join(map(str, numbers))


def _to_sunday_first(weekdays: int) -> int:
    return weekdays << 1 & 127 | weekdays >> 6
