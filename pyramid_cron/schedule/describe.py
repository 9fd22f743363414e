"""Plain English for schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from .fields import (
    DAY_FIELD,
    DOW_FIELD,
    HOUR_FIELD,
    MINUTE_FIELD,
    MONTH_FIELD,
    FieldSpec,
    mask_values,
)
from .parser import CronFields, DateRule
from .zones import DAY_SECONDS

_WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTH_NAMES = (
    *("", "January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_NTH_NAMES = ("first", "second", "third", "fourth", "fifth", "last")
_INTERVAL_UNITS_SECONDS = ((DAY_SECONDS, "day"), (3600, "hour"), (60, "minute"), (1, "second"))

# More times of day than this aren't listed one by one.
_MAX_TIMES_IN_LIST = 6


def describe_cron(fields: CronFields) -> str:
    """Return when in a day and on which days a schedule has slots."""
    minutes, hours = mask_values(fields.minutes), mask_values(fields.hours)
    steady = _around_the_clock(minutes, hours)
    days = _describe_dates(fields.dates)
    if not steady and (not days or days.startswith("in ")):
        days = f"every day {days}".rstrip()
    return f"{steady or _describe_times(minutes, hours)} {days}".rstrip()


def describe_interval(seconds: int) -> str:
    """Return an interval in its largest whole unit, as ``every 30 minutes``."""
    size, unit = next((size, unit) for size, unit in _INTERVAL_UNITS_SECONDS if seconds % size == 0)
    return f"every {unit}" if seconds == size else f"every {seconds // size} {unit}s"


def describe_moment(moment: datetime) -> str:
    """Return a moment (aware, UTC), as ``2026-12-01 09:00:00 UTC``."""
    return f"{moment.replace(tzinfo=None).isoformat(' ')} UTC"


def _around_the_clock(minutes: Sequence[int], hours: Sequence[int]) -> str:
    """Describe times that go on around the clock; "" for others."""
    step = _even_step(hours, 24)
    if step == 1:
        return "every hour" if minutes == (0,) else _describe_minutes(minutes, "of every hour")
    if step and len(hours) > 2 and len(minutes) == 1:
        return f"every {step} hours" + (f" at minute {minutes[0]}" if minutes[0] else "")
    return ""


def _describe_times(minutes: Sequence[int], hours: Sequence[int]) -> str:
    if len(minutes) * len(hours) <= _MAX_TIMES_IN_LIST:
        return "at " + _join_phrases(
            [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
        )
    step = 60 if len(minutes) == 1 else _even_step(minutes, 60)
    if step and len(hours) == hours[-1] - hours[0] + 1:
        start, end = f"{hours[0]:02}:{minutes[0]:02}", f"{hours[-1]:02}:{minutes[-1]:02}"
        return f"{describe_interval(step * 60)} from {start} to {end}"
    noun = "hour" if len(hours) == 1 else "hours"
    return _describe_minutes(minutes, f"of {noun} {_join_ranges(hours)}")


def _describe_minutes(minutes: Sequence[int], hours_phrase: str) -> str:
    step = _even_step(minutes, 60)
    if step:
        every = describe_interval(step * 60)
        return every if hours_phrase == "of every hour" else f"{every} {hours_phrase}"
    return f"at minute{'s' * (len(minutes) > 1)} {_join_ranges(minutes)} {hours_phrase}"


def _even_step(numbers: Sequence[int], size: int) -> int:
    """Return the step in which ``numbers`` go from 0 evenly around ``size``, 0 if they don't."""
    step = size // len(numbers)
    return step if step < size and tuple(numbers) == tuple(range(0, size, step)) else 0


def _describe_dates(dates: DateRule) -> str:
    """Describe the dates; "" if there is every day of every month."""
    month = (
        ""
        if dates.months == MONTH_FIELD.full_mask
        else _join_ranges(mask_values(dates.months), _MONTH_NAMES)
    )
    within = f" in {month}" if month else ""
    by_day = _describe_monthdays(dates, month or "the month")
    weekdays = _join_phrases(_weekday_phrases(dates), "or" if by_day else "and")
    if by_day and weekdays:
        if dates.either_day_matches:
            every = "" if dates.nth_weekdays else "every "
            return f"on {by_day} or on {every}{_join_phrases(_weekday_phrases(dates))}{within}"
        return f"on {by_day} if it is {weekdays}"
    if weekdays and dates.nth_weekdays:
        return f"on {weekdays} of {month or 'the month'}"
    return f"on {by_day}" if by_day else (f"on {weekdays}{within}" if weekdays else within.strip())


def _describe_monthdays(dates: DateRule, month_phrase: str) -> str:
    if dates.monthdays == DAY_FIELD.full_mask:
        return ""
    numbers = mask_values(dates.monthdays)
    step = _ordinal_stride(numbers)
    if step and not dates.has_last_day:
        start = f" from day {numbers[0]}" if numbers[0] > 1 else ""
        return f"every {step} day{start} of {month_phrase}"
    days = [f"day{'s' * (len(numbers) > 1)} {_join_ranges(numbers)}"] if numbers else []
    return " and ".join(days + ["the last day"] * dates.has_last_day) + f" of {month_phrase}"


def _ordinal_stride(numbers: Sequence[int]) -> str:
    """Return "2nd", "3rd" and so on if days of the month follow each other that way."""
    step = numbers[1] - numbers[0] if len(numbers) > 4 else 1
    if step == 1 or tuple(numbers) != tuple(range(numbers[0], 32, step)):
        return ""
    return {2: "2nd", 3: "3rd"}.get(step, f"{step}th")


def _weekday_phrases(dates: DateRule) -> list[str]:
    if dates.nth_weekdays:
        return [
            f"the {nth} {_WEEKDAY_NAMES[day]}"
            for nth, weekdays in zip(_NTH_NAMES, dates.nth_weekdays, strict=True)
            for day in mask_values(weekdays)
        ]
    return (
        []
        if dates.weekdays == DOW_FIELD.full_mask
        else _range_phrases(mask_values(dates.weekdays), _WEEKDAY_NAMES)
    )


def _join_ranges(numbers: Sequence[int], names: Sequence[str] | None = None) -> str:
    return _join_phrases(_range_phrases(numbers, names))


def _range_phrases(numbers: Sequence[int], names: Sequence[str] | None = None) -> list[str]:
    """Name numbers, of three or more in a row only the first and the last."""
    phrases: list[str] = []
    for _, pairs in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        texts = [names[number] if names else str(number) for _, number in pairs]
        phrases += [f"{texts[0]} to {texts[-1]}"] if len(texts) > 2 else texts
    return phrases


def _join_phrases(phrases: Sequence[str], conjunction: str = "and") -> str:
    """Join texts as a sentence does: "a", "a and b", "a, b and c"."""
    *first, last = phrases or [""]
    return f"{', '.join(first)} {conjunction} {last}" if first else last


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
