"""When a stored schedule is: its arguments, checked, as JSON values, and as schedules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from . import arguments
from .schedule import At, Cron, Every, Schedule
from .schedule.base import Limited
from .schedule.describe import cron_arguments
from .schedule.quantities import parse_seconds, to_integer
from .task import Schedules, Task, compute_jitter_offset, describe_schedules, following_slot_of

FIELDS = ("min", "hour", "day", "month", "dow")

WAYS = ("schedule", "every", "at")

SCHEDULE_ARGUMENTS = (*FIELDS, *WAYS, "timezone", "jitter", "starting", "ending")
"""The arguments that say when a stored schedule is."""

HASHED_FIELD = re.compile("(?<![a-z0-9])h(?![a-z])", re.IGNORECASE)
"""Finds the ``H`` in arguments as JSON text, where a schedule depends on its name."""


@dataclass(frozen=True, slots=True)
class ScheduleTimes:
    """When a stored schedule is."""

    schedules: Schedules
    #: Seconds by which its slots are later than its schedules' (its share of the jitter).
    offset: int
    #: The IANA name of its zone.
    timezone: str

    def following(self, after: datetime) -> datetime | None:
        """Return the first slot after an aware moment, in UTC; None if there is none."""
        return following_slot_of(self.schedules, self.offset, after)

    def apply_to(self, task: Task, name: str) -> Task:
        """Return the task as it is for the stored schedule of this name."""
        return replace(
            task,
            schedules=self.schedules,
            offset=self.offset,
            timezone=self.timezone,
            schedule_name=name,
        )

    def describe(self) -> str:
        """Return in plain English when it is."""
        return describe_schedules(self.schedules, self.offset)


def check_when(
    name: str, when: Mapping[str, Any], timezone: str, now: datetime
) -> tuple[dict[str, Any], ScheduleTimes]:
    """Return the arguments of the schedule of this name as JSON values, and when it is.

    ``timezone`` is its zone if ``when`` has none. Raises ValueError as a registration does, naming
    the argument, its value and what would be right.
    """
    when = {
        argument: list(value) if isinstance(value, Iterator) else value
        for argument, value in when.items()
        if value is not None
    }
    times = make_times(name, when, timezone)
    arguments.check_slots(times.schedules, now)
    return _as_json(name, when, times), times


def make_times(name: str, when: Mapping[str, Any], timezone: str) -> ScheduleTimes:
    """Return when a schedule is, without asking whether it has any slot, which may take long.

    ``H`` and the share of the jitter depend on the name.
    """
    schedules, zone = _parse_schedules(name, when), _parse_zone(when, timezone)
    offset = arguments.parse_jitter(name, when.get("jitter"), schedules)
    return ScheduleTimes(_in_zone(schedules, zone), offset, zone)


def _parse_schedules(name: str, when: Mapping[str, Any]) -> Schedules:
    """Return the schedules, those of fields in no zone yet."""
    arguments.check_known("schedule", when, SCHEDULE_ARGUMENTS)
    schedules = arguments.parse_schedules(
        name,
        {field: when.get(field) for field in FIELDS},
        **{way: when.get(way) for way in WAYS},
        on_demand=False,
    )
    for bound in ("starting", "ending"):
        if when.get(bound) is not None:
            schedules = tuple(getattr(one, bound)(when[bound]) for one in schedules)
    return schedules


def _parse_zone(when: Mapping[str, Any], timezone: str) -> str:
    return arguments.parse_timezone(when.get("timezone")) or timezone


def _in_zone(schedules: Schedules, zone: str) -> Schedules:
    return tuple(schedule.with_timezone(zone) for schedule in schedules)


class TimesByText:
    """When schedules are, by the JSON text of their arguments: equal ones are worked out once."""

    def __init__(self, timezone: str) -> None:
        #: The zone of those that have none.
        self._timezone = timezone
        self._times: dict[str, tuple[ScheduleTimes, int]] = {}
        #: By the arguments without the zone.
        self._schedules: dict[str, Schedules] = {}

    def find(self, name: str, text: str) -> ScheduleTimes:
        """Return when the schedule of this name is; ValueError as :func:`make_times` raises it."""
        if (known := self._times.get(text)) is None:
            when = json.loads(text)
            if HASHED_FIELD.search(text):
                return make_times(name, when, self._timezone)
            known = self._times[text] = self._make_times(name, when)
        times, jitter = known
        return replace(times, offset=compute_jitter_offset(name, jitter)) if jitter else times

    def _make_times(self, name: str, when: dict[str, Any]) -> tuple[ScheduleTimes, int]:
        """Return when a schedule is whatever its name, with the seconds of its jitter."""
        zone, jitter = _parse_zone(when, self._timezone), when.get("jitter")
        key = json.dumps({argument: when[argument] for argument in when if argument != "timezone"})
        if (schedules := self._schedules.get(key)) is None:
            schedules = self._schedules[key] = _parse_schedules(name, when)
        times = ScheduleTimes(_in_zone(schedules, zone), 0, zone)
        return times, 0 if jitter is None else parse_seconds(jitter, argument="jitter")


def _as_json(name: str, when: Mapping[str, Any], times: ScheduleTimes) -> dict[str, Any]:
    """Return the arguments as JSON values that mean the same, with the zone.

    Raises ValueError for a schedule that they can't say, such as one of one's own.
    """
    flat: dict[str, Any] = {argument: _as_json_value(value) for argument, value in when.items()}
    flat["timezone"] = times.timezone
    if "schedule" in when:
        flat |= _as_arguments(when["schedule"])
    flat = {argument: value for argument, value in flat.items() if value is not None}
    if make_times(name, flat, times.timezone).schedules != times.schedules:
        raise _not_storable(when.get("schedule"))
    return flat


def _as_json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if isinstance(value, (str, int, float)):
        return value
    integer = to_integer(value)
    if integer is not None:
        return integer
    return [to_integer(item) for item in value] if isinstance(value, Iterable) else value


def _as_arguments(schedule: Any) -> dict[str, Any]:
    """Return what says the same as the argument ``schedule``."""
    if isinstance(schedule, str):
        return {"schedule": schedule}
    if isinstance(schedule, Schedule):
        return _schedule_as_arguments(schedule)
    texts = [_as_arguments(item) for item in schedule]
    if any(set(text) != {"schedule"} or text["schedule"] is None for text in texts):
        raise _not_storable(schedule)
    return {"schedule": [text["schedule"] for text in texts]}


def _schedule_as_arguments(schedule: Schedule) -> dict[str, Any]:
    kind = type(schedule)
    if isinstance(schedule, Limited) and not schedule.exclusions:
        bounds = {"starting": schedule.start, "ending": schedule.end}
        texts = {name: bound.isoformat() for name, bound in bounds.items() if bound is not None}
        return _schedule_as_arguments(schedule.schedule) | texts
    if isinstance(schedule, Every) and kind is Every:
        return {"schedule": None, "every": schedule.seconds}
    if isinstance(schedule, At) and kind is At:
        return {"schedule": None, "at": schedule.moment.isoformat()}
    if isinstance(schedule, Cron) and kind is Cron:
        zone = {} if schedule.timezone is None else {"timezone": schedule.timezone}
        return {"schedule": None, **cron_arguments(schedule.fields), **zone}
    raise _not_storable(schedule)


def _not_storable(schedule: Any) -> ValueError:
    return ValueError(
        f"schedule={schedule!r}: the store can't keep it; use crontab texts, fields, every or at,"
        " with starting and ending, or register a task of its own for it"
    )
