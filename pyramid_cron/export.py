"""Tasks as a crontab: for those who leave, and to see in cron's words what is registered (pure)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from .execute.command import Command
from .schedule import At, Cron, Every
from .sources.lines import Problem, parse
from .task import NAME_LENGTH, ONE_ATTEMPT, REQUEST, CatchUp, Overlap, Task

HEAD = """\
# The tasks of {config_uri}, written by pcron export.
# CRON_TZ is understood by cronie; other crons need a file for each zone.
"""

DEFAULTS = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
"""What cron gives to commands where the crontab does not say otherwise."""

UNSETTABLE = frozenset({"LOGNAME", "USER", "CRON_TZ"})
"""Variables that no line is written for: cron sets them, or the zone of a task does."""

_IDENTIFIER = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class _CannotSayError(Exception):
    """A crontab has no words for it; the text says why."""


@dataclass(slots=True)
class _State:
    """The names that are taken, and the variables as the lines written so far have set them."""

    names: set[str]
    variables: dict[str, str] = field(default_factory=lambda: dict(DEFAULTS))

    def another(self, name: str, number: int) -> str:
        """Return a name for a further line of a task that no other line has."""
        while True:
            mark = f" ({number})"
            found = name[: NAME_LENGTH - len(mark)] + mark
            if found not in self.names:
                self.names.add(found)
                return found
            number += 1

    def set(self, name: str, value: str) -> Iterator[str]:
        """Yield the line that sets a variable, where it is needed."""
        if self.variables.get(name) != value:
            self.variables[name] = value
            yield variable(name, value)


def crontab(tasks: Iterable[Task], config_uri: str, pcron: str = "pcron") -> str:
    """Return the lines of a crontab for tasks.

    Programs are given as they are; for functions it is ``pcron CONFIG_URI run NAME``, where
    ``pcron`` may be a path. What a crontab can't say is a comment that says so.
    """
    tasks = list(tasks)
    state = _State({task.name for task in tasks})
    blocks = [HEAD.format(config_uri=_one_line(config_uri))]
    blocks += ["\n".join(_block(task, [pcron, config_uri], state)) + "\n" for task in tasks]
    return "\n".join(blocks)


def _block(task: Task, pcron: Sequence[str], state: _State) -> Iterator[str]:
    yield from _comments(task)
    try:
        entry = _command_entry(task)
    except _CannotSayError as reason:
        yield f"# Run by pcron: {reason}."
        entry = _pcron_entry(task, pcron)
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
        yield from state.set("CRON_TZ", _zone(schedule))
        for name, value in entry.variables.items():
            yield from state.set(name, value)
        name = task.name if number == 1 else state.another(task.name, number)
        yield f"# name: {name}"
        unset = "".join(f"unset {each}; " for each in _left_over(entry, state))
        yield f"{fields} {unset}{entry.text}"


def _zone(schedule: Cron | Every | At) -> str:
    return (schedule.timezone or "UTC") if isinstance(schedule, Cron) else "UTC"


@dataclass(frozen=True, slots=True)
class _Line:
    """What follows the fields; ``variables`` have to be set above.

    ``strict`` is set where no other variables may be seen.
    """

    text: str
    variables: Mapping[str, str]
    strict: bool = False


def _left_over(entry: _Line, state: _State) -> list[str]:
    """Return the variables of lines above that this command must not see."""
    if not entry.strict:
        return []
    known = {*entry.variables, *DEFAULTS, *UNSETTABLE, "HOME"}
    return [name for name in state.variables if name not in known and _IDENTIFIER.fullmatch(name)]


def _pcron_entry(task: Task, pcron: Sequence[str]) -> _Line:
    words = [*pcron, "run", *(["--"] if task.name.startswith("-") else []), task.name]
    return _Line(_escaped(_quoted(words)), DEFAULTS)


def _command_entry(task: Task) -> _Line:
    command = task.function
    if not isinstance(command, Command):
        raise _CannotSayError("it is a function of the application")
    return _of_crontab(command) if is_of_crontab(command) else _of_program(command)


def is_of_crontab(command: Command) -> bool:
    """Return whether a command is what a line of a crontab makes."""
    own = command.environment.own
    return (
        command.environment.inherit == ()
        and {"SHELL", "HOME"} <= own.keys()
        and command.argv == (own["SHELL"] or DEFAULTS["SHELL"], "-c", command.line)
        and command.cwd == own["HOME"]
    )


def _of_crontab(command: Command) -> _Line:
    own = command.environment.own
    variables = {name: value for name, value in own.items() if name not in UNSETTABLE}
    return _Line(_written(command.line, command.stdin), variables, strict=True)


def _of_program(command: Command) -> _Line:
    """Return what a shell makes of a program with its directory and environment."""
    own, inherit = command.environment.own, command.environment.inherit
    prefix = [] if inherit is None else ["env", "-i"]
    if prefix or own:
        prefix = prefix or ["env"]
        prefix += [f"{name}={value}" for name, value in own.items()]
    if inherit:
        raise _CannotSayError("it gets some variables of the application's environment")
    if not prefix and command.cwd is None and command.argv[:2] == (DEFAULTS["SHELL"], "-c"):
        text = command.line
    else:
        text = _quoted([*prefix, *command.argv])
    if command.cwd is not None:
        text = f"cd {_quoted([command.cwd])} && {text}"
    return _Line(_written(text, command.stdin), {"SHELL": DEFAULTS["SHELL"]})


def _quoted(words: Iterable[str]) -> str:
    # A backslash before a percent sign means something else to cron, whatever the quotes.
    return shlex.join(words).replace("\\%", "\\''%")


def _escaped(text: str) -> str:
    return text.replace("%", "\\%")


def _written(line: str, stdin: str | None) -> str:
    """Return a command and its input as a crontab has them; checked by reading them again."""
    text = _escaped(line)
    if stdin is not None:
        body = stdin[:-1] if re.search(r"[^\n]\n\Z", stdin) else stdin
        text += "%" + _escaped(body).replace("\n", "%")
    try:
        read = parse(f"* * * * * {text}".encode())
    except (Problem, UnicodeEncodeError):
        read = []
    if [(entry.command, entry.stdin) for entry in read] == [(line, stdin)]:
        return text
    raise _CannotSayError("a crontab can't say this command or its input")


def variable(name: str, value: str) -> str:
    """Return the line that sets a variable."""
    if not _IDENTIFIER.fullmatch(name):
        name = f"'{name}'" if '"' in name else f'"{name}"'
    plain = value == value.strip() and value[:1] not in ("", "'", '"')
    return f"{name}={value}" if plain else f'{name}="{value}"'


def _comments(task: Task) -> Iterator[str]:
    about = task.description
    if about and not (isinstance(task.function, Command) and about == task.function.line):
        yield f"# {task.name}: {_one_line(about)}"
    if policies := _policies(task):
        yield f"# Without its policies: {', '.join(policies)}."


def _policies(task: Task) -> list[str]:
    """Return what differs from the defaults, none of which a crontab knows."""
    said = [
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
        ("executor", task.executor, task.executor != REQUEST),
        ("weight", task.weight, task.weight != 1),
        ("celery", dict(task.celery), task.celery),
        ("monitor", task.monitor, task.monitor is not None),
    ]
    return [f"{name}={_one_line(str(value))}" for name, value, differs in said if differs]


def _one_line(text: str) -> str:
    return " ".join(text.split())
