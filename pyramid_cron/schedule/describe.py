"""Plain English for schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from .dates import DateRule
from .fields import DAY_FIELD, DOW_FIELD, MONTH_FIELD, mask_values
from .parser import CronFields
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
