"""Sentry: check-ins through its own SDK, each with the configuration of its monitor."""

from __future__ import annotations

import math
import re
from collections import deque
from datetime import timedelta
from typing import Any

import sentry_sdk
from pyramid.exceptions import ConfigurationError
from sentry_sdk.crons import capture_checkin

from ..schedule import Cron, Every
from ..settings import Settings
from ..task import Task
from .delivery import DeliveryError, Monitor, Report, ReportKind

SENTRY_TIMEOUT_SECONDS = 5.0
"""Seconds that Sentry has to accept a check-in."""

CHECKIN_MARGIN_MINUTES = 5
"""Minutes that a run may start late, beside the jitter of its task."""

MAX_RUNTIME_MINUTES = 28 * 24 * 60
"""The longest run that Sentry takes in a monitor's configuration."""

_STATUS = {ReportKind.START: "in_progress", ReportKind.SUCCESS: "ok", ReportKind.FAILURE: "error"}
_SLUG = re.compile(r"(?![0-9]+\Z)[A-Za-z0-9_-]{1,50}")


class Sentry(Monitor):
    """Reports to Sentry, each run under one check-in id."""

    name = "sentry"

    def __init__(self, settings: Settings) -> None:
        self._dsn, self._environment = settings.sentry_dsn, settings.sentry_environment
        self._client: Any = None
        try:
            if self._dsn is not None:
                self._client = self._make_client(self._dsn)
        except ValueError as error:
            raise ConfigurationError(
                f"cron.sentry.dsn: {error}; expected a DSN such as https://key@host/1"
            ) from None

    def problem(self, monitor: str) -> str | None:
        """Return why no monitor can have this slug, or None."""
        if _SLUG.fullmatch(monitor):
            return None
        return (
            "Sentry knows monitors by a slug of up to 50 ASCII letters, digits, hyphens and"
            " underscores, not all of them digits"
        )

    def send(self, report: Report) -> None:
        """Check in."""
        assert report.id is not None
        is_own = self._dsn is not None or self._environment is not None
        client = self._own_client() if is_own else _client_of_application()
        with sentry_sdk.new_scope() as scope:
            scope.set_client(client)
            checkin_id = capture_checkin(
                monitor_slug=report.monitor,
                check_in_id=report.id.hex,
                status=_STATUS[report.kind],
                duration=report.duration,
                monitor_config=monitor_config(report.task),
            )
        if checkin_id is None:
            raise DeliveryError("sentry_sdk dropped the check-in")
        if is_own:
            client.flush(
                timeout=SENTRY_TIMEOUT_SECONDS + 1
            )  # the application flushes its own client
            client.transport.check()

    def _own_client(self) -> Any:
        """Return a client with the settings of this monitor."""
        if self._client is None:
            self._client = self._make_client(self._dsn or _client_of_application().dsn)
        return self._client

    def reset_after_fork(self) -> None:
        """Drop the client: its thread stays with the parent."""
        self._client = None

    def _make_client(self, dsn: str) -> Any:
        return sentry_sdk.Client(
            dsn=dsn,
            environment=self._environment,
            transport=_Transport,
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            enable_backpressure_handling=False,
            send_client_reports=False,
        )


def _client_of_application() -> Any:
    client = sentry_sdk.get_client()
    if not client.is_active():
        raise DeliveryError(
            "sentry_sdk is not initialised: call sentry_sdk.init, or set cron.sentry.dsn"
        )
    return client


class _Transport(sentry_sdk.HttpTransport):  # type: ignore[misc]
    """The SDK's own transport, which remembers whether it dropped a check-in."""

    TIMEOUT = SENTRY_TIMEOUT_SECONDS

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._drop_reasons: deque[str] = deque(maxlen=1)

    def on_dropped_event(self, reason: str) -> None:
        """Remember the reason."""
        self._drop_reasons.append(reason)

    def check(self) -> None:
        """Raise DeliveryError if anything was dropped since the last call."""
        if self._drop_reasons:
            raise DeliveryError(_explain_drop(self._drop_reasons.pop()))


def _explain_drop(reason: str) -> str:
    if reason.startswith("status_"):
        return f"Sentry answered {reason.removeprefix('status_')}"
    if reason == "network":
        return "no answer from Sentry"
    if reason == "self_rate_limits":
        return "Sentry asked for fewer check-ins"
    return f"the check-in was dropped ({reason})"


def monitor_config(task: Task) -> dict[str, Any] | None:
    """Return the configuration of a task's monitor; None if Sentry can't express its schedule."""
    schedule = _schedule(task)
    if schedule is None:
        return None
    jitter = timedelta(seconds=task.offset)
    config = {
        "schedule": schedule,
        "timezone": _timezone(task),
        "checkin_margin": CHECKIN_MARGIN_MINUTES + _minutes(jitter),
    }
    if task.timeout is not None:
        waits = [
            task.retry.delay_after(attempt) for attempt in range(1, min(task.retry.attempts, 1000))
        ]
        longest = sum(waits, task.timeout) + len(waits) * (task.timeout + _TICK_INTERVAL)
        config["max_runtime"] = min(_minutes(longest), MAX_RUNTIME_MINUTES)
    return config


_TICK_INTERVAL = timedelta(minutes=1)
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


def _schedule(task: Task) -> dict[str, Any] | None:
    if len(task.schedules) != 1 or task.fixed_delay is not None:
        return _interval(task.fixed_delay) if task.fixed_delay is not None else None
    [schedule] = task.schedules
    try:
        return {"type": "crontab", "value": schedule.crontab()}
    except ValueError:
        if isinstance(schedule, Every) and schedule.is_steady:
            return _interval(timedelta(seconds=schedule.seconds))
        return None


def _interval(every: timedelta) -> dict[str, Any] | None:
    for unit, length in _UNITS:
        count, remainder = divmod(int(every.total_seconds()), length)
        if count and not remainder:
            return {"type": "interval", "value": count, "unit": unit}
    return None


def _timezone(task: Task) -> str:
    """Return the zone of the schedule; an interval counts in UTC."""
    [schedule] = task.schedules
    if isinstance(schedule, Cron):
        return schedule.timezone or task.timezone
    return "UTC"


def _minutes(length: timedelta) -> int:
    return math.ceil(length.total_seconds() / 60)
