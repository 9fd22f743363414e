"""Tasks as the lines of a crontab."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from .runtime.programs import Command
from .schedule import Cron, Schedule
from .sources.crontab import MAIL_VARIABLES, CrontabCommand
from .sources.crontab_syntax import (
    MAX_LINE_BYTES,
    ZONE_VARIABLE,
    CrontabSyntaxError,
    find_account,
    format_name_comment,
    format_variable,
    is_plain_schedule,
    parse_crontab,
)
from .task import MAX_TASK_NAME_CHARACTERS, ONE_ATTEMPT, REQUEST_EXECUTOR, CatchUp, Overlap, Task

CRONTAB_HEADER = """\
# The tasks of {config_uri}, written by pcron export.
# CRON_TZ is understood by cronie; other crons need a file for each zone.
"""

USER_HEADER = "# For /etc/cron.d: it has the column for the account that a command runs as.\n"

CRON_DEFAULT_VARIABLES = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
"""The variables that cron sets for commands, unless the crontab sets them."""

RESERVED_VARIABLES = frozenset({"LOGNAME", "USER", ZONE_VARIABLE})
"""Variables without a line of their own: cron sets them, or the zone of a task does."""

_IDENTIFIER = re.compile("[A-Za-z_][A-Za-z0-9_]*")

_POSIX_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh"})


class _CannotExpressError(Exception):
    """A crontab can't express a command; the text says why."""


@dataclass(slots=True)
class _ExportState:
    """The names and variables of the lines written so far."""

    #: The names of all tasks and lines.
    line_names: set[str]
    #: The account of tasks that name none; None if there is no column for it.
    user: str | None
    variables: dict[str, str] = field(default_factory=lambda: dict(CRON_DEFAULT_VARIABLES))

    def unique_name(self, name: str, number: int) -> str:
        """Return a unique name for a further line of a task."""
        while True:
            suffix = f" ({number})"
            line_name = name[: MAX_TASK_NAME_CHARACTERS - len(suffix)] + suffix
            if line_name not in self.line_names:
                self.line_names.add(line_name)
                return line_name
            number += 1

    def set_variable(self, name: str, value: str) -> Iterator[str]:
        """Yield the line that sets a variable, unless it has that value."""
        if self.variables.get(name) != value:
            self.variables[name] = value
            yield format_variable(name, value)


def export_crontab(
    tasks: Iterable[Task], config_uri: str, pcron: str = "pcron", user: str | None = None
) -> str:
    """Return the lines of a crontab for tasks.

    The line of a program is its command; that of a function is ``pcron CONFIG_URI run NAME``, where
    ``pcron`` may be a path. A comment stands for what a crontab can't express.

    ``user``: write the column of ``/etc/cron.d``, with this account for tasks that name none. It is
    written, too, where a task names one, with this process's account for the others.
    """
    # A crontab can't unset who gets mail, so those who name nobody come first.
    tasks = sorted(tasks, key=lambda task: len(_mail_variables(task)))
    if user is None and any(_user_of(task) for task in tasks):
        account = find_account(None)
        user = account.pw_name if account else str(os.geteuid())
    state = _ExportState({task.name for task in tasks}, user)
    header = CRONTAB_HEADER.format(config_uri=_one_line(config_uri))
    blocks = [header if user is None else header + USER_HEADER]
    blocks += ["\n".join(_format_task(task, [pcron, config_uri], state)) + "\n" for task in tasks]
    return "\n".join(blocks)


def _user_of(task: Task) -> str | None:
    return task.function.user if isinstance(task.function, Command) else None


def _mail_variables(task: Task) -> dict[str, str]:
    """Return the variables above a crontab's line that say who gets mail of it."""
    if not isinstance(task.function, CrontabCommand):
        return {}
    variables = task.function.entry.variables
    return {name: variables[name] for name in MAIL_VARIABLES if name in variables}


def _format_task(task: Task, pcron: Sequence[str], state: _ExportState) -> Iterator[str]:
    yield from _format_comments(task)
    try:
        entry = _make_command_line(task, state)
    except _CannotExpressError as reason:
        yield f"# Run by pcron: {reason}."
        try:
            entry = _make_pcron_line(task, pcron)
        except _CannotExpressError as pcron_reason:
            yield f"# Not in a crontab: {task.name}: {pcron_reason}."
            return
    if not task.schedules:
        yield f"# On demand only; a crontab has no such line: {task.name}."
        yield f"# {entry.text}"
    number = 0
    for schedule in task.schedules:
        try:
            fields = _fields_of(task, schedule)
        except ValueError as error:
            yield f"# Not in a crontab: {task.name}: {_one_line(schedule.describe())}."
            yield f"# ({_one_line(str(error))})"
            continue
        number += 1
        yield from state.set_variable(ZONE_VARIABLE, _zone_of(schedule))
        for name, value in entry.variables.items():
            yield from state.set_variable(name, value)
        yield format_name_comment(
            task.name if number == 1 else state.unique_name(task.name, number)
        )
        account = "" if state.user is None else f"{_user_of(task) or state.user} "
        yield f"{fields} {account}{entry.text}"


def _fields_of(task: Task, schedule: Schedule) -> str:
    """Return the fields of a line, as they were read if cron reads the same; ValueError if none."""
    fields = schedule.crontab()
    if isinstance(task.function, CrontabCommand):
        text = task.function.entry.schedule
        return text if is_plain_schedule(text) else fields
    return fields


def _zone_of(schedule: Schedule) -> str:
    return (schedule.timezone or "UTC") if isinstance(schedule, Cron) else "UTC"


@dataclass(frozen=True, slots=True)
class _CommandLine:
    """A command as a crontab's line has it, after the fields and the account."""

    text: str
    #: The variables that lines above have to set.
    variables: Mapping[str, str]

    def __post_init__(self) -> None:
        if len(self.text.encode(errors="surrogateescape")) > MAX_LINE_BYTES:
            raise _CannotExpressError(f"crons read no commands of more than {MAX_LINE_BYTES} bytes")
        for name, value in self.variables.items():
            try:
                format_variable(name, value)
            except ValueError as error:
                raise _CannotExpressError(str(error)) from None


def _make_pcron_line(task: Task, pcron: Sequence[str]) -> _CommandLine:
    argv = [*pcron, "run", *(["--"] if task.name.startswith("-") else []), task.name]
    return _CommandLine(_escape_percent(_quote(argv)), CRON_DEFAULT_VARIABLES)


def _make_command_line(task: Task, state: _ExportState) -> _CommandLine:
    command = task.function
    if not isinstance(command, Command):
        raise _CannotExpressError("it is a function of the application")
    if isinstance(command, CrontabCommand):
        return _make_crontab_line(command, _mail_variables(task), state)
    return _make_program_line(command)


def _make_crontab_line(
    command: CrontabCommand, mail: Mapping[str, str], state: _ExportState
) -> _CommandLine:
    """Return the line that was read, without the variables that other lines have set."""
    variables = {
        name: value
        for name, value in command.environment.overrides.items()
        if name not in RESERVED_VARIABLES
    }
    if "HOME" not in command.entry.variables and "HOME" not in state.variables:
        del variables["HOME"]  # cron finds it, as it did before
    allowed = {*variables, *CRON_DEFAULT_VARIABLES, *RESERVED_VARIABLES, *MAIL_VARIABLES, "HOME"}
    others = [
        name for name in state.variables if name not in allowed and _IDENTIFIER.fullmatch(name)
    ]
    if others and os.path.basename(variables["SHELL"]) not in _POSIX_SHELLS:
        raise _CannotExpressError(f"{others[0]}, which is set above, is not for it")
    unset = "".join(f"unset {name}; " for name in others)
    return _CommandLine(unset + _format_command(command.line, command.stdin), {**variables, **mail})


def _make_program_line(command: Command) -> _CommandLine:
    """Return a program as a shell's command, with its directory and environment."""
    overrides, inherit = command.environment.overrides, command.environment.inherit
    if command.environment.provide is not None:
        raise _CannotExpressError("it gets variables that the application gives at each run")
    if inherit:
        raise _CannotExpressError("it gets some variables of the application's environment")
    prefix = [] if inherit is None else ["env", "-i"]
    if prefix or overrides:
        prefix = prefix or ["env"]
        prefix += [f"{name}={value}" for name, value in overrides.items()]
    if (
        not prefix
        and command.cwd is None
        and command.argv[:2] == (CRON_DEFAULT_VARIABLES["SHELL"], "-c")
    ):
        text = command.line
    else:
        text = _quote([*prefix, *command.argv])
    if command.cwd is not None:
        text = f"cd {_quote([command.cwd])} && {text}"
    return _CommandLine(
        _format_command(text, command.stdin), {"SHELL": CRON_DEFAULT_VARIABLES["SHELL"]}
    )


def _quote(arguments: Iterable[str]) -> str:
    # All backslashes are within quotes here. Two in a row, or one before a percent sign, mean
    # something else to cron, to some crons this and to others that.
    return re.sub(r"\\(?=[\\%])", r"\\''", shlex.join(arguments))


def _escape_percent(text: str) -> str:
    return text.replace("%", "\\%")


def _escape_command(text: str, *, has_stdin: bool) -> str:
    """Return a command as cron takes it: backslashes are doubled where one would escape."""

    def escape(match: re.Match[str]) -> str:
        backslashes, sign = match.groups()
        before_input = has_stdin and match.end() == len(text)
        if sign or before_input or len(backslashes) > 1:
            backslashes *= 2
        return backslashes + ("\\%" if sign else "")

    return re.sub(r"(?=[\\%])(\\*)(%?)", escape, text)


def _format_command(line: str, stdin: str | None) -> str:
    """Return a command and its input as a crontab has them, checked by parsing them."""
    text = _escape_command(line, has_stdin=stdin is not None)
    if stdin is not None:
        body = stdin[:-1] if re.search(r"[^\n]\n\Z", stdin) else stdin
        text += "%" + _escape_percent(body).replace("\n", "%")
    try:
        entries = parse_crontab(f"* * * * * {text}".encode())
    except (CrontabSyntaxError, UnicodeEncodeError):
        entries = []
    if [(entry.command, entry.stdin) for entry in entries] == [(line, stdin)]:
        return text
    raise _CannotExpressError("a crontab can't say this command or its input")


def _format_comments(task: Task) -> Iterator[str]:
    command_line = task.function.line if isinstance(task.function, Command) else None
    if task.description and task.description != command_line:
        yield f"# {task.name}: {_one_line(task.description)}"
    if policies := _list_policies(task):
        yield f"# Without its policies: {', '.join(policies)}."


def _list_policies(task: Task) -> list[str]:
    """Return the policies that are not the defaults; a crontab has none."""
    policies = [
        ("idle", task.idle, task.idle),
        ("priority", task.priority, task.priority != 0),
        ("when", getattr(task.when, "__qualname__", task.when), task.when is not None),
        ("overlap", task.overlap.value, task.overlap is not Overlap.SKIP),
        ("catch_up", task.catch_up.value, task.catch_up is not CatchUp.ONCE),
        ("grace", task.grace, task.grace is None or task.grace.total_seconds() != 3600),
        ("retry", task.retry.attempts, task.retry != ONE_ATTEMPT),
        ("timeout", task.timeout, task.timeout is not None),
        ("pause_after", task.pause_after, task.pause_after is not None),
        ("jitter", f"{timedelta(seconds=task.offset)} later", task.offset),
        ("executor", task.executor, task.executor != REQUEST_EXECUTOR),
        ("weight", task.weight, task.weight != 1),
        ("celery", dict(task.celery), task.celery),
        ("monitor", task.monitor, task.monitor is not None and not _has_mailto(task)),
    ]
    return [f"{name}={_one_line(str(value))}" for name, value, is_set in policies if is_set]


def _has_mailto(task: Task) -> bool:
    """Return whether a variable of its crontab says whom to mail."""
    command = task.function
    return isinstance(command, CrontabCommand) and "MAILTO" in command.entry.variables


def _one_line(text: str) -> str:
    """Return text for a comment: in one line, and without what no crontab can have."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", " ".join(text.split()))
