"""The text of a crontab: its lines read as Debian's cron reads them, without I/O."""

from __future__ import annotations

import codecs
import json
import os
import pwd
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from ..schedule.zones import get_zone

ZONE_VARIABLE = "CRON_TZ"

MAX_LINE_BYTES = 998
"""The longest command or variable that Debian's cron reads whole."""


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
    #: The account it is to run as, where the crontab has a column for it.
    user: str | None = None


def parse_crontab(
    data: bytes, *, user: bool = False, skip_reboot: bool = False
) -> list[CrontabEntry]:
    """Return the entries of a crontab; CrontabSyntaxError for the first line that is wrong.

    ``user``: it has the column of ``/etc/cron.d`` for the account. ``skip_reboot``: pass over
    ``@reboot`` lines, which are refused otherwise.
    """
    entries: list[CrontabEntry] = []
    variables: dict[str, str] = {}
    name: str | None = None
    for number, raw in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        line = _decode_line(number, raw)
        if line.startswith("#"):
            name = parse_name_comment(line) or name
        elif variable := _parse_variable(number, line):
            variables = variables | variable
        elif line:
            entry = _parse_entry(number, line, variables, name, has_user=user)
            if not (skip_reboot and entry.schedule == _REBOOT):
                entries.append(_check_entry(entry, line))
            name = None
        else:
            name = None
    return entries


_REBOOT = "@reboot"

_BLANKS = " \t"
"""What separates fields."""

_WHITE_SPACE = " \t\r\f\v"
"""What is trimmed from a variable's value."""


def _decode_line(number: int, raw: bytes) -> str:
    """Return a line without its indentation; a comment may be in any encoding."""
    raw = raw.rstrip(b"\r").lstrip(_BLANKS.encode())
    if b"\0" in raw:
        raise CrontabSyntaxError(number, "a crontab is text, without NUL")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if raw.startswith(b"#"):
            return raw.decode("latin-1")
        raise CrontabSyntaxError(
            number, f"byte {error.object[error.start]:#x} is no UTF-8"
        ) from None


_NAME_COMMENT = re.compile(r"\s*#\s*name:\s*(.*?)\s*", re.IGNORECASE)


def parse_name_comment(line: str) -> str | None:
    """Return the name in ``# name: backup``; in quotes it is a JSON string. None if there is none.

    Quotes are for a name that begins or ends with a space.
    """
    comment = _NAME_COMMENT.fullmatch(line)
    if comment is None:
        return None
    text = comment[1]
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            pass
    return text


def format_name_comment(name: str) -> str:
    """Return the comment that names the line below it."""
    comment = f"# name: {name}"
    if parse_name_comment(comment) == name:
        return comment
    return f"# name: {json.dumps(name, ensure_ascii=False)}"


_NAME = r"""(?:"(?P<double>[^"=]+)"|'(?P<single>[^'=]+)'|(?P<plain>[^\s="'][^\s=]*))"""
_VARIABLE = re.compile(rf"{_NAME}\s*=\s*(?P<value>.*)", re.ASCII)
_QUOTED_VALUE = re.compile(r"""("[^"]*"|'[^']*')""")


def _parse_variable(number: int, line: str) -> dict[str, str]:
    """Return the variable that a line sets; an empty mapping if it is none."""
    match = _VARIABLE.fullmatch(line)
    if match is None:
        return {}
    name = match["double"] or match["single"] or match["plain"]
    value = _parse_value(number, name, match["value"].rstrip(_WHITE_SPACE))
    if name == ZONE_VARIABLE and value:
        try:
            get_zone(value)
        except ValueError as error:
            reason = str(error).replace("timezone=", f"{ZONE_VARIABLE}=", 1)
            raise CrontabSyntaxError(number, reason) from None
    return {name: value}


def _parse_value(number: int, name: str, text: str) -> str:
    if not text:
        raise CrontabSyntaxError(number, f'{name}=: an empty value is written as {name}=""')
    if text[0] not in "\"'":
        return text
    if _QUOTED_VALUE.fullmatch(text) is None:
        raise CrontabSyntaxError(
            number,
            f"{name}={text}: the quotes must close at the end of the line, and the value can't"
            " have the same quotes in it",
        )
    value = text[1:-1].rstrip(_WHITE_SPACE)
    # Cron takes a second pair away, too.
    has_more = len(value) > 1 and value[0] in "\"'" and value[0] == value[-1]
    return value[1:-1] if has_more else value


def format_variable(name: str, value: str) -> str:
    """Return the line that sets a variable; ValueError if a crontab can't."""
    quoted_values = (value, f'"{value}"', f"'{value}'", f"\"'{value}'\"", f"'\"{value}\"'")
    for quoted_name in (name, f'"{name}"', f"'{name}'"):
        for quoted_value in quoted_values:
            line = f"{quoted_name}={quoted_value}"
            if _sets_variable(line, name, value):
                return line
    raise ValueError(f"a crontab can't say the value of {name}")


def _sets_variable(line: str, name: str, value: str) -> bool:
    """Return whether cron reads from a line that a variable has this value."""
    try:
        raw = line.encode()
        is_line = b"\n" not in raw and len(raw) <= MAX_LINE_BYTES
        return is_line and _parse_variable(1, _decode_line(1, raw)) == {name: value}
    except ValueError:
        return False


def _parse_entry(
    number: int, line: str, variables: Mapping[str, str], name: str | None, *, has_user: bool
) -> CrontabEntry:
    count = 1 if line.startswith("@") else 5
    words = re.split(f"[{_BLANKS}]+", line, maxsplit=count + has_user)
    schedule = " ".join(words[:count]).rstrip()
    user = next(iter(words[count:]), "") if has_user else None
    command, stdin = _split_stdin(next(iter(words[count + has_user :]), ""))
    return CrontabEntry(number, schedule, command, stdin, variables, name, user)


_SIXTH_FIELD = re.compile(r"[0-9*?][0-9*?/,-]*(?!\S)|\*")


def _check_entry(entry: CrontabEntry, line: str) -> CrontabEntry:
    """Return the entry; CrontabSyntaxError for what cron refuses, or takes for something else."""
    if entry.schedule.lower() == _REBOOT:
        raise CrontabSyntaxError(
            entry.line,
            f"{_REBOOT}: there is no boot to run at: tasks run when a tick comes; use an entry with"
            " a time, or skip_reboot=True to pass over such lines",
        )
    if not entry.command.strip():
        account = "" if entry.user is None else ", an account"
        raise CrontabSyntaxError(
            entry.line,
            f"{line!r} must be five fields (minute hour day month day-of-week) or one of @daily and"
            f" its kin{account}, and a command; or NAME=value",
        )
    text = entry.command if entry.user is None else f"{entry.user} {entry.command}"
    if _SIXTH_FIELD.match(text):
        first = text.split()[0]
        raise CrontabSyntaxError(
            entry.line,
            f"the command begins with {first!r}, which looks like one field too many: a crontab has"
            " five fields, without seconds and years, and nothing follows @daily but the command",
        )
    return entry


_ESCAPE = re.compile(r"\\(.)|%")


def _split_stdin(text: str) -> tuple[str, str | None]:
    r"""Return the command, and what follows the first unescaped ``%``.

    ``\%`` is a ``%`` and ``\\`` a backslash; any other backslash is for the shell.
    """
    command, position = "", 0
    for escape in _ESCAPE.finditer(text):
        command += text[position : escape.start()]
        position = escape.end()
        if escape[0] == "%":
            return command, _decode_stdin(text[position:])
        command += escape[1] if escape[1] in "\\%" else escape[0]
    return command + text[position:], None


def _decode_stdin(text: str) -> str:
    r"""Return what the command reads: each ``%`` ends a line, ``\%`` is the sign itself."""
    lines = re.sub(r"(\\?)%", lambda sign: "%" if sign[1] else "\n", text)
    # Cron ends the last line, unless there is nothing in it but backslashes.
    return lines if re.search(r"(?:^|\n)\\*\Z", lines) else f"{lines}\n"


_ALIASES = frozenset(
    {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
)

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_WEEKDAYS = "sun mon tue wed thu fri sat"

_FIELD_NAMES = ("", "", "", _MONTHS, _WEEKDAYS)

_PART = re.compile(r"\*(?:/[0-9]+)?|(\w+)(?:-(\w+)(?:/[0-9]+)?)?", re.ASCII)


def is_plain_schedule(text: str) -> bool:
    """Return whether Debian's cron reads a schedule, which is right here, as it is read here."""
    fields = text.split()
    return text in _ALIASES or (
        len(fields) == len(_FIELD_NAMES)
        and all(
            _is_plain_part(part, names.split())
            for field, names in zip(fields, _FIELD_NAMES, strict=True)
            for part in field.split(",")
        )
    )


def _is_plain_part(part: str, names: list[str]) -> bool:
    """Return whether this is a number, a name, or a range that does not wrap."""
    match = _PART.fullmatch(part)
    if match is None:
        return False
    ends = [end.lower() for end in match.groups() if end is not None]
    numbers = [
        names.index(end) if end in names else int(end) for end in ends if _is_end(end, names)
    ]
    return len(numbers) == len(ends) and numbers == sorted(numbers)


def _is_end(end: str, names: list[str]) -> bool:
    return end in names or end.isdigit()


DEFAULT_PATH = "/usr/bin:/bin"

_ACCOUNT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")

# No accounts, whether or not there are programs of these names.
_SHELL_WORDS = frozenset(
    {
        "case",
        "cd",
        "command",
        "echo",
        "eval",
        "exec",
        "export",
        "for",
        "if",
        "read",
        "set",
        "source",
    }
    | {"test", "time", "trap", "ulimit", "umask", "unset", "until", "while"}
)


def find_account(name: str | None) -> pwd.struct_passwd | None:
    """Return the account of this name, for None that of this process; None if there is none."""
    try:
        return pwd.getpwuid(os.geteuid()) if name is None else pwd.getpwnam(name)
    except (KeyError, UnicodeEncodeError):
        return None


def may_change_account() -> bool:
    """Return whether this process may run programs as another account."""
    return os.geteuid() == 0


def check_user(entry: CrontabEntry) -> None:
    """Refuse a line that has the user column though it is not read, or lacks it though it is.

    Raises CrontabSyntaxError. An account that is only on another machine is let through.
    """
    if entry.user is None:
        _check_first_word(entry)
    elif find_account(entry.user) is None and not _may_be_account(entry.user, entry.variables):
        raise CrontabSyntaxError(
            entry.line,
            f"{entry.user!r} is no account: with user=True the word after the schedule is the"
            " account that the command runs as, as in /etc/cron.d",
        )


def _check_first_word(entry: CrontabEntry) -> None:
    first, *others = entry.command.split(maxsplit=1)
    # An option is no command, so what comes before it is one.
    if not others or others[0].startswith("-") or find_account(first) is None:
        return
    if not _is_program(first, entry.variables):
        raise CrontabSyntaxError(
            entry.line,
            f"{first!r} is an account of this machine and no program: with user=True the column of"
            " /etc/cron.d for it is read",
        )


def _may_be_account(word: str, variables: Mapping[str, str]) -> bool:
    return (
        _ACCOUNT_NAME.fullmatch(word) is not None
        and word not in _SHELL_WORDS
        and not _is_program(word, variables)
    )


def _is_program(word: str, variables: Mapping[str, str]) -> bool:
    return shutil.which(word, path=variables.get("PATH", DEFAULT_PATH)) is not None
