"""Finding the scripts in a folder, and what is wrong with others."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..schedule import Cron, Every
from ..schedule.every_days import FIRST_MONDAY_EPOCH_DAY, MAX_CYCLE_DAYS, EveryDays


@dataclass(slots=True)
class FolderScan:
    """The scripts in a folder, and what is wrong with other files."""

    #: The schedule of each script, by its path in the folder.
    scripts: dict[str, Cron | Every] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def scan_folder(root: str) -> FolderScan:
    """Find the scripts in ``root``: ``15min/script``, ``1day/at0415/script``.

    Scripts are executable regular files. Files and folders that are hidden, by a dot, or left over
    by editors, package managers and version control are ignored.
    """
    scan = FolderScan()
    for entry in _list_entries(scan, root):
        if not _is_folder(entry):
            if _is_script(scan, entry):
                _add_problem(
                    scan, entry, "a script must be in a folder that says when it runs, as 1day"
                )
        elif (schedule := _entry_schedule(scan, entry, entry.name)) is not None:
            _scan_interval(scan, root, entry, schedule)
    return scan


def _scan_interval(
    scan: FolderScan, root: str, interval: os.DirEntry[str], schedule: Cron | Every
) -> None:
    for entry in _list_entries(scan, interval.path):
        if not _is_folder(entry):
            if _is_script(scan, entry):
                scan.scripts[_relative_path(root, entry)] = schedule
            continue
        at = _entry_schedule(scan, entry, interval.name, entry.name)
        if at is not None:
            _scan_time(scan, root, entry, at)


def _scan_time(scan: FolderScan, root: str, time: os.DirEntry[str], schedule: Cron | Every) -> None:
    for entry in _list_entries(scan, time.path):
        if _is_folder(entry):
            _add_problem(scan, entry, "is too deep: scripts are in 1day/ or 1day/at0415/")
        elif _is_script(scan, entry):
            scan.scripts[_relative_path(root, entry)] = schedule


_LEFTOVER = re.compile(
    r"""\..* | \#.* | .*[~,] | .*,v | .* \.
    (?: dpkg-\w+ | ucf-\w+ | rpm(?:save|orig|new) | pac(?:save|orig|new) | cfsaved
    | bak | orig | old | save | rej | tmp | sw[a-z] | disabled )""",
    re.VERBOSE | re.IGNORECASE,
)
"""Names that are no scripts, whatever is in them: hidden ones, and copies of others."""


def _list_entries(scan: FolderScan, path: str) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a directory and neither hidden nor left over, by name."""
    try:
        with os.scandir(path) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        scan.problems.append(f"{path}: can't be read: {error.strerror}")
        return
    for entry in listed:
        if not _LEFTOVER.fullmatch(entry.name):
            yield entry


def _entry_schedule(scan: FolderScan, entry: os.DirEntry[str], *names: str) -> Cron | Every | None:
    try:
        return parse_folder_names(*names)
    except ValueError as error:
        _add_problem(scan, entry, str(error))
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether this is a folder; where that can't be told, _is_script says why."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or where this user may not go
        return False


def _is_script(scan: FolderScan, entry: os.DirEntry[str]) -> bool:
    """Return whether this is an executable regular file; add a problem for a near miss."""
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        if entry.is_symlink():
            _add_problem(scan, entry, "leads nowhere: what it links to is not there")
        return False
    except OSError as error:
        _add_problem(scan, entry, f"can't be read: {error.strerror}")
        return False
    if not stat.S_ISREG(mode):
        return False
    return os.access(entry.path, os.X_OK) or _check_for_shebang(scan, entry)


def _check_for_shebang(scan: FolderScan, entry: os.DirEntry[str]) -> bool:
    """Add a problem for a script that is not executable: only scripts begin with #!."""
    try:
        with open(entry.path, "rb") as file:
            if file.read(2) == b"#!":
                _add_problem(scan, entry, "is a script but not executable: chmod +x")
    except OSError:
        pass  # not meant for this user
    return False


def _add_problem(scan: FolderScan, entry: os.DirEntry[str], problem: str) -> None:
    scan.problems.append(f"{entry.path}: {problem}")


def _relative_path(root: str, entry: os.DirEntry[str]) -> str:
    return entry.path[len(root) :].lstrip("/")


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
    """Return the minute of each so many hours, one of which is ``hour``.

    They are times on the clock, as those of days are, and follow its shifts; only each hour's
    minute is a rhythm.
    """
    if 24 % number:
        raise ValueError(
            f"{number} hours do not divide a day, so they have no fixed times: use 1, 2, 3, 4, 6,"
            " 8, 12 or 24 hours, or leave the time out"
        )
    return Cron(min=minute, hour="*" if number == 1 else range(hour % number, 24, number))


def _daily_schedule(number: int, unit: str, hour: int, minute: int) -> Cron:
    if number == 1:
        return Cron(min=minute, hour=hour, dow=0 if unit == "week" else None)
    if unit == "week":
        return EveryDays(7 * number, hour=hour, min=minute, phase=FIRST_MONDAY_EPOCH_DAY)
    return EveryDays(number, hour=hour, min=minute)
