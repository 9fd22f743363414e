"""Monitors by HTTP: Healthchecks, whose checks have a URL each, and SteadyCron by two requests."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..settings import Settings
from ..version import __version__
from .delivery import DeliveryError, Monitor, Report, ReportKind

MONITOR_TIMEOUT_SECONDS = 5.0
"""Seconds that a monitor has to answer."""

_MAX_ANSWER_BYTES = 10_000
"""Bytes of an answer that are read."""


def get(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> str:
    """Request a URL, which may be secret, by GET; return the beginning of the answer's text.

    Raises DeliveryError for any status but 200 to 299, and without an answer in time.
    """
    return _request(url, None, headers)


def post(url: str, text: str) -> str:
    """Do the same by POST, with a text that may be empty."""
    headers = {"Content-Type": "text/plain; charset=utf-8"} if text else {}
    return _request(url, text.encode("utf-8", "replace"), headers)


def _request(url: str, body: bytes | None, headers: Mapping[str, str]) -> str:
    headers = {"User-Agent": f"pyramid_cron/{__version__}", **headers}
    request = urllib.request.Request(url, body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=MONITOR_TIMEOUT_SECONDS) as response:  # noqa: S310
            answer: bytes = response.read(_MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        cause = f"{_host_of(url)} answered {error.code} {error.reason}"
        raise DeliveryError(cause, is_check_specific=error.code < 500, status=error.code) from None
    except urllib.error.URLError as error:
        raise DeliveryError(f"{_host_of(url)}: {_describe_failure(error.reason)}") from None
    except OSError as error:
        raise DeliveryError(f"{_host_of(url)}: {_describe_failure(error)}") from None
    except http.client.HTTPException as error:
        raise DeliveryError(f"{_host_of(url)}: no HTTP ({type(error).__name__})") from None
    return answer.decode("utf-8", "replace")


def _describe_failure(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer in {MONITOR_TIMEOUT_SECONDS:g} s"
    return str(reason) or type(reason).__name__


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


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
    kinds = frozenset(_PING_SUFFIXES)

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
        """Ping."""
        assert report.id is not None
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
