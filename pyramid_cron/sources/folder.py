"""``config.add_cron_folder``: scripts that run when the names of their folders say so."""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry

from ..app import CronApp, get_cron
from ..arguments import check_known
from ..directives import INTROSPECTION_CATEGORY, check_executor, check_weight
from ..runtime.programs import Command, quote_arguments
from ..schedule import Cron, Every
from ..schedule.every import FIRST_MONDAY_EPOCH_DAY, MAX_CYCLE_DAYS, EveryDays
from ..schedule.quantities import parse_count
from ..task import REQUEST_EXECUTOR, TASK_NAME_PATTERN
from .command import (
    POLICY_ARGUMENTS,
    EnvArgument,
    check_prefix,
    naming_source,
    parse_cwd,
    parse_env,
    register_command,
    resolve_path,
    try_policies,
)


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


FOLDER_CATEGORY = "cron folders"
"""The introspection category of folders."""

FOLDER_ACTION_ORDER = 1
"""The order of the action: a script never takes a name that the application gave a task."""

log = logging.getLogger("pyramid_cron")


def add_cron_folder(
    config: Configurator,
    path: str | os.PathLike[str],
    *,
    prefix: str = "",
    env: EnvArgument = None,
    cwd: str | os.PathLike[str] | None = None,
    **policies: Any,
) -> None:
    """Register the scripts in a folder, which run when the names of its folders say so.

    ``15min/``, ``2hour/``, ``1day/``, ``2week/`` hold scripts that run each so many minutes, hours,
    days or weeks; ``1hour/at0030/``, ``1day/at0415/``, ``2week/at1733/`` those that do so at a time
    of the day, or for hours at a minute. Scripts are executable regular files that are not hidden.
    What is added or taken away while the application runs is noticed within a minute, by the next
    tick. A name that says nothing is logged once, as a WARNING, and listed among the problems of
    the application's cron.

    A script is a task called like its path in the folder: ``1day/at0415/backup.sh``.

    :param path: the folder: a path, relative to the working directory unless it is absolute, or an
        asset specification such as ``"shop:cron"``.
    :param prefix: what the names of the tasks begin with, to tell two folders apart.
    :param env: as for ``add_cron_command``.
    :param cwd: the directory that scripts run in. Default: that of this process.

    Everything else is as for ``add_cron_task``, and holds for all scripts.

    :raises pyramid.exceptions.ConfigurationError: if there is no such folder, or for a policy that
        is wrong.
    """
    root = resolve_path(config, path)
    if not os.path.isdir(root):
        raise ConfigurationError(
            f"cron folder: path={os.fspath(path)!r}: there is no folder {root!r}; use one that"
            " holds folders such as 15min/ or 1day/at0415/"
        )
    folder = ScriptFolder(config, root, prefix, policies, env=env, cwd=cwd)
    introspectable = config.introspectable(FOLDER_CATEGORY, root, root, "cron folder")
    introspectable.update({"path": root, "prefix": prefix, "policies": policies})

    def register() -> None:
        folder.attach(config.registry)

    config.action(
        ("cron folder", root),
        register,
        introspectables=(introspectable,),
        order=FOLDER_ACTION_ORDER,
    )


class ScriptFolder:
    """A folder of scripts, whose tasks follow what is in it."""

    def __init__(
        self,
        config: Configurator,
        root: str,
        prefix: str,
        policies: Mapping[str, Any],
        *,
        env: EnvArgument,
        cwd: str | os.PathLike[str] | None,
    ) -> None:
        self.root = root
        self.problems: Sequence[str] = ()
        self._prefix = prefix
        self._policies = policies
        self._package = config.package
        self._schedules: dict[str, Cron | Every] = {}
        self._renew_lock()
        with self._naming_folder():
            check_known("add_cron_folder", policies, POLICY_ARGUMENTS)
            check_prefix(prefix)
            self._cwd = parse_cwd(cwd)
            self._environment = parse_env(env)
        # There may be no script that would show that they are wrong.
        try_policies(config.package, f"cron folder {root!r}", policies)

    def _naming_folder(self) -> AbstractContextManager[None]:
        return naming_source(f"cron folder {self.root!r}")

    def attach(self, registry: Registry) -> None:
        """Register the scripts there are, and those that ticks will find."""
        self._config = Configurator(registry=registry, package=self._package, autocommit=True)
        self._cron: CronApp = get_cron(registry)
        self._check_in_application()
        self._cron.fork_hook.add(self._renew_lock)
        self._cron.sources.append(self)
        self.refresh()

    def _check_in_application(self) -> None:
        """Refuse an executor or a weight that this application does not have."""
        executor = self._policies.get("executor", REQUEST_EXECUTOR)
        weight = parse_count("weight", self._policies.get("weight", 1))
        with self._naming_folder():
            check_executor(self._cron, executor)
            check_weight(executor, weight, self._cron.settings.capacity)

    def _renew_lock(self) -> None:
        """Have a lock that no thread of a parent process holds."""
        self._refresh_lock = threading.Lock()

    def refresh(self) -> None:
        """Register new scripts, unregister those that have gone, and report what is wrong."""
        if not self._refresh_lock.acquire(blocking=False):
            return  # another tick is at it
        try:
            scan = scan_folder(self.root)
            problems = list(scan.problems)
            for script in self._schedules.keys() - scan.scripts.keys():
                self._unregister_script(script)
            for script, schedule in scan.scripts.items():
                if self._schedules.get(script) != schedule:
                    problems += self._register_script(script, schedule)
            self._report(problems)
        finally:
            self._refresh_lock.release()

    def _register_script(self, script: str, schedule: Cron | Every) -> list[str]:
        """Register a script; return the problems with it."""
        name, path = f"{self._prefix}{script}", os.path.join(self.root, script)
        if not TASK_NAME_PATTERN.fullmatch(name):
            return [f"{path}: the task's name must be 1 to 200 printable characters"]
        if script not in self._schedules and self._cron.find_task(name) is not None:
            return [f"{path}: there is another task named {name!r}; give the folder a prefix"]
        command = Command((path,), quote_arguments((path,)), self._environment, self._cwd)
        try:
            register_command(self._config, command, name, {**self._policies, "schedule": schedule})
        except ConfigurationError as error:
            return [f"{path}: {error}"]
        self._schedules[script] = schedule
        log.info("cron folder %s: %s found", self.root, script)
        return []

    def _unregister_script(self, script: str) -> None:
        name = f"{self._prefix}{script}"
        self._cron.unregister(name)
        self._config.introspector.remove(INTROSPECTION_CATEGORY, name)
        del self._schedules[script]
        log.info("cron folder %s: %s has gone", self.root, script)

    def _report(self, problems: Sequence[str]) -> None:
        for problem in problems:
            if problem not in self.problems:
                log.warning("cron folder: %s", problem)
        self.problems = tuple(problems)
