"""``config.add_crontab``: the lines of a crontab file as tasks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from ..app import CronApp, get_cron
from ..arguments import parse_flag, parse_timezone
from ..directives import AFTER_APPLICATION_ORDER
from ..runtime.programs import Command, Environment
from ..schedule import Cron
from ..task import TASK_NAME_PATTERN
from .accounts import DEFAULT_PATH, check_user, find_account, may_change_account
from .command import (
    DEFAULT_SHELL,
    check_policies,
    check_prefix,
    naming_source,
    register_command,
    resolve_path,
)
from .crontab_syntax import ZONE_VARIABLE, CrontabEntry, CrontabSyntaxError, parse_crontab

MAIL_VARIABLES = ("MAILTO", "MAILFROM")
"""Variables that tell cron of mail; they are for it, not for commands."""

IGNORED_VARIABLES = {
    "MAILTO": "what a command writes is kept with its run",
    "MAILFROM": "no mail is sent",
    "LOGNAME": "commands run as the user of this application",
    "USER": "commands run as the user of this application",
}
"""Variables that tell cron something which has no meaning here, and why."""

log = logging.getLogger("pyramid_cron")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrontabCommand(Command):
    """The command of a crontab's line, with what it takes to write that line again.

    ``entry.schedule`` is the text of its schedule and ``entry.name`` the comment that names its
    task; ``line`` and ``stdin`` are its command and input, without escapes. The variables it gets
    are all in ``environment.overrides``, cron's own included (``LOGNAME`` and ``USER``, which no
    crontab can set), and nothing is inherited.
    """

    entry: CrontabEntry
    #: The crontab.
    path: str


def add_crontab(
    config: Configurator,
    path: str | os.PathLike[str],
    *,
    prefix: str = "",
    user: bool = False,
    skip_reboot: bool = False,
    **policies: Any,
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
    :param user: read the column of ``/etc/cron.d`` for the account that a command runs as. An
        application that runs as root runs it as that account, with that one's home directory; any
        other runs it as itself, and logs a WARNING.
    :param skip_reboot: pass over ``@reboot`` lines, which are refused otherwise.

    Everything else is as for ``add_cron_task``, and holds for all lines. ``timezone`` applies to
    lines without a preceding ``CRON_TZ``.

    :raises pyramid.exceptions.ConfigurationError: naming the file, the line and what would be
        right; where the application is made, if a line would take the place of one of another file
        that has the same name and number.
    """
    file = resolve_path(config, path)
    with naming_source(f"crontab {file!r}"):
        check_policies(policies, "add_crontab")
        check_prefix(prefix)
        parse_flag("user", user)
        parse_flag("skip_reboot", skip_reboot)
        parse_timezone(policies.get("timezone"))
    entries = _read_entries(file, user, skip_reboot)
    _log_differences(file, entries)
    names = _task_names(file, entries, prefix)
    for name, entry in names.items():
        _register_entry(config, file, entry, name, policies)

    def check() -> None:
        for name in names:
            _check_name_is_free(get_cron(config.registry), file, name)

    config.action(None, check, order=AFTER_APPLICATION_ORDER)


def _check_name_is_free(cron: CronApp, file: str, name: str) -> None:
    """Refuse that a line of another file took the place of this one's only by its number."""
    task = cron.find_task(name)
    command = task.function if task else None
    if isinstance(command, CrontabCommand) and not command.entry.name and command.path != file:
        raise ConfigurationError(
            f"crontab {file!r}: its task {name!r} has the name of one in {command.path!r}; tell"
            " them apart by prefix= for one of the files"
        )


def _log_differences(file: str, entries: Sequence[CrontabEntry]) -> None:
    """Log what cron would do with these lines and this application does not."""
    for variable, reason in IGNORED_VARIABLES.items():
        if any(variable in entry.variables for entry in entries):
            log.info("crontab %s: %s is ignored: %s", file, variable, reason)
    own = find_account(None)
    users = {entry.user for entry in entries if entry.user} - {own.pw_name if own else ""}
    if users and not may_change_account():
        log.warning(
            "crontab %s: commands of %s run as the user of this application: only root may run them"
            " as others",
            file,
            ", ".join(sorted(users)),
        )


def _read_entries(file: str, user: bool, skip_reboot: bool) -> list[CrontabEntry]:
    try:
        entries = parse_crontab(Path(file).read_bytes(), user=user, skip_reboot=skip_reboot)
        for entry in entries:
            check_user(entry)
        return entries
    except CrontabSyntaxError as error:
        raise ConfigurationError(f"{file}, line {error.line}: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"crontab {file!r} can't be read: {error.strerror}") from error


def _task_names(file: str, entries: Iterable[CrontabEntry], prefix: str) -> dict[str, CrontabEntry]:
    """Return the entries by the names of their tasks."""
    named: dict[str, CrontabEntry] = {}
    for entry in entries:
        name = prefix + (entry.name or f"{os.path.basename(file)}:{entry.line}")
        if not TASK_NAME_PATTERN.fullmatch(name):
            reason = f"name {name!r}: must be 1 to 200 printable characters"
            raise ConfigurationError(f"{file}, line {entry.line}: {reason}")
        if name in named:
            reason = f"name {name!r}: line {named[name].line} has the same; choose another"
            raise ConfigurationError(f"{file}, line {entry.line}: {reason}")
        named[name] = entry
    return named


def _register_entry(
    config: Configurator, file: str, entry: CrontabEntry, name: str, policies: Mapping[str, Any]
) -> None:
    arguments = {"schedule": entry.schedule, **policies}
    if zone := entry.variables.get(ZONE_VARIABLE):
        arguments["timezone"] = zone
    try:
        Cron.for_task(name, entry.schedule)
        register_command(config, _entry_command(entry, file), name, arguments)
    except (ValueError, ConfigurationError) as error:
        reason = str(error).removeprefix("expression=")
        raise ConfigurationError(f"{file}, line {entry.line}: {reason}") from error


def _entry_command(entry: CrontabEntry, file: str) -> CrontabCommand:
    variables = _default_variables(entry.user) | {
        name: value for name, value in entry.variables.items() if name not in IGNORED_VARIABLES
    }
    return CrontabCommand(
        argv=(variables["SHELL"] or DEFAULT_SHELL, "-c", entry.command),
        line=entry.command,
        environment=Environment((), variables),
        cwd=variables["HOME"],
        stdin=entry.stdin,
        user=entry.user,
        entry=entry,
        path=file,
    )


def _default_variables(user: str | None) -> dict[str, str]:
    """Return what cron gives to commands."""
    account = find_account(user if may_change_account() else None)
    if account is not None:
        name, home = account.pw_name, account.pw_dir
    else:  # as in a container that runs under a number of its own
        name, home = str(os.geteuid()), "/"
    return {
        "SHELL": DEFAULT_SHELL,
        "PATH": DEFAULT_PATH,
        "HOME": home if os.path.isdir(home) else "/",
        "LOGNAME": name,
        "USER": name,
    }
