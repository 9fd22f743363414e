"""Random cron expressions, each with the plain sets it stands for."""

from __future__ import annotations

from hypothesis import strategies as st

from .reference import Schedule

NAMES = {
    "month": [
        *("", "jan", "feb", "mar", "apr", "may", "jun"),
        *("jul", "aug", "sep", "oct", "nov", "dec"),
    ],
    "dow": ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}
RANGES = {"min": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "dow": (0, 6)}


@st.composite
def items(draw: st.DrawFn, name: str) -> tuple[str, set[int]]:
    """Draw one item of a list: ``5``, ``1-5``, ``22-2`` or ``1-9/2``."""
    low, high = RANGES[name]
    numbers = st.sampled_from([0, 1, 2, 3, 23]) | st.integers(low, high)
    numbers = numbers if name == "hour" else st.integers(low, high)
    first, last = draw(numbers), draw(numbers)
    step = draw(st.sampled_from([1, 1, 2, 3, 7]))
    names = draw(st.sampled_from([NAMES.get(name, {}), {}]))
    written = [names[n] if names else f"{n:0{draw(st.integers(1, 2))}}" for n in (first, last)]
    if draw(st.booleans()):
        return written[0], {first}
    values = [*range(first, last + 1)]
    if last < first:
        values = [*range(first, high + 1), *range(low, last + 1)]
    text = "-".join(written) + (f"/{step}" if step > 1 else "")
    return draw(st.sampled_from([text, text.upper()])), set(values[::step])


@st.composite
def fields(draw: st.DrawFn, name: str) -> tuple[str, set[int]]:
    low, high = RANGES[name]
    step = draw(st.sampled_from([0, 0, 1, 2, 5, min(20, high - low + 1)]))
    if step:
        every = "*" if step == 1 else f"*/{step}"
        return every, set(range(low, high + 1, step))
    listed = draw(st.lists(items(name), min_size=1, max_size=3))
    return ",".join(text for text, _ in listed), set().union(*(values for _, values in listed))


@st.composite
def special_days(draw: st.DrawFn) -> tuple[str, set[int], bool]:
    text, days = draw(fields("day"))
    if draw(st.sampled_from([True, False, False])):
        return draw(st.sampled_from([("L", set(), True), (f"{text},L", days, True)]))
    return text, days, False


@st.composite
def special_weekdays(draw: st.DrawFn) -> tuple[str, set[int], set[tuple[int, int]]]:
    text, days = draw(fields("dow"))
    if draw(st.sampled_from([True, False, False])):
        day, n = draw(st.integers(0, 7)), draw(st.sampled_from([1, 2, 3, 4, 5, -1]))
        return (f"L{day}" if n == -1 else f"{day}#{n}"), set(), {((day - 1) % 7, n)}
    return text, {(day - 1) % 7 for day in days}, set()


@st.composite
def expressions(draw: st.DrawFn, *, any_day: bool = False) -> tuple[str, Schedule]:
    """Draw a five-field expression; with ``any_day`` mostly one that names every day."""
    minute, minutes = draw(fields("min"))
    hour, hours = draw(fields("hour"))
    day, days, last_day = "*", set(range(1, 32)), False
    month, months = "*", set(range(1, 13))
    dow, weekdays, nth = "*", set(range(7)), set()
    if not any_day or draw(st.sampled_from([True, False, False, False])):
        day, days, last_day = draw(special_days())
        month, months = draw(fields("month"))
        dow, weekdays, nth = draw(special_weekdays())
    schedule = Schedule(
        minutes=frozenset(minutes),
        hours=frozenset(hours),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekdays),
        wildcard="*" in (minute[0], hour[0]) or len(minutes) == 60 or len(hours) == 24,
        either=not (day.startswith("*") or dow.startswith("*")),
        last_day=last_day,
        nth=frozenset(nth),
    )
    return f"{minute} {hour} {day} {month} {dow}", schedule
