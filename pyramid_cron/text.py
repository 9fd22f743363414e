"""How text, names and moments are written, for everything that users read."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from datetime import datetime

ESCAPED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""The Unicode categories of what steers a terminal, begins a line, or reorders other text."""


def escape_unprintable(text: str, allow: str = "") -> str:
    r"""Return the text with line ends, control and format characters escaped, as ``\n``, ``\x1b``.

    So it stays on one line, and neither a terminal nor a browser obeys anything in it. Characters
    of ``allow`` are left as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character in allow or unicodedata.category(character) not in ESCAPED_CATEGORIES
        else repr(character)[1:-1]
        for character in text
    )


def suggest(text: str, names: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` with the name that is most like a text, or nothing."""
    nearest = difflib.get_close_matches(text, list(names), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def format_instant(moment: datetime) -> str:
    """Return an aware moment in UTC as ISO 8601 with Z: ``2026-12-01T09:00:00Z``."""
    return moment.isoformat().replace("+00:00", "Z")


MAX_RUN_TEXT_BYTES = 64 * 1024
"""Bytes of UTF-8 that are stored of any one text of a run: the last ones."""


def make_storable(text: str) -> str:
    """Return the text as every database can store it: no NUL, no lone surrogate, not too long."""
    data = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace")
    return data[-MAX_RUN_TEXT_BYTES:].decode("utf-8", "ignore")


MAX_ERROR_CHARACTERS = 1000
"""Characters that the error of a run may have: lists, log lines and alarms show it whole."""


def truncate_error(text: str) -> str:
    """Return the text as every database can store it, cut with an ellipsis if it is too long."""
    error = make_storable(text[: MAX_ERROR_CHARACTERS + 1])
    return error if len(error) <= MAX_ERROR_CHARACTERS else f"{error[: MAX_ERROR_CHARACTERS - 1]}…"
