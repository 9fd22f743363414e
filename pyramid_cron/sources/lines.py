"""The text of a crontab: what its lines say."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass

_VARIABLE_LINE = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z_][A-Za-z0-9_]*))\s*=\s*(.*)""")
_QUOTED_VALUE = re.compile(r"""(["'])(.*)\1\s*""")
_NAME_COMMENT = re.compile(r"\s*#\s*name:\s*(.*?)\s*", re.IGNORECASE)
_UNSUPPORTED_ALIASES = {
    "@reboot": "there is no boot to run at: tasks run when a tick comes; use an entry with a time"
}


class CrontabSyntaxError(ValueError):  # noqa: N818
    """What is wrong in a line; ``line`` is its number, from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


@dataclass(frozen=True, slots=True)
class CrontabEntry:
    """A line that runs a command.

    ``schedule`` is its five fields or alias, as written; ``variables`` are those set above it;
    ``name`` is what a comment directly above calls it, or None; ``stdin`` is what follows the first
    ``%``, or None.
    """

    line: int
    schedule: str
    command: str
    stdin: str | None
    variables: Mapping[str, str]
    name: str | None = None


def parse_crontab(data: bytes) -> list[CrontabEntry]:
    """Return the entries of a crontab. Raises Problem for the first line that is wrong."""
    entries: list[CrontabEntry] = []
    variables: dict[str, str] = {}
    name: str | None = None
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, raw in enumerate(lines, 1):
        line = _decode_line(number, raw).lstrip()
        if line.startswith("#"):
            named = _NAME_COMMENT.fullmatch(line)
            name = named[1] if named else name
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
    """Return the command, and what follows the first ``%`` that no backslash is before of."""
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
    lines = re.sub(r"(\\?)%", lambda found: "%" if found[1] else "\n", text)
    return lines if not lines or lines.endswith("\n") else f"{lines}\n"
