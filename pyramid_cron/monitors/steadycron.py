"""SteadyCron: the two requests that its own SDK makes."""

from __future__ import annotations

import json
import os
import time
from typing import Any
from urllib.parse import urlencode

from ..settings import Settings
from .delivery import DeliveryError, Monitor, Report, ReportKind
from .http_client import get, post

TOKEN_LIFETIME_SECONDS = 3600.0
"""Seconds that a token is used before it is requested again."""

MAX_MESSAGE_BYTES = 1024
"""Bytes of UTF-8 that SteadyCron takes of a message."""

_SUFFIXES = {ReportKind.START: "/start", ReportKind.SUCCESS: "", ReportKind.FAILURE: "/fail"}
_REFUSALS = {
    404: "SteadyCron knows no such key",
    409: "SteadyCron knows several jobs with this key",
}


class SteadyCron(Monitor):
    """Reports to SteadyCron, each run under one run id."""

    name = "steadycron"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tokens: dict[str, tuple[str, float]] = {}

    def problem(self, monitor: str) -> str | None:
        """Return why there is no token for this name; None if there is one."""
        if monitor in self._settings.steadycron_tokens or self._api_key():
            return None
        return (
            "SteadyCron needs the setting cron.steadycron.api_key, or a line for this name in"
            " cron.steadycron.tokens"
        )

    def send(self, report: Report) -> None:
        """Ping; a failure that is retried is not reported."""
        if report.kind is ReportKind.RETRYING:
            return
        settings = self._settings
        environment = settings.steadycron_environment or os.environ.get("STEADYCRON_ENVIRONMENT")
        query = {"env": environment} if environment else {}
        query["run_id"] = report.id.hex
        message = _truncate(report.text) if settings.steadycron_capture_errors else ""
        path = f"{self._token(report.monitor)}{_SUFFIXES[report.kind]}?{urlencode(query)}"
        try:
            post(f"{settings.steadycron_ping_url}/{path}", message)
        except DeliveryError:
            self._tokens.pop(report.monitor, None)  # the token may be the cause
            raise

    def ask(self, monitor: str) -> None:
        """Ask for the token of this name, unless the settings have it."""
        self._token(monitor)

    def _api_key(self) -> str | None:
        return self._settings.steadycron_api_key or os.environ.get("STEADYCRON_API_KEY")

    def _token(self, monitor: str) -> str:
        if (direct := self._settings.steadycron_tokens.get(monitor)) is not None:
            return direct
        token, until = self._tokens.get(monitor, ("", 0.0))
        if time.monotonic() >= until:
            token = self._resolve(monitor)
            self._tokens[monitor] = token, time.monotonic() + TOKEN_LIFETIME_SECONDS
        return token

    def _resolve(self, monitor: str) -> str:
        """Ask the API for the token of a key."""
        url = f"{self._settings.steadycron_api_url}/api/monitors/resolve"
        headers = {"Authorization": f"Bearer {self._api_key()}"}
        try:
            answer = get(f"{url}?{urlencode({'key': monitor})}", headers)
        except DeliveryError as error:
            if error.status in _REFUSALS:
                raise DeliveryError(_REFUSALS[error.status], is_check_specific=True) from None
            raise
        job = _parse_object(answer)
        if (kind := job.get("kind")) not in ("heartbeat", None):
            raise DeliveryError(
                f"the job is of kind {str(kind)[:60]!r}, and no heartbeat", is_check_specific=True
            )
        token = job.get("ping_token")
        if kind is None or not token or not isinstance(token, str):
            raise DeliveryError(f"{self._settings.steadycron_api_url} answered without a token")
        return token


def _parse_object(answer: str) -> dict[str, Any]:
    """Return the JSON object of an answer, an empty one if it has none."""
    try:
        data = json.loads(answer)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _truncate(message: str) -> str:
    """Return the beginning of a message that SteadyCron takes, in whole characters."""
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return message
    return encoded[: MAX_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "..."
