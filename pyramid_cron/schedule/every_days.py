"""`EveryDays`: a time of day on each so many days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from .cron import Cron
from .dates import DateRule
from .describe import describe_interval
from .fields import DAY_FIELD, DOW_FIELD, MONTH_FIELD
from .parser import CronFields
from .quantities import parse_integer
from .search import highest_bit
from .zones import DAY_SECONDS, EPOCH_ORDINAL

#: The first Monday after the Unix epoch, in days since that.
FIRST_MONDAY_EPOCH_DAY = 4

#: The longest cycle, in days: ten years.
MAX_CYCLE_DAYS = 3650


@dataclass(frozen=True, slots=True)
class CyclicDateRule(DateRule):
    """A rule for dates: each ``length`` days, one of which is ``phase`` days after 1970-01-01."""

    length: int
    phase: int

    def day_mask(self, year: int, month: int) -> int:
        """Return the days of this month which the rule names, as bits 1 to 31."""
        first = date(year, month, 1).toordinal() - EPOCH_ORDINAL
        end = date(year + month // 12, month % 12 + 1, 1) if (year, month) < (9999, 12) else None
        length = 31 if end is None else end.toordinal() - EPOCH_ORDINAL - first
        start = (self.phase - first) % self.length
        return sum(2 << day for day in range(start, length, self.length))


class EveryDays(Cron):
    """A fixed time of day on each so many days, by the local calendar of a zone.

    ``days`` is 1 to 3650. Counting from 1970-01-01, or with ``phase`` from so many days later, lets
    every host agree on the dates. Zones and daylight saving are as for
    :class:`~pyramid_cron.Cron`.

    Raises ValueError for what is out of range.
    """

    __slots__ = ()

    def __init__(
        self,
        days: int,
        *,
        hour: int = 0,
        min: int = 0,  # noqa: A002
        phase: int = 0,
        timezone: str | None = None,
    ) -> None:
        days = parse_integer("days", days, 1, MAX_CYCLE_DAYS)
        hour = parse_integer("hour", hour, 0, 23)
        min = parse_integer("min", min, 0, 59)  # noqa: A001
        phase = parse_integer("phase", phase, 0, MAX_CYCLE_DAYS)
        dates = CyclicDateRule(
            *(
                DAY_FIELD.full_mask,
                False,
                MONTH_FIELD.full_mask,
                DOW_FIELD.full_mask,
                None,
                False,
                False,
            ),
            length=days,
            phase=phase % days,
        )
        self._init(CronFields(1 << min, 1 << hour, dates, is_wildcard=False), timezone)

    def _describe_times(self) -> str:
        days, phase = self._cycle
        time = f"at {self._hour:02}:{self._minute:02}"
        if days % 7 or phase % 7 != FIRST_MONDAY_EPOCH_DAY:
            return f"{time} {describe_interval(days * DAY_SECONDS)}"
        return f"{time} on " + ("Mondays" if days == 7 else f"Monday, every {days // 7} weeks")

    def crontab(self) -> str:
        """Raise ValueError: a crontab can't count days."""
        raise ValueError(f"{self!r}: a crontab has no way to count days")

    def _repr_arguments(self) -> str:
        days, phase = self._cycle
        return f"{days}, hour={self._hour}, min={self._minute}, phase={phase}"

    @property
    def _cycle(self) -> tuple[int, int]:
        dates = self.fields.dates
        assert isinstance(dates, CyclicDateRule)  # made in no other way
        return dates.length, dates.phase

    @property
    def _hour(self) -> int:
        return highest_bit(self.fields.hours)

    @property
    def _minute(self) -> int:
        return highest_bit(self.fields.minutes)
