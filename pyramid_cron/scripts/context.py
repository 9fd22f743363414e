"""What every command is given."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from pyramid.request import Request

from ..control import Scheduler
from ..state import Cronwork
from .errors import CommandFailedError
from .moments import moment
from .output import Output


@dataclass(frozen=True, slots=True)
class Context:
    """The application, what was asked of it, and where the answer goes."""

    args: Namespace
    request: Request
    cron: Cronwork
    out: Output
    now: datetime

    @property
    def scheduler(self) -> Scheduler:
        """What ``request.cron`` is."""
        found: Scheduler = self.request.cron
        return found

    @property
    def zone(self) -> ZoneInfo:
        """The zone of ``cron.timezone``."""
        return self.out.zone

    def moment(self, text: str, option: str) -> datetime:
        """Return a moment as typed, in UTC."""
        return moment(text, option, self.now, self.zone)

    def span(self) -> tuple[datetime, datetime]:
        """Return ``--since`` and ``--until``, in UTC and in order."""
        since = self.moment(self.args.since, "--since")
        until = self.moment(self.args.until, "--until")
        if since >= until:
            raise CommandFailedError(
                f"--since {self.args.since!r} is not before --until {self.args.until!r}"
            )
        return since, until
