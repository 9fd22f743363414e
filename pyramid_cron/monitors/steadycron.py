"""SteadyCron: pings through its own SDK."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError

from pyramid.exceptions import ConfigurationError

from ..monitor_settings import MonitorSettings
from .http import TIMEOUT
from .report import Kind, Report, TroubleError

PATIENCE = 10.0
"""Seconds in which the API has to tell a token: the SDK would wait for ever."""

KEPT = 3600.0
"""Seconds that a token is used before it is asked for again."""

STUCK = 5
"""How many questions may be without an answer before no more are asked."""

_SUFFIXES = {Kind.START: "start", Kind.SUCCESS: None, Kind.FAILURE: "fail"}

_asking = threading.Lock()
# The SDK keeps its settings in its module, where two applications of a process would mix them up.


class SteadyCron:
    """Tells SteadyCron, of each run under one run id."""

    name = "steadycron"

    def __init__(self, settings: MonitorSettings) -> None:
        try:
            import steadycron
            from steadycron._ping import send_ping
            from steadycron._resolve import resolve_token
        except ImportError as error:
            raise ConfigurationError(
                f"cron.monitors: 'steadycron' can't use the package steadycron ({error}):"
                ' pip install "pyramid_cron[steadycron]"'
            ) from None
        self._sdk = steadycron
        self._ping, self._resolve = send_ping, resolve_token
        self._settings = settings
        self._kept: dict[str, tuple[str, float]] = {}
        self._stuck: list[threading.Thread] = []

    def problem(self, monitor: str) -> str | None:
        """Return why no token can be had for this name, or None."""
        if monitor in self._settings.steadycron_tokens or self._api_key():
            return None
        return (
            "SteadyCron needs the setting cron.steadycron.api_key, or a line for this name in"
            " cron.steadycron.tokens"
        )

    def send(self, report: Report) -> None:
        """Ping; a failure that is tried again is no failure, and not told."""
        if report.kind is Kind.AGAIN:
            return
        settings = self._settings
        with _noting() as trouble:
            self._ping(
                self._token(report.monitor),
                _SUFFIXES[report.kind],
                env=settings.steadycron_environment or os.environ.get("STEADYCRON_ENVIRONMENT"),
                run_id=report.id.hex,
                message=report.text if settings.steadycron_capture_errors else None,
                timeout=TIMEOUT,
                ping_url_base=settings.steadycron_ping_url,
            )
        if trouble:
            self._kept.pop(report.monitor, None)  # it may be the token
            raise TroubleError(trouble[0])

    def _api_key(self) -> str | None:
        found: str | None = self._settings.steadycron_api_key or os.environ.get(
            "STEADYCRON_API_KEY"
        )
        return found

    def _token(self, monitor: str) -> str:
        if (direct := self._settings.steadycron_tokens.get(monitor)) is not None:
            return direct
        token, until = self._kept.get(monitor, ("", 0.0))
        if time.monotonic() >= until:
            token = self._asked_for(monitor)
            self._kept[monitor] = token, time.monotonic() + KEPT
        return token

    def _asked_for(self, monitor: str) -> str:
        """Have the SDK ask the API, in a thread that can be left behind."""
        self._stuck = [each for each in self._stuck if each.is_alive()]
        if len(self._stuck) >= STUCK:
            raise TroubleError(f"{self._settings.steadycron_api_url} answers nothing any more")
        answer: list[str] = []
        failure: list[Exception] = []

        def ask() -> None:
            try:
                answer.append(self._resolve(monitor))
            except Exception as error:
                failure.append(error)

        asking = threading.Thread(target=ask, name="pyramid_cron steadycron API", daemon=True)
        with self._configured():
            asking.start()
            asking.join(PATIENCE)
        if failure:
            raise _explained(failure[0])
        if not answer:
            self._stuck.append(asking)
            raise TroubleError(f"{self._settings.steadycron_api_url}: no answer in {PATIENCE:g} s")
        return answer[0]

    @contextmanager
    def _configured(self) -> Iterator[None]:
        """Lend the SDK our settings; the application may use it with others."""
        sdk = self._sdk
        with _asking:
            before = sdk.api_key, sdk.api_url, sdk.monitors
            sdk.api_key, sdk.api_url = self._api_key(), self._settings.steadycron_api_url
            sdk.monitors = {}
            sdk.clear_cache()  # it goes by the name alone
            try:
                yield
            finally:
                sdk.api_key, sdk.api_url, sdk.monitors = before
                sdk.clear_cache()


def _explained(error: Exception) -> TroubleError:
    """Return what the API's answer means: it may know the name not, or twice."""
    if isinstance(answer := error.__cause__, HTTPError):
        answer.close()  # which the SDK leaves open
    # Its own exceptions have the key that they are about.
    alone = hasattr(error, "key")
    kind = type(error).__name__
    return TroubleError(f"{kind}: {error}" if str(error) else kind, alone=alone)


@contextmanager
def _noting() -> Iterator[list[str]]:
    """Note what the SDK would log of a ping that failed, which is all it does about it."""
    heard: list[str] = []
    me = threading.get_ident()

    def note(record: logging.LogRecord) -> bool:
        if record.thread != me:
            return True
        if record.levelno >= logging.WARNING:
            heard.append(_reason(record))
        return False

    logger = logging.getLogger("steadycron")
    logger.addFilter(note)
    try:
        yield heard
    finally:
        logger.removeFilter(note)


def _reason(record: logging.LogRecord) -> str:
    """Return what it says without the URL, which holds the token."""
    arguments: Any = record.args if isinstance(record.args, tuple) else ()
    return "the ping failed: " + (
        str(record.msg).replace(" to %s", "", 1) % arguments[1:] if arguments else str(record.msg)
    )
