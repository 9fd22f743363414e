"""When a task runs: schedules over aware datetimes, right through daylight saving."""

from .base import Schedule
from .cron import Cron
from .every import At, Every

__all__ = ["At", "Cron", "Every", "Schedule"]
