"""Gaps and overlaps: how the local clock of a zone relates to UTC.

A zone's history is read as spans of UTC in which its offset is constant. All moments here are whole
seconds since the Unix epoch, all offsets whole seconds east of UTC.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

UTC = ZoneInfo("UTC")

# Files that systems keep beside IANA's; those below right/ count leap seconds.
_HOST_ZONE_NAME = re.compile(r"localtime|posixrules|(posix|right)/.*", re.DOTALL)

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
DAY_SECONDS = 86_400

#: The first second of year 1 and the first second after year 9999.
FIRST_SECOND = (datetime.min.replace(tzinfo=timezone.utc) - EPOCH) // timedelta(seconds=1)
END_SECOND = (datetime.max.replace(tzinfo=timezone.utc) - EPOCH) // timedelta(seconds=1) + 1

# The offset is sampled this often. In the whole of tzdata no two changes lie closer together than
# 3.98 days (Freetown, 1939), so none hides between two samples.
_SAMPLE_STEP_SECONDS = 3 * DAY_SECONDS
_WINDOW_SECONDS = 122 * _SAMPLE_STEP_SECONDS


class OffsetSpan(NamedTuple):
    """A span of UTC (``start <= second < end``) in which local time is UTC plus ``offset``."""

    start: int
    end: int
    offset: int
    #: Whether the local times in here have all happened before (``fold=1``).
    is_repeated: bool
    #: How many local seconds were skipped directly before ``start``: those from
    #: ``start + offset - gap`` up to, but not including, ``start + offset``.
    gap: int


_UTC_SPAN = OffsetSpan(FIRST_SECOND, END_SECOND, 0, False, 0)


def get_zone(timezone: object) -> ZoneInfo:
    """Return the zone with this IANA name; ValueError when there is none.

    A name that only this host knows, such as ``localtime``, is refused: elsewhere it is
    another zone or none.
    """
    try:
        if isinstance(timezone, str) and not _HOST_ZONE_NAME.fullmatch(timezone):
            return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        pass
    raise ValueError(
        f"timezone={timezone!r}: no such time zone; use an IANA name such as 'Europe/Berlin'"
    )


def offset_span_at(zone: ZoneInfo, second: int) -> OffsetSpan:
    """Return the span of ``zone`` that contains ``second``.

    Spans end where the offset changes and where the second pass of an overlap ends. They may end
    elsewhere too; the next one then has the same offset and a ``gap`` of 0.
    """
    if zone is UTC:
        return _UTC_SPAN
    spans, n = _spans_in_window(zone, second // _WINDOW_SECONDS), 0
    while second >= spans[n].end:
        n += 1
    return spans[n]


@lru_cache(maxsize=4096)
def _spans_in_window(zone: ZoneInfo, index: int) -> tuple[OffsetSpan, ...]:
    start = index * _WINDOW_SECONDS
    # An overlap that began shortly before the window may reach into it; none is longer than a day.
    spans = _cut_spans(zone, start - _SAMPLE_STEP_SECONDS, start + _WINDOW_SECONDS)
    return tuple(
        span if span.start >= start else span._replace(start=start, gap=0)
        for span in spans
        if span.end > max(start, span.start)
    )


def _cut_spans(zone: ZoneInfo, start: int, end: int) -> list[OffsetSpan]:
    """Cut [start, end) into spans, some of them empty."""
    spans = []
    offset, gap = _offset_at(zone, start), 0
    latest_local = start + offset
    for at, next_offset in [*_offset_changes(zone, start, end), (end, 0)]:
        repeated_until = max(start, min(at, latest_local - offset))
        spans.append(OffsetSpan(start, repeated_until, offset, True, 0))
        spans.append(OffsetSpan(repeated_until, at, offset, False, gap))
        latest_local = max(latest_local, at + offset)
        gap = max(0, at + next_offset - latest_local)
        start, offset = at, next_offset
    return spans


def _offset_changes(zone: ZoneInfo, start: int, end: int) -> list[tuple[int, int]]:
    """Return the moments in (start, end] at which the offset changes, each with its new offset."""
    changes = []
    low, offset = start, _offset_at(zone, start)
    for sample in range(start + _SAMPLE_STEP_SECONDS, end + 1, _SAMPLE_STEP_SECONDS):
        while _offset_at(zone, sample) != offset:
            low = _find_change(zone, low, sample, offset)
            offset = _offset_at(zone, low)
            changes.append((low, offset))
        low = sample
    return changes


def _find_change(zone: ZoneInfo, low: int, high: int, previous_offset: int) -> int:
    """Halve (low, high] down to the first second whose offset is not ``previous_offset``."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_at(zone, middle) == previous_offset:
            low = middle
        else:
            high = middle
    return high


def _offset_at(zone: ZoneInfo, second: int) -> int:
    # Two days from the ends of the calendar, so that local time stays within it.
    second = min(max(second, FIRST_SECOND + 2 * DAY_SECONDS), END_SECOND - 2 * DAY_SECONDS)
    offset = datetime.fromtimestamp(second, zone).utcoffset()
    assert offset is not None  # a ZoneInfo always knows
    return offset.days * DAY_SECONDS + offset.seconds


def parse_moment(text: str, zone: tzinfo | None = None) -> datetime:
    """Return the moment that ISO 8601 text says, in UTC.

    The text is in the extended format, ``2026-12-01T09:00:00+01:00`` or with ``Z``, or a date alone
    for its midnight. Without an offset it is local time in ``zone``: one that happens twice means
    the first; one that is skipped is as far after the gap as it is after the gap's beginning.

    Raises ValueError for anything else, for text without an offset where there is no ``zone``, and
    for moments beyond the calendar in UTC.
    """
    try:
        # Python 3.10 doesn't read the Z, nor other formats than the extended one.
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text.strip()))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return to_utc(moment, "moment")
    except ValueError:
        offset = "" if zone else " with an offset from UTC"
        raise ValueError(f"{text!r} is no moment in ISO 8601{offset}") from None


def parse_instant(argument: str, value: object) -> datetime:
    """Return an aware datetime, or ISO 8601 text with an offset, in UTC.

    Raises ValueError, naming the argument, for anything else.
    """
    try:
        if isinstance(value, str):
            return parse_moment(value)
        if isinstance(value, datetime):
            return to_utc(value, argument)
    except ValueError:
        pass
    raise ValueError(
        f"{argument}={value!r}: use an aware datetime or ISO 8601 text in the extended format with"
        " an offset, such as '2026-12-01T09:00:00+01:00'"
    )


#: The first moment of a span and the first after it, in UTC.
MomentSpan = tuple[datetime, datetime]


def date_span(moment: datetime, zone: tzinfo) -> MomentSpan | None:
    """Return the span of the local date of a moment, in UTC.

    None for a date on which the clock shifts, whose times may be cut in two by another date's, and
    at the ends of the calendar.
    """
    try:
        day = moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        following_day = day + timedelta(days=1)
        if day.utcoffset() != following_day.utcoffset():
            return None
        return day.astimezone(timezone.utc), following_day.astimezone(timezone.utc)
    except OverflowError:
        return None


def floor_second(moment: datetime, argument: str) -> int:
    """Return the last whole second at or before ``moment``; ``argument`` names it in the error."""
    try:
        since = moment - EPOCH
    except TypeError:
        raise ValueError(
            f"{argument}={moment!r}: use an aware datetime, such as datetime.now(timezone.utc)"
        ) from None
    return since.days * DAY_SECONDS + since.seconds


def to_utc(moment: datetime, argument: str) -> datetime:
    """Return an aware moment in UTC; ``argument`` names it in the error."""
    floor_second(moment, argument)
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError(f"{argument}={moment!r}: is beyond the calendar in UTC") from None


def to_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return an aware moment in a zone to show it, or in UTC where the zone's calendar ends."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(timezone.utc)


def ceil_second(moment: datetime, argument: str) -> int:
    """Return the first whole second at or after ``moment``; ``argument`` names it in the error."""
    at = floor_second(moment, argument)
    return at + (moment - EPOCH > timedelta(0, at))


def second_to_utc(second: int | None) -> datetime | None:
    """Return the moment ``second`` in UTC; None for None and beyond the calendar."""
    if second is None or not FIRST_SECOND <= second < END_SECOND:
        return None
    return EPOCH + timedelta(0, second)
