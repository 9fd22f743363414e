"""``config.add_crontab``: the lines of a crontab file as tasks."""

from __future__ import annotations

import codecs
import logging
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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
    check_policies,
    check_prefix,
    naming_source,
    register_command,
    resolve_path,
)

IGNORED_VARIABLES = {
    "MAILTO": "what a command writes is kept with its run",
    "MAILFROM": "no mail is sent",
    "LOGNAME": "commands run as the user of this application",
    "USER": "commands run as the user of this application",
}
"""Variables that tell cron something which has no meaning here, and why."""

ZONE_VARIABLE = "CRON_TZ"

log = logging.getLogger("pyramid_cron")


class CrontabSyntaxError(ValueError):
    """What is wrong in a line of a crontab."""

    #: The number of the line, from 1.
    line: int

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


@dataclass(frozen=True, slots=True)
class CrontabEntry:
    """A line of a crontab that runs a command."""

    #: The number of the line, from 1.
    line: int
    #: Its five fields, joined by one space, or its alias.
    schedule: str
    #: What the shell reads: the text before the first unescaped ``%``.
    command: str
    #: What the command reads: the lines after that ``%``. None if there is none.
    stdin: str | None
    #: The variables set above the line.
    variables: Mapping[str, str]
    #: The task's name in a comment directly above the line, ``# name: backup``.
    name: str | None = None


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
    task = cron.find_task(name)
    command = task.function if task else None
    if isinstance(command, CrontabCommand) and not command.entry.name and command.path != file:
        raise ConfigurationError(
            f"crontab {file!r}: its task {name!r} has the name of one in {command.path!r}; tell"
            " them apart by prefix= for one of the files"
        )


def _read_entries(file: str) -> list[CrontabEntry]:
    try:
        return parse_crontab(Path(file).read_bytes())
    except CrontabSyntaxError as error:
        raise ConfigurationError(f"{file}, line {error.line}: {error}") from None
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
        reason = str(error).removeprefix("expression=").replace("timezone=", f"{ZONE_VARIABLE}=")
        raise ConfigurationError(f"{file}, line {entry.line}: {reason}") from error


def _entry_command(entry: CrontabEntry, file: str) -> CrontabCommand:
    variables = _default_variables() | {
        name: value for name, value in entry.variables.items() if name not in IGNORED_VARIABLES
    }
    return CrontabCommand(
        argv=(variables["SHELL"] or DEFAULT_SHELL, "-c", entry.command),
        line=entry.command,
        environment=Environment((), variables),
        cwd=variables["HOME"],
        stdin=entry.stdin,
        entry=entry,
        path=file,
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


_VARIABLE_LINE = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z_][A-Za-z0-9_]*))\s*=\s*(.*)""")
_QUOTED_VALUE = re.compile(r"""(["'])(.*)\1\s*""")
_NAME_COMMENT = re.compile(r"\s*#\s*name:\s*(.*?)\s*", re.IGNORECASE)
_UNSUPPORTED_ALIASES = {
    "@reboot": "there is no boot to run at: tasks run when a tick comes; use an entry with a time"
}


def parse_crontab(data: bytes) -> list[CrontabEntry]:
    """Return the entries of a crontab; CrontabSyntaxError for the first line that is wrong."""
    entries: list[CrontabEntry] = []
    variables: dict[str, str] = {}
    name: str | None = None
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, raw in enumerate(lines, 1):
        line = _decode_line(number, raw).lstrip()
        if line.startswith("#"):
            comment = _NAME_COMMENT.fullmatch(line)
            name = comment[1] if comment else name
        elif variable := _VARIABLE_LINE.fullmatch(line):
            key = next(part for part in variable.groups()[:3] if part is not None)
            variables = variables | {key: _variable_value(number, key, variable[4])}
        elif line:
            entries.append(_parse_entry(number, line, variables, name))
            name = None
        else:
            name = None
    return entries


def _decode_line(number: int, raw: bytes) -> str:
    try:
        line = raw.decode().rstrip("\r")
    except UnicodeDecodeError as error:
        raise CrontabSyntaxError(
            number, f"byte {error.object[error.start]:#x} is no UTF-8"
        ) from None
    if "\0" in line:
        raise CrontabSyntaxError(number, "a crontab is text, without NUL")
    return line


def _variable_value(number: int, key: str, text: str) -> str:
    if text[:1] not in ("'", '"'):
        return text.rstrip()
    quoted = _QUOTED_VALUE.fullmatch(text)
    if quoted is None:
        raise CrontabSyntaxError(
            number, f"{key}={text}: the quotes must close at the end of the line"
        )
    return quoted[2]


def _parse_entry(
    number: int, line: str, variables: Mapping[str, str], name: str | None
) -> CrontabEntry:
    count = 1 if line.startswith("@") else 5
    parts = line.split(maxsplit=count)
    schedule = " ".join(parts[:count])
    if reason := _UNSUPPORTED_ALIASES.get(schedule.lower()):
        raise CrontabSyntaxError(number, f"{schedule}: {reason}")
    command, stdin = _split_stdin(parts[count]) if len(parts) > count else ("", None)
    if not command.strip():
        raise CrontabSyntaxError(
            number,
            f"{line!r} must be five fields (minute hour day month day-of-week) or one of @daily and"
            " its kin, and a command; or NAME=value",
        )
    return CrontabEntry(number, schedule, command, stdin, variables, name)


def _split_stdin(text: str) -> tuple[str, str | None]:
    """Return the command, and what follows the first unescaped ``%``."""
    command, position = "", 0
    while position < len(text) and text[position] != "%":
        if text[position] == "\\" and position + 1 < len(text):
            command += text[position + (text[position + 1] == "%") : position + 2]
            position += 2
        else:
            command += text[position]
            position += 1
    if position == len(text):
        return command, None
    return command, _decode_stdin(text[position + 1 :])


def _decode_stdin(text: str) -> str:
    r"""Return what the command reads: each ``%`` ends a line, ``\%`` is the sign itself."""
    lines = re.sub(r"(\\?)%", lambda sign: "%" if sign[1] else "\n", text)
    return lines if not lines or lines.endswith("\n") else f"{lines}\n"
