"""The accounts of this machine, and which words of a crontab's line are one of them."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Mapping

from .crontab_syntax import CrontabEntry, CrontabSyntaxError

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
