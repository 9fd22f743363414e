"""``config.add_crontab``: the lines of a crontab file as tasks."""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Mapping
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from ..app import CronApp, get_cron
from ..directives import AFTER_APPLICATION_ORDER
from ..runtime.programs import Command, Environment
from ..schedule import Cron
from ..schedule.zones import get_zone
from ..task import TASK_NAME_PATTERN
from .command import (
    DEFAULT_SHELL,
    POLICY_ARGUMENTS,
    SCHEDULE_ARGUMENTS,
    check_policies,
    register_command,
)
from .lines import CrontabEntry, CrontabSyntaxError, parse_crontab
from .paths import resolve_path

IGNORED_VARIABLES = {
    "MAILTO": "what a command writes is kept with its run",
    "MAILFROM": "no mail is sent",
    "LOGNAME": "commands run as the user of this application",
    "USER": "commands run as the user of this application",
}
"""Variables that tell cron something which has no meaning here, and why."""

ZONE_VARIABLE = "CRON_TZ"

log = logging.getLogger("pyramid_cron")


def add_crontab(
    config: Configurator, path: str | os.PathLike[str], *, prefix: str = "", **policies: Any
) -> None:
    """Register the lines of a crontab file, in the syntax that ``crontab -e`` takes.

    Comments, environment lines, names of months and days, ``@daily`` and its kin, and ``%`` are
    understood as by cron. As there, commands are read by ``SHELL`` (``/bin/sh``), run in ``HOME``,
    and get ``PATH``, ``HOME``, ``LOGNAME``, ``USER``, ``SHELL`` and what the lines above them set,
    and nothing else of this process's environment but ``CRON_TASK`` and its kin. ``CRON_TZ`` is the
    zone of the schedules below it.

    A line is a task named by its file and number, ``shop.cron:12``, or by a comment directly above
    it: ``# name: backup``. The file is read when the application starts.

    :param path: the file: a path, relative to the working directory unless it is absolute, or an
        asset specification such as ``"shop:shop.cron"``.
    :param prefix: what the names of the tasks begin with, to tell two files of one name apart.

    Everything else is as for ``add_cron_task``, and holds for all lines. ``timezone`` is for those
    that no ``CRON_TZ`` is above of.

    :raises pyramid.exceptions.ConfigurationError: naming the file, the line and what would be
        right; where the application is made, if a line would take the place of one of another file
        that has the same name and number.
    """
    file = resolve_path(config, path)
    try:
        check_policies(policies, "add_crontab", POLICY_ARGUMENTS - SCHEDULE_ARGUMENTS)
        if not isinstance(prefix, str) or not TASK_NAME_PATTERN.fullmatch(f"{prefix}."):
            raise ValueError(f"prefix={prefix!r}: must be text of printable characters")
    except ValueError as error:
        raise ConfigurationError(f"crontab {file!r}: {error}") from error
    entries = _read_entries(file)
    for variable, reason in IGNORED_VARIABLES.items():
        if any(variable in entry.variables for entry in entries):
            log.info("crontab %s: %s is ignored: %s", file, variable, reason)
    names = [_register_entry(config, file, entry, prefix, policies) for entry in entries]

    def check() -> None:
        for name in names:
            _check_name_is_free(get_cron(config.registry), file, name)

    config.action(None, check, order=AFTER_APPLICATION_ORDER)


def _check_name_is_free(cron: CronApp, file: str, name: str) -> None:
    """Refuse that a line of another file took the place of this one's only by its number."""
    found = cron.find_task(name)
    other = found.function.crontab_path if found and isinstance(found.function, Command) else None
    if other not in (None, file):
        raise ConfigurationError(
            f"crontab {file!r}: its task {name!r} has the name of one in {other!r}; tell them apart"
            " by prefix= for one of the files"
        )


def _read_entries(file: str) -> list[CrontabEntry]:
    try:
        with open(file, "rb") as opened:
            return parse_crontab(opened.read())
    except CrontabSyntaxError as problem:
        raise ConfigurationError(f"{file}, line {problem.line}: {problem}") from None
    except OSError as error:
        raise ConfigurationError(f"crontab {file!r} can't be read: {error.strerror}") from error


def _register_entry(
    config: Configurator, file: str, entry: CrontabEntry, prefix: str, policies: Mapping[str, Any]
) -> str:
    """Register a line; return the name of its task."""
    name = prefix + (entry.name or f"{os.path.basename(file)}:{entry.line}")
    arguments = {"schedule": entry.schedule, **policies}
    try:
        if not TASK_NAME_PATTERN.fullmatch(name):
            raise ValueError(f"name {name!r}: must be 1 to 200 printable characters")
        Cron.for_task(name, entry.schedule)
        if zone := entry.variables.get(ZONE_VARIABLE):
            get_zone(zone)
            arguments["timezone"] = zone
        register_command(config, _entry_command(entry, file), name, arguments)
        return name
    except (ValueError, ConfigurationError) as error:
        told = str(error).removeprefix("expression=").replace("timezone=", f"{ZONE_VARIABLE}=")
        raise ConfigurationError(f"{file}, line {entry.line}: {told}") from error


def _entry_command(entry: CrontabEntry, file: str) -> Command:
    variables = _default_variables() | {
        name: value for name, value in entry.variables.items() if name not in IGNORED_VARIABLES
    }
    return Command(
        argv=(variables["SHELL"] or DEFAULT_SHELL, "-c", entry.command),
        line=entry.command,
        environment=Environment((), variables),
        cwd=variables["HOME"],
        stdin=entry.stdin,
        crontab_path=None if entry.name else file,
    )


def _default_variables() -> dict[str, str]:
    """Return what cron gives to commands."""
    try:
        user = pwd.getpwuid(os.getuid())
        name, home = user.pw_name, user.pw_dir
    except KeyError:  # as in a container that runs under a number of its own
        name, home = str(os.getuid()), "/"
    return {
        "SHELL": DEFAULT_SHELL,
        "PATH": "/usr/bin:/bin",
        "HOME": home if os.path.isdir(home) else "/",
        "LOGNAME": name,
        "USER": name,
    }
