"""Gaps and overlaps: how the local clock of a zone relates to UTC.

A zone's history is read as *stretches*, spans of UTC in which local time runs evenly. All moments
here are whole seconds since the Unix epoch, all offsets whole seconds east of UTC.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

UTC = ZoneInfo("UTC")

# Files that systems keep beside IANA's; those below right/ count leap seconds.
_OF_A_HOST = re.compile(r"localtime|posixrules|(posix|right)/.*", re.DOTALL)

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
DAY = 86_400

#: The first second of year 1 and the first second after year 9999.
FIRST = (datetime.min.replace(tzinfo=timezone.utc) - EPOCH) // timedelta(seconds=1)
BEYOND = (datetime.max.replace(tzinfo=timezone.utc) - EPOCH) // timedelta(seconds=1) + 1

# The offset is sampled this often. In the whole of tzdata no two changes lie closer together than
# 3.98 days (Freetown, 1939), so none hides between two samples.
_STEP = 3 * DAY
_WINDOW = 122 * _STEP


class Stretch(NamedTuple):
    """A span of UTC (``start <= at < end``) in which local time is UTC plus ``offset``."""

    start: int
    end: int
    offset: int
    #: Whether the local times in here have all happened before (``fold=1``).
    second_pass: bool
    #: How many local seconds were skipped directly before ``start``: those from
    #: ``start + offset - gap`` up to, but not including, ``start + offset``.
    gap: int


_UNSHIFTED = Stretch(FIRST, BEYOND, 0, False, 0)


def named(timezone: object) -> ZoneInfo:
    """Return the zone with this IANA name; ValueError when there is none.

    What only a host calls by a name is none: other hosts mean another zone by it, or have none.
    """
    try:
        if isinstance(timezone, str) and not _OF_A_HOST.fullmatch(timezone):
            return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        pass
    raise ValueError(
        f"timezone={timezone!r}: no such time zone; use an IANA name such as 'Europe/Berlin'"
    )


def stretch(zone: ZoneInfo, at: int) -> Stretch:
    """Return the stretch of ``zone`` that contains the moment ``at``.

    Stretches end where the offset changes and where the second pass of an overlap ends. They may
    end elsewhere too; what follows then continues evenly, with a ``gap`` of 0.
    """
    if zone is UTC:
        return _UNSHIFTED
    pieces, n = _window(zone, at // _WINDOW), 0
    while at >= pieces[n].end:
        n += 1
    return pieces[n]


@lru_cache(maxsize=4096)
def _window(zone: ZoneInfo, index: int) -> tuple[Stretch, ...]:
    start = index * _WINDOW
    # An overlap that began shortly before the window may reach into it; none is longer than a day.
    pieces = _pieces(zone, start - _STEP, start + _WINDOW)
    return tuple(
        piece if piece.start >= start else piece._replace(start=start, gap=0)
        for piece in pieces
        if piece.end > max(start, piece.start)
    )


def _pieces(zone: ZoneInfo, start: int, end: int) -> list[Stretch]:
    """Cut [start, end) into stretches, some empty, by the latest local time ``reached`` so far."""
    pieces = []
    offset, gap = _offset(zone, start), 0
    reached = start + offset
    for at, shifted in [*_changes(zone, start, end), (end, 0)]:
        repeated = max(start, min(at, reached - offset))
        pieces.append(Stretch(start, repeated, offset, True, 0))
        pieces.append(Stretch(repeated, at, offset, False, gap))
        reached = max(reached, at + offset)
        gap = max(0, at + shifted - reached)
        start, offset = at, shifted
    return pieces


def _changes(zone: ZoneInfo, start: int, end: int) -> list[tuple[int, int]]:
    """Return the moments in (start, end] at which the offset changes, each with its new offset."""
    changes = []
    low, before = start, _offset(zone, start)
    for sample in range(start + _STEP, end + 1, _STEP):
        while _offset(zone, sample) != before:
            low = _first_change(zone, low, sample, before)
            before = _offset(zone, low)
            changes.append((low, before))
        low = sample
    return changes


def _first_change(zone: ZoneInfo, low: int, high: int, before: int) -> int:
    """Halve (low, high] down to the first moment whose offset is not ``before``."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, at: int) -> int:
    # Two days from the ends of the calendar, so that local time stays within it.
    at = min(max(at, FIRST + 2 * DAY), BEYOND - 2 * DAY)
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    assert offset is not None  # a ZoneInfo always knows
    return offset.days * DAY + offset.seconds
