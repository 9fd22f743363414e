"""Finding the scripts in a folder, and what is wrong with others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..schedule import Cron, Every
from .names import parse_folder_names


@dataclass(slots=True)
class FolderScan:
    """What was found: the schedule of each script, by its relative path, and problems."""

    scripts: dict[str, Cron | Every] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def scan_folder(root: str) -> FolderScan:
    """Look for scripts in ``root``: ``15min/script``, ``1day/at0415/script``.

    Scripts are executable regular files. What is hidden is passed over: a name that begins with a
    dot, or ends with ``~`` as editors' copies do.
    """
    found = FolderScan()
    for entry in _list_entries(found, root):
        if not _is_folder(entry):
            if _is_script(found, entry):
                _add_problem(
                    found, entry, "a script must be in a folder that says when it runs, as 1day"
                )
        elif (schedule := _entry_schedule(found, entry, entry.name)) is not None:
            _scan_interval(found, root, entry, schedule)
    return found


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


def _list_entries(scan: FolderScan, path: str) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a directory and not hidden, by name."""
    try:
        with os.scandir(path) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        scan.problems.append(f"{path}: can't be read: {error.strerror}")
        return
    for entry in listed:
        if not (entry.name.startswith(".") or entry.name.endswith("~")):
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
    """Return whether this is an executable regular file; one that was to be is a problem."""
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
    """Note a script that is not executable: nobody writes #! into anything else."""
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
