"""``config.add_crontab``: the lines of a crontab file as tasks."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import filterfalse
from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry

from ..app import get_cron
from ..arguments import check_known, parse_flag, parse_timezone
from ..directives import AFTER_APPLICATION_ORDER, INTROSPECTION_CATEGORY
from ..runtime.programs import Command, Environment
from ..schedule import Cron
from ..task import TASK_NAME_PATTERN, names_by_service
from .command import (
    DEFAULT_SHELL,
    POLICY_ARGUMENTS,
    check_prefix,
    naming_source,
    register_command,
    resolve_path,
    try_policies,
)
from .crontab_syntax import (
    DEFAULT_PATH,
    ZONE_VARIABLE,
    CrontabEntry,
    CrontabSyntaxError,
    check_user,
    find_account,
    may_change_account,
    parse_crontab,
)

MAIL_VARIABLES = ("MAILTO", "MAILFROM")
"""Variables that tell cron of mail; they are for it, not for commands."""

CRON_VARIABLES = {
    "MAILTO": "is for the monitor mail: what a command writes is kept with its run",
    "MAILFROM": "is ignored: mail is from cron.mail.from",
    "LOGNAME": "is ignored: commands run as the user of this application",
    "USER": "is ignored: commands run as the user of this application",
}
"""Variables that tell cron something which is not quite so here, and what is."""

log = logging.getLogger("pyramid_cron")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrontabCommand(Command):
    """The command of a crontab's line, with what it takes to write that line again.

    ``entry.schedule`` is the text of its schedule and ``entry.name`` the comment that names its
    task; ``line`` and ``stdin`` are its command and input, without escapes. The variables it gets
    are all in ``environment.overrides``, cron's own included (``LOGNAME`` and ``USER``, which no
    crontab can set), and nothing is inherited. Two that run the same are equal,
    wherever they stand.
    """

    entry: CrontabEntry = field(compare=False)
    #: The crontab.
    path: str = field(compare=False)


def add_crontab(
    config: Configurator,
    path: str | os.PathLike[str],
    user: bool = False,
    *,
    prefix: str = "",
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
    it: ``# name: backup``. When the file changes while the application runs, the next tick within a
    minute reads it again. A mistake that is made then is logged once, as a WARNING, and listed
    among the problems of the application's cron; the lines that were there before go on.

    :param path: the file: a path, relative to the working directory unless it is absolute, or an
        asset specification such as ``"shop:shop.cron"``.
    :param user: read the column of ``/etc/cron.d`` for the account that a command runs as. An
        application that runs as root runs it as that account, with that one's home directory; any
        other runs it as itself, and logs a WARNING.
    :param prefix: what the names of the tasks begin with, to tell two files of one name apart.
    :param skip_reboot: pass over ``@reboot`` lines, which are refused otherwise.

    Everything else is as for ``add_cron_task``, and holds for all lines. ``timezone`` applies to
    lines without a preceding ``CRON_TZ``. Below ``MAILTO`` its addresses are the lines' name for
    the monitor ``mail``; an empty one has them mail nobody.

    :raises pyramid.exceptions.ConfigurationError: naming the file, the line and what would be
        right; where the application is made, if a line would take the place of one of another file
        that has the same name and number.
    """
    path = resolve_path(config, path)
    with naming_source(f"crontab {path!r}"):
        check_known("add_crontab", policies, POLICY_ARGUMENTS)
        check_prefix(prefix)
        parse_flag("user", user)
        parse_flag("skip_reboot", skip_reboot)
        parse_timezone(policies.get("timezone"))
    crontab = Crontab(path, prefix, policies, has_users=user, skip_reboot=skip_reboot)
    crontab.register(config)
    config.action(
        ("crontab", path, prefix),
        crontab.attach,
        (config.registry, config.package),
        order=AFTER_APPLICATION_ORDER,
    )


class Crontab:
    """A crontab file, whose tasks follow what is in it."""

    def __init__(
        self,
        path: str,
        prefix: str,
        policies: Mapping[str, Any],
        *,
        has_users: bool,
        skip_reboot: bool,
    ) -> None:
        self.path = path
        self.problems: Sequence[str] = ()
        self._prefix = prefix
        self._policies = policies
        self._has_users = has_users
        self._skip_reboot = skip_reboot
        #: The commands of its lines, by the names of their tasks.
        self._commands: dict[str, CrontabCommand] = {}
        #: Names of lines that the application has given to other tasks.
        self._overridden_names: frozenset[str] = frozenset()
        #: The content that was read last, and one whose last line has no end yet.
        self._data = self._unended = b""
        self._renew_lock()

    def register(self, config: Configurator) -> None:
        """Register the lines there are; ConfigurationError for one that is wrong."""
        self._data = self._read()
        commands = self._parse(self._data)
        _log_differences(self.path, commands)
        if not commands:
            try_policies(config.package, f"crontab {self.path!r}", self._policies)
        for name, command in commands.items():
            self._register_line(config, name, command)

    def attach(self, registry: Registry, package: Any) -> None:
        """Follow the file, in the application that is made."""
        self._config = Configurator(registry=registry, package=package, autocommit=True)
        self._cron = get_cron(registry)
        for name in self._commands:
            self._check_name_is_free(name)
        self._overridden_names = frozenset(filterfalse(self._has_task, self._commands))
        for name in self._overridden_names:
            del self._commands[name]
        self._cron.fork_hook.add(self._renew_lock)
        self._cron.sources.append(self)

    def _check_name_is_free(self, name: str) -> None:
        """Refuse that a line of another file took the place of this one's only by its number."""
        task = self._cron.find_task(name)
        command = task.function if task else None
        if (
            isinstance(command, CrontabCommand)
            and not command.entry.name
            and command.path != self.path
        ):
            raise ConfigurationError(
                f"crontab {self.path!r}: its task {name!r} has the name of one in {command.path!r};"
                " tell them apart by prefix= for one of the files"
            )

    def _has_task(self, name: str) -> bool:
        """Return whether the task of this name is a line of this file, as it was registered."""
        task = self._cron.find_task(name)
        return task is not None and task.function is self._commands.get(name)

    def _renew_lock(self) -> None:
        """Have a lock that no thread of a parent process holds."""
        self._refresh_lock = threading.Lock()

    def refresh(self) -> None:
        """Read the file again if it has changed, and report what is wrong."""
        if not self._refresh_lock.acquire(blocking=False):
            return  # another tick is at it
        try:
            data = self._read()
            if self._has_changed(data):
                is_new, self._data = data != self._data, data
                commands = self._parse(data)
                if is_new:
                    _log_differences(self.path, commands)
                self._report(self._replace_lines(commands))
        except ConfigurationError as error:
            self._report([f"{error}; the lines that were there before go on"])
        finally:
            self._refresh_lock.release()

    def _has_changed(self, data: bytes) -> bool:
        """Return whether this is to be read: it has changed, or there were problems with it.

        A last line without an end may be half of one. It is read if it is the same the next time.
        """
        if data and not data.endswith(b"\n") and data not in (self._data, self._unended):
            self._unended = data
            return False
        return data != self._data or bool(self.problems)

    def _replace_lines(self, commands: Mapping[str, CrontabCommand]) -> list[str]:
        """Register lines that are new or changed, unregister those gone; return the problems."""
        problems = []
        for name in self._commands.keys() - commands.keys():
            self._unregister_line(name)
        for name, command in commands.items():
            old = self._commands.get(name)
            if name in self._overridden_names:
                continue
            if old is None and self._cron.find_task(name) is not None:
                problems.append(
                    f"{self.path}, line {command.entry.line}: there is another task named {name!r}"
                )
            elif old is None or not _is_same_line(old, command):
                try:
                    self._register_line(self._config, name, command)
                    log.info("crontab %s: task %s is new or has changed", self.path, name)
                except ConfigurationError as error:
                    problems.append(str(error))
        return problems

    def _read(self) -> bytes:
        try:
            return Path(self.path).read_bytes()
        except OSError as error:
            reason = f"crontab {self.path!r} can't be read: {error.strerror}"
            raise ConfigurationError(reason) from error

    def _parse(self, data: bytes) -> dict[str, CrontabCommand]:
        """Return the commands by the names of their tasks; ConfigurationError for a wrong line."""
        commands: dict[str, CrontabCommand] = {}
        try:
            for entry in parse_crontab(data, user=self._has_users, skip_reboot=self._skip_reboot):
                check_user(entry)
                name = self._prefix + (entry.name or f"{os.path.basename(self.path)}:{entry.line}")
                _check_line(entry, name, commands)
                commands[name] = _make_command(entry, self.path)
        except CrontabSyntaxError as error:
            raise ConfigurationError(f"{self.path}, line {error.line}: {error}") from None
        return commands

    def _register_line(self, config: Configurator, name: str, command: CrontabCommand) -> None:
        arguments = {"schedule": command.entry.schedule, **self._policies}
        variables = command.entry.variables
        if zone := variables.get(ZONE_VARIABLE):
            arguments["timezone"] = zone
        if (recipients := variables.get("MAILTO")) is not None:
            arguments["monitor"] = with_recipients(arguments.get("monitor"), recipients)
        try:
            register_command(config, command, name, arguments)
        except ConfigurationError as error:
            line = f"{self.path}, line {command.entry.line}"
            raise ConfigurationError(f"{line}: {error}") from error
        self._commands[name] = command

    def _unregister_line(self, name: str) -> None:
        if self._has_task(name):
            self._cron.unregister(name)
            self._config.introspector.remove(INTROSPECTION_CATEGORY, name)
            log.info("crontab %s: task %s has gone", self.path, name)
        del self._commands[name]

    def _report(self, problems: Sequence[str]) -> None:
        for problem in problems:
            if problem not in self.problems:
                log.warning("crontab: %s", problem)
        self.problems = tuple(problems)


def with_recipients(monitor: Any, recipients: str) -> Any:
    """Return the argument ``monitor`` of a line below ``MAILTO``; empty, that means no mail.

    The name of an account is that of a mailbox at localhost.
    """
    if monitor is not None and not isinstance(monitor, (str, Mapping)):
        return monitor  # which is refused
    names = {**names_by_service(monitor)}
    names.pop("mail", None)
    words = recipients.replace(",", " ").split()
    if words:
        names["mail"] = ",".join(word if "@" in word else f"{word}@localhost" for word in words)
    return names or None


def _is_same_line(old: CrontabCommand, new: CrontabCommand) -> bool:
    """Return whether a line says what it said before, wherever it stands in the file."""
    return old == new and replace(old.entry, line=new.entry.line) == new.entry


def _check_line(entry: CrontabEntry, name: str, others: Mapping[str, CrontabCommand]) -> None:
    """Refuse a wrong schedule or name of a line; ``others`` are those above it."""
    try:
        if not TASK_NAME_PATTERN.fullmatch(name):
            raise ValueError(f"name {name!r}: must be 1 to 200 printable characters")
        if name in others:
            line = others[name].entry.line
            raise ValueError(f"name {name!r}: line {line} has the same; choose another")
        Cron.for_task(name, entry.schedule)
    except ValueError as error:
        reason = str(error).removeprefix("expression=")
        raise CrontabSyntaxError(entry.line, reason) from error


def _log_differences(path: str, commands: Mapping[str, CrontabCommand]) -> None:
    """Log what cron would do with these lines and this application does not."""
    entries = [command.entry for command in commands.values()]
    for variable, difference in CRON_VARIABLES.items():
        if any(variable in entry.variables for entry in entries):
            log.info("crontab %s: %s %s", path, variable, difference)
    own = find_account(None)
    users = {entry.user for entry in entries if entry.user} - {own.pw_name if own else ""}
    if users and not may_change_account():
        log.warning(
            "crontab %s: commands of %s run as the user of this application: only root may run them"
            " as others",
            path,
            ", ".join(sorted(users)),
        )


def _make_command(entry: CrontabEntry, path: str) -> CrontabCommand:
    variables = _default_variables(entry.user) | {
        name: value for name, value in entry.variables.items() if name not in CRON_VARIABLES
    }
    return CrontabCommand(
        argv=(variables["SHELL"] or DEFAULT_SHELL, "-c", entry.command),
        line=entry.command,
        environment=Environment((), variables),
        cwd=variables["HOME"],
        stdin=entry.stdin,
        user=entry.user,
        entry=entry,
        path=path,
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
