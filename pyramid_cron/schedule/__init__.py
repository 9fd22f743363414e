"""When a task runs: schedules over aware datetimes, right through daylight saving."""

from .cron import Cron
from .interval import At, Every
from .protocol import Schedule

__all__ = ["At", "Cron", "Every", "Schedule"]
