"""What the names of folders say about when the scripts in them run."""

from __future__ import annotations

import re

from ..schedule import Cron, Every
from ..schedule.every_days import FIRST_MONDAY_EPOCH_DAY, MAX_CYCLE_DAYS, EveryDays

_INTERVAL_FOLDER = re.compile(r"([0-9]+)(min|hour|day|week)", re.ASCII)
_TIME_FOLDER = re.compile(r"at([0-9]{2})([0-9]{2})", re.ASCII)

_UNIT_MINUTES = {"min": 1, "hour": 60, "day": 1440, "week": 7 * 1440}


def parse_folder_names(interval: str, at: str | None = None) -> Cron | Every:
    """Return the schedule of a folder such as ``15min`` or, in it, ``at0415``.

    ``5min`` and ``2hour`` count from the Unix epoch in UTC. Days and weeks are local dates, counted
    from 1970-01-01 and from its first Monday, and begin at midnight unless ``at`` says otherwise.

    Raises ValueError saying what would be right.
    """
    parts = _INTERVAL_FOLDER.fullmatch(interval)
    if parts is None:
        raise ValueError("must be a number and min, hour, day or week, as in 15min or 2week")
    number, unit = int(parts[1]), parts[2]
    if not 1 <= number * _UNIT_MINUTES[unit] <= MAX_CYCLE_DAYS * 1440:
        raise ValueError(f"{interval} must be 1{unit} or more, and at most ten years")
    time = None if at is None else _parse_time(at)
    if unit == "min":
        if time:
            raise ValueError(f"{at} has no meaning in {interval}: put it in hours, days or weeks")
        return Every(number * 60)
    if unit == "hour":
        return Every(number * 3600) if time is None else _hourly_schedule(number, *time)
    return _daily_schedule(number, unit, *time or (0, 0))


def _parse_time(at: str) -> tuple[int, int]:
    parts = _TIME_FOLDER.fullmatch(at)
    if parts is None:
        raise ValueError("must be at and a time in four digits, as in at0415")
    hour, minute = int(parts[1]), int(parts[2])
    if hour > 23 or minute > 59:
        raise ValueError("there is no such time: use at0000 to at2359")
    return hour, minute


def _hourly_schedule(number: int, hour: int, minute: int) -> Cron:
    """Return the minute of each so many hours, one of which is ``hour``."""
    if 24 % number:
        raise ValueError(
            f"{number} hours do not divide a day, so they have no fixed times: use 1, 2, 3, 4, 6,"
            " 8, 12 or 24 hours, or leave the time out"
        )
    first = hour % number
    return Cron(min=minute, hour=range(first, 24, number) if first else f"*/{number}")


def _daily_schedule(number: int, unit: str, hour: int, minute: int) -> Cron:
    if number == 1:
        return Cron(min=minute, hour=hour, dow=0 if unit == "week" else None)
    if unit == "week":
        return EveryDays(7 * number, hour=hour, min=minute, phase=FIRST_MONDAY_EPOCH_DAY)
    return EveryDays(number, hour=hour, min=minute)
