"""What the page of one task says besides its state: where it is from, and how its runs went."""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta, timezone
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

from ..health_report import HealthReport
from ..run import Run, RunReason, RunState
from ..runtime.programs import Command
from ..serializers import JSONObject
from ..store.queries import RunCount
from ..task import Task
from ..text import format_instant

CALENDAR_DAYS = 30
"""Days that the calendar of a task has, today among them."""


def describe_source(function: Callable[..., Any]) -> JSONObject:
    """Return the dotted name of a task's function and its place, or its command line."""
    if isinstance(function, Command):
        return {"function": None, "file": None, "command": function.line}
    plain = inspect.unwrap(function)
    plain = getattr(plain, "func", plain)  # that of a partial
    name = getattr(plain, "__qualname__", type(plain).__qualname__)
    module = getattr(plain, "__module__", None)
    code = getattr(plain, "__code__", None)
    return {
        "function": f"{module}.{name}" if module else name,
        "file": None if code is None else f"{code.co_filename}:{code.co_firstlineno}",
        "command": None,
    }


def crontab_lines(task: Task) -> list[str] | None:
    """Return a task's schedules as crontab has them; None where crontab can't say it."""
    try:
        return None if task.offset else [schedule.crontab() for schedule in task.schedules]
    except ValueError:
        return None


def duration_data(runs: Iterable[Run]) -> JSONObject | None:
    """Return the median, the 95th percentile and the longest of the runs' durations; in seconds."""
    durations = sorted(run.duration for run in runs if run.duration is not None)
    if not durations:
        return None
    return {
        "count": len(durations),
        "median": durations[ceil(len(durations) / 2) - 1],
        "p95": durations[ceil(len(durations) * 0.95) - 1],
        "longest": durations[-1],
    }


def count_failures_in_a_row(runs: Sequence[Run]) -> int:
    """Return how many of these runs, the newest first, failed since the last success."""
    count = 0
    for run in runs:
        if run.state is RunState.SUCCEEDED:
            break
        count += run.state.is_failure
    return count


def last_success(report: HealthReport, name: str) -> JSONObject | None:
    """Return the newest run of a task that succeeded, with its end; None if none ever did."""
    for stats in report.overview.run_stats:
        if stats.task == name and stats.state == RunState.SUCCEEDED and stats.last_finished:
            return {"run": stats.newest_run, "finished": format_instant(stats.last_finished)}
    return None


def calendar_start(now: datetime, zone: ZoneInfo) -> datetime:
    """Return the beginning of the first day of the calendar (aware)."""
    today = now.astimezone(zone).date()
    return _day_start(today - timedelta(days=CALENDAR_DAYS - 1), zone)


def calendar_data(counts: Iterable[RunCount], now: datetime, zone: ZoneInfo) -> list[JSONObject]:
    """Return for each day of the calendar, the oldest first, how many runs ended how.

    ``counts`` are of quarters of an hour: days of any zone consist of these.
    """
    by_day: dict[date, Counter[str]] = defaultdict(Counter)
    for count in counts:
        day = by_day[count.since.astimezone(zone).date()]
        day[_kind_of(count)] += count.count
    first = calendar_start(now, zone).date()
    return [
        _day_data(first + timedelta(days=number), by_day, zone) for number in range(CALENDAR_DAYS)
    ]


def _kind_of(count: RunCount) -> str:
    if count.reason == RunReason.MISSED:
        return "missed"
    state = RunState(count.state)
    return "failed" if state.is_failure else state.value


def _day_data(day: date, by_day: dict[date, Counter[str]], zone: ZoneInfo) -> JSONObject:
    counts = by_day[day]
    kinds = ("succeeded", "failed", "missed", "skipped", "cancelled")
    return {
        "day": day.isoformat(),
        "since": _instant(day, zone),
        "until": _instant(day + timedelta(days=1), zone),
        **{kind: counts[kind] for kind in kinds},
    }


def _instant(day: date, zone: ZoneInfo) -> str:
    return format_instant(_day_start(day, zone).astimezone(timezone.utc))


def _day_start(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)
