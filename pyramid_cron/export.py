"""Tasks as the lines of a crontab, without I/O."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from .runtime.programs import Command
from .schedule import At, Cron, Every
from .sources.crontab import CrontabCommand
from .sources.crontab_syntax import CrontabSyntaxError, parse_crontab
from .task import MAX_TASK_NAME_CHARACTERS, ONE_ATTEMPT, REQUEST_EXECUTOR, CatchUp, Overlap, Task

CRONTAB_HEADER = """\
# The tasks of {config_uri}, written by pcron export.
# CRON_TZ is understood by cronie; other crons need a file for each zone.
"""

CRON_DEFAULT_VARIABLES = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
"""The variables that cron sets for commands, unless the crontab sets them."""

RESERVED_VARIABLES = frozenset({"LOGNAME", "USER", "CRON_TZ"})
"""Variables without a line of their own: cron sets them, or the zone of a task does."""

_IDENTIFIER = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class _CannotExpressError(Exception):
    """A crontab can't express a command; the text says why."""


@dataclass(slots=True)
class _ExportState:
    """The names and variables of the lines written so far."""

    #: The names of all tasks and lines.
    line_names: set[str]
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


def export_crontab(tasks: Iterable[Task], config_uri: str, pcron: str = "pcron") -> str:
    """Return the lines of a crontab for tasks.

    The line of a program is its command; that of a function is ``pcron CONFIG_URI run NAME``, where
    ``pcron`` may be a path. A comment stands for what a crontab can't express.
    """
    tasks = list(tasks)
    state = _ExportState({task.name for task in tasks})
    blocks = [CRONTAB_HEADER.format(config_uri=_one_line(config_uri))]
    blocks += ["\n".join(_format_task(task, [pcron, config_uri], state)) + "\n" for task in tasks]
    return "\n".join(blocks)


def _format_task(task: Task, pcron: Sequence[str], state: _ExportState) -> Iterator[str]:
    yield from _format_comments(task)
    try:
        entry = _make_command_line(task)
    except _CannotExpressError as reason:
        yield f"# Run by pcron: {reason}."
        entry = _make_pcron_line(task, pcron)
    if not task.schedules:
        yield "# On demand only; a crontab has no such line."
        yield f"# {entry.text}"
    number = 0
    for schedule in task.schedules:
        try:
            fields = schedule.crontab()
        except ValueError as error:
            yield f"# Not in a crontab: {_one_line(schedule.describe())}."
            yield f"# ({_one_line(str(error))})"
            continue
        number += 1
        yield from state.set_variable("CRON_TZ", _zone_of(schedule))
        for name, value in entry.variables.items():
            yield from state.set_variable(name, value)
        name = task.name if number == 1 else state.unique_name(task.name, number)
        yield f"# name: {name}"
        unset = "".join(f"unset {variable}; " for variable in _variables_to_unset(entry, state))
        yield f"{fields} {unset}{entry.text}"


def _zone_of(schedule: Cron | Every | At) -> str:
    return (schedule.timezone or "UTC") if isinstance(schedule, Cron) else "UTC"


@dataclass(frozen=True, slots=True)
class _CommandLine:
    """A command as a crontab's line has it, after the fields."""

    text: str
    #: The variables that lines above have to set.
    variables: Mapping[str, str]
    #: Whether the command must not get any other variables.
    is_isolated: bool = False


def _variables_to_unset(entry: _CommandLine, state: _ExportState) -> list[str]:
    """Return the variables of lines above that this command must not get."""
    if not entry.is_isolated:
        return []
    allowed = {*entry.variables, *CRON_DEFAULT_VARIABLES, *RESERVED_VARIABLES, "HOME"}
    return [name for name in state.variables if name not in allowed and _IDENTIFIER.fullmatch(name)]


def _make_pcron_line(task: Task, pcron: Sequence[str]) -> _CommandLine:
    argv = [*pcron, "run", *(["--"] if task.name.startswith("-") else []), task.name]
    return _CommandLine(_escape_percent(_quote(argv)), CRON_DEFAULT_VARIABLES)


def _make_command_line(task: Task) -> _CommandLine:
    command = task.function
    if not isinstance(command, Command):
        raise _CannotExpressError("it is a function of the application")
    if isinstance(command, CrontabCommand):
        return _make_crontab_line(command)
    return _make_program_line(command)


def _make_crontab_line(command: CrontabCommand) -> _CommandLine:
    overrides = command.environment.overrides
    variables = {name: value for name, value in overrides.items() if name not in RESERVED_VARIABLES}
    return _CommandLine(_format_command(command.line, command.stdin), variables, is_isolated=True)


def _make_program_line(command: Command) -> _CommandLine:
    """Return a program as a shell's command, with its directory and environment."""
    overrides, inherit = command.environment.overrides, command.environment.inherit
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


def format_variable(name: str, value: str) -> str:
    """Return the line that sets a variable."""
    if not _IDENTIFIER.fullmatch(name):
        name = f"'{name}'" if '"' in name else f'"{name}"'
    plain = value == value.strip() and value[:1] not in ("", "'", '"')
    return f"{name}={value}" if plain else f'{name}="{value}"'


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
        ("monitor", task.monitor, task.monitor is not None),
    ]
    return [f"{name}={_one_line(str(value))}" for name, value, is_set in policies if is_set]


def _one_line(text: str) -> str:
    return " ".join(text.split())
