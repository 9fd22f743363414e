"""Between aware datetimes and whole seconds since the Unix epoch."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo

from .zone import DAY, EPOCH


def floor(moment: datetime, what: str) -> int:
    """Return the last whole second at or before ``moment``; ``what`` names it in the error."""
    try:
        since = moment - EPOCH
    except TypeError:
        raise ValueError(
            f"{what}={moment!r}: use an aware datetime, such as datetime.now(timezone.utc)"
        ) from None
    return since.days * DAY + since.seconds


def in_utc(moment: datetime, what: str) -> datetime:
    """Return an aware moment in UTC; ``what`` names it in the error."""
    floor(moment, what)
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError(f"{what}={moment!r}: is beyond the calendar in UTC") from None


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return an aware moment in a zone to show it, or in UTC where the zone's calendar ends."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(timezone.utc)


def ceiling(moment: datetime, what: str) -> int:
    """Return the first whole second at or after ``moment``; ``what`` names it in the error."""
    at = floor(moment, what)
    return at + (moment - EPOCH > timedelta(0, at))


def slot(second: int | None) -> datetime | None:
    """Return the moment ``second``, in UTC."""
    return None if second is None else EPOCH + timedelta(0, second)
