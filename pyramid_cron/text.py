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
