"""Healthchecks: a URL for each check, pinged when a run starts and when it ends."""

from __future__ import annotations

import re
import uuid

from ..settings import Settings
from .delivery import DeliveryError, Monitor, Report, ReportKind
from .http_client import get, post

_PING_SUFFIXES = {
    ReportKind.START: "/start",
    ReportKind.SUCCESS: "",
    ReportKind.FAILURE: "/fail",
    ReportKind.RETRYING: "/log",
}
_CHECK_SLUG = re.compile(r"[A-Za-z0-9_-]+")


class Healthchecks(Monitor):
    """Reports to healthchecks.io, or to an installation of Healthchecks."""

    name = "healthchecks"

    def __init__(self, settings: Settings) -> None:
        self._url = settings.healthchecks_url
        self._ping_key = settings.healthchecks_ping_key

    def problem(self, monitor: str) -> str | None:
        """Return why no check can have this name, or None."""
        if _parse_uuid(monitor) is not None:
            return None
        if not _CHECK_SLUG.fullmatch(monitor):
            return (
                "Healthchecks knows checks by UUID, or by a slug of ASCII letters, digits,"
                " hyphens and underscores"
            )
        if self._ping_key is None:
            return "a slug needs the setting cron.healthchecks.ping_key; without it, use a UUID"
        return None

    def send(self, report: Report) -> None:
        """Ping the check; a failure has its text as the body."""
        check_id = _parse_uuid(report.monitor)
        check = str(check_id) if check_id else f"{self._ping_key}/{report.monitor}"
        url = f"{self._url}/{check}{_PING_SUFFIXES[report.kind]}?rid={report.id}"
        answer = (post(url, report.text) if report.text else get(url)).strip()
        # Some refusals are answered with 200: "OK (not found)", "OK (rate limited)".
        if not re.match(r"ok(?! \()|created|\Z", answer, re.IGNORECASE):
            raise DeliveryError(f"{self._url} answered {answer[:60]!r}", is_check_specific=True)


def _parse_uuid(monitor: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(monitor) if re.fullmatch(r"[0-9A-Fa-f-]{32,36}", monitor) else None
    except ValueError:
        return None
