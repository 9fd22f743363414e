"""Finding the scripts in a folder, and what is wrong with others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..schedule import Cron, Every
from .names import read


@dataclass(slots=True)
class Scan:
    """What was found: the schedule of each script, by its relative path, and problems."""

    scripts: dict[str, Cron | Every] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def scan(root: str) -> Scan:
    """Look for scripts in ``root``: ``15min/script``, ``1day/at0415/script``.

    Scripts are executable regular files. What is hidden is passed over: a name that begins with a
    dot, or ends with ``~`` as editors' copies do.
    """
    found = Scan()
    for entry in _entries(found, root):
        if not _is_folder(entry):
            if _is_script(found, entry):
                _note(found, entry, "a script must be in a folder that says when it runs, as 1day")
        elif (schedule := _schedule(found, entry, entry.name)) is not None:
            _scan_interval(found, root, entry, schedule)
    return found


def _scan_interval(
    found: Scan, root: str, interval: os.DirEntry[str], schedule: Cron | Every
) -> None:
    for entry in _entries(found, interval.path):
        if not _is_folder(entry):
            if _is_script(found, entry):
                found.scripts[_relative(root, entry)] = schedule
            continue
        at = _schedule(found, entry, interval.name, entry.name)
        if at is not None:
            _scan_time(found, root, entry, at)


def _scan_time(found: Scan, root: str, time: os.DirEntry[str], schedule: Cron | Every) -> None:
    for entry in _entries(found, time.path):
        if _is_folder(entry):
            _note(found, entry, "is too deep: scripts are in 1day/ or 1day/at0415/")
        elif _is_script(found, entry):
            found.scripts[_relative(root, entry)] = schedule


def _entries(found: Scan, path: str) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a directory and not hidden, by name."""
    try:
        with os.scandir(path) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.problems.append(f"{path}: can't be read: {error.strerror}")
        return
    for entry in listed:
        if not (entry.name.startswith(".") or entry.name.endswith("~")):
            yield entry


def _schedule(found: Scan, entry: os.DirEntry[str], *names: str) -> Cron | Every | None:
    try:
        return read(*names)
    except ValueError as error:
        _note(found, entry, str(error))
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether this is a folder; where that can't be told, _is_script says why."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or where this user may not go
        return False


def _is_script(found: Scan, entry: os.DirEntry[str]) -> bool:
    """Return whether this is an executable regular file; one that was to be is a problem."""
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        if entry.is_symlink():
            _note(found, entry, "leads nowhere: what it links to is not there")
        return False
    except OSError as error:
        _note(found, entry, f"can't be read: {error.strerror}")
        return False
    if not stat.S_ISREG(mode):
        return False
    return os.access(entry.path, os.X_OK) or _forgotten(found, entry)


def _forgotten(found: Scan, entry: os.DirEntry[str]) -> bool:
    """Note a script that is not executable: nobody writes #! into anything else."""
    try:
        with open(entry.path, "rb") as file:
            if file.read(2) == b"#!":
                _note(found, entry, "is a script but not executable: chmod +x")
    except OSError:
        pass  # not meant for this user
    return False


def _note(found: Scan, entry: os.DirEntry[str], problem: str) -> None:
    found.problems.append(f"{entry.path}: {problem}")


def _relative(root: str, entry: os.DirEntry[str]) -> str:
    return entry.path[len(root) :].lstrip("/")
