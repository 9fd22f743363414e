"""Which tasks are paused when: of the rules that match a task, the newest counts."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class PauseRule:
    """Tasks whose names match a pattern are paused or resumed. Moments are aware, in UTC."""

    since: datetime
    #: True for a pause, False for a resume.
    is_pause: bool
    #: A glob, or a regular expression after ``re:``.
    pattern: str
    #: The end of a pause; None if it has no end.
    until: datetime | None = None
    reason: str | None = None
    #: Whether the task gave up: its ``pause_after`` paused it, and nobody else.
    is_give_up: bool = False


def active_pause(
    name: str, at: datetime, rules: Sequence[PauseRule], schedule: str | None = None
) -> PauseRule | None:
    """Return the pause that a task is in at a moment, or None. ``rules`` are oldest first.

    Of a stored schedule of the task, rules may match the one name or the other.
    """
    for rule in reversed(rules):
        if rule.since <= at and _applies(rule, name, schedule):
            is_paused = rule.is_pause and (rule.until is None or at < rule.until)
            return rule if is_paused else None
    return None


def _applies(rule: PauseRule, name: str, schedule: str | None) -> bool:
    matches = name_matcher(rule.pattern)
    return bool(matches(name) or (schedule is not None and matches(schedule)))


def list_pause_changes(rules: Sequence[PauseRule]) -> set[datetime]:
    """Return the moments at which a pause of any task may begin or end."""
    return {moment for rule in rules for moment in (rule.since, rule.until) if moment is not None}


@lru_cache(maxsize=256)
def name_matcher(pattern: str) -> Callable[[str], object]:
    """Return the test whether a task's name matches a glob, or after ``re:`` a regular expression.

    A regular expression may match anywhere in the name. Raises ValueError for one that is wrong.
    """
    if not pattern.startswith("re:"):
        return re.compile(fnmatch.translate(pattern)).match
    try:
        return re.compile(pattern[3:]).search
    except re.error as error:
        raise ValueError(f"pattern={pattern!r}: no regular expression: {error}") from error
