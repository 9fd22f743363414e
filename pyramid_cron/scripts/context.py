"""What every command is given."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from pyramid.request import Request

from ..app import CronApp
from ..scheduler import Scheduler
from .errors import CommandFailedError
from .moments import parse_moment_option
from .output import CommandOutput


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The application, what was asked of it, and where the answer goes."""

    args: Namespace
    request: Request
    cron: CronApp
    output: CommandOutput
    now: datetime

    @property
    def scheduler(self) -> Scheduler:
        """What ``request.cron`` is."""
        found: Scheduler = self.request.cron
        return found

    @property
    def zone(self) -> ZoneInfo:
        """The zone of ``cron.timezone``."""
        return self.output.zone

    def parse_moment(self, text: str, option: str) -> datetime:
        """Return a moment as typed, in UTC."""
        return parse_moment_option(text, option, self.now, self.zone)

    def parse_range(self) -> tuple[datetime, datetime]:
        """Return ``--since`` and ``--until``, in UTC and in order."""
        since = self.parse_moment(self.args.since, "--since")
        until = self.parse_moment(self.args.until, "--until")
        if since >= until:
            raise CommandFailedError(
                f"--since {self.args.since!r} is not before --until {self.args.until!r}"
            )
        return since, until
