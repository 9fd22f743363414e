"""Which tasks are paused when: the newest word on a task counts."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Word:
    """That tasks whose names match ``pattern`` are paused, or resumed, from ``moment`` on.

    A pause ends at ``until`` where that is set. Moments are aware, in UTC.
    """

    moment: datetime
    pauses: bool
    pattern: str
    until: datetime | None = None
    reason: str | None = None


def paused(name: str, at: datetime, words: Sequence[Word]) -> Word | None:
    """Return the pause that the task is in at a moment, or None. ``words`` are oldest first."""
    for word in reversed(words):
        if word.moment <= at and matcher(word.pattern)(name):
            lasts = word.pauses and (word.until is None or at < word.until)
            return word if lasts else None
    return None


def changes(words: Sequence[Word]) -> set[datetime]:
    """Return the moments at which any task may begin or cease to be paused."""
    return {moment for word in words for moment in (word.moment, word.until) if moment is not None}


@lru_cache(maxsize=256)
def matcher(pattern: str) -> Callable[[str], object]:
    """Return what tells whether a task's name matches: a glob, or with ``re:`` in front a regex.

    A regular expression may match anywhere in the name. Raises ValueError for one that is wrong.
    """
    if not pattern.startswith("re:"):
        return re.compile(fnmatch.translate(pattern)).match
    try:
        return re.compile(pattern[3:]).search
    except re.error as error:
        raise ValueError(f"pattern={pattern!r}: no regular expression: {error}") from error
