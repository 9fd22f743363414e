"""Which tasks are paused when: the newest word on a task counts."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class PauseRule:
    """That tasks whose names match ``pattern`` are paused, or resumed, from ``moment`` on.

    A pause ends at ``until`` where that is set. Moments are aware, in UTC.
    """

    since: datetime
    is_pause: bool
    pattern: str
    until: datetime | None = None
    reason: str | None = None


def active_pause(name: str, at: datetime, rules: Sequence[PauseRule]) -> PauseRule | None:
    """Return the pause that the task is in at a moment, or None. ``words`` are oldest first."""
    for word in reversed(rules):
        if word.since <= at and name_matcher(word.pattern)(name):
            lasts = word.is_pause and (word.until is None or at < word.until)
            return word if lasts else None
    return None


def changes(words: Sequence[PauseRule]) -> set[datetime]:
    """Return the moments at which any task may begin or cease to be paused."""
    return {moment for word in words for moment in (word.since, word.until) if moment is not None}


@lru_cache(maxsize=256)
def name_matcher(pattern: str) -> Callable[[str], object]:
    """Return what tells whether a task's name matches: a glob, or with ``re:`` in front a regex.

    A regular expression may match anywhere in the name. Raises ValueError for one that is wrong.
    """
    if not pattern.startswith("re:"):
        return re.compile(fnmatch.translate(pattern)).match
    try:
        return re.compile(pattern[3:]).search
    except re.error as error:
        raise ValueError(f"pattern={pattern!r}: no regular expression: {error}") from error
