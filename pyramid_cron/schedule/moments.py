"""Between aware datetimes and whole seconds since the Unix epoch."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo

from .zones import DAY_SECONDS, EPOCH


def floor_second(moment: datetime, argument: str) -> int:
    """Return the last whole second at or before ``moment``; ``what`` names it in the error."""
    try:
        since = moment - EPOCH
    except TypeError:
        raise ValueError(
            f"{argument}={moment!r}: use an aware datetime, such as datetime.now(timezone.utc)"
        ) from None
    return since.days * DAY_SECONDS + since.seconds


def to_utc(moment: datetime, argument: str) -> datetime:
    """Return an aware moment in UTC; ``what`` names it in the error."""
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
    """Return the first whole second at or after ``moment``; ``what`` names it in the error."""
    at = floor_second(moment, argument)
    return at + (moment - EPOCH > timedelta(0, at))


def second_to_utc(second: int | None) -> datetime | None:
    """Return the moment ``second``, in UTC."""
    return None if second is None else EPOCH + timedelta(0, second)
