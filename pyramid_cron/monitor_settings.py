"""The settings that say which monitors are told of runs, and where those are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from pyramid.settings import asbool, truthy

from .setting import Setting, entries, optional_text, text

SDKS: dict[str, str | None] = {
    "healthchecks": None,
    "steadycron": None,
    "sentry": "sentry_sdk",
}
"""The monitors there are, each with the module it needs; the extras are called as the monitors."""

_FALSY = frozenset(("f", "false", "n", "no", "off", "0"))
_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """The part of the settings that is about monitors."""

    monitors: tuple[str, ...]
    heartbeat_url: str | None = field(repr=False)
    healthchecks_url: str
    healthchecks_ping_key: str | None = field(repr=False)
    steadycron_api_key: str | None = field(repr=False)
    steadycron_api_url: str
    steadycron_ping_url: str
    steadycron_environment: str | None
    steadycron_capture_errors: bool
    steadycron_tokens: Mapping[str, str] = field(repr=False)
    sentry_dsn: str | None = field(repr=False)
    sentry_environment: str | None


def _monitors(given: Any) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(entries(given)))
    for name in names:
        if name not in SDKS:
            raise ValueError(f"{name!r} is no monitor")
        module = SDKS[name]
        if module is not None and find_spec(module) is None:
            raise ValueError(
                f"{name!r} needs the package {module}, which is not installed:"
                f' pip install "pyramid_cron[{name}]"'
            )
    return names


def _url(given: Any) -> str:
    url = text(given)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not match
        usable = False
    if not usable or not url.isascii() or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError(f"{url!r} is no such URL")
    return url


def _base(given: Any) -> str:
    return _url(given).rstrip("/")


def _optional(parse: Callable[[Any], str]) -> Callable[[Any], str | None]:
    def read(given: Any) -> str | None:
        found = optional_text(given)
        return None if found is None else parse(found)

    return read


def _key(given: Any) -> str:
    if not _TOKEN.fullmatch(key := text(given)):
        raise ValueError(f"{key!r} is no key")
    return key


def _flag(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    word = text(given).lower()
    if word not in truthy and word not in _FALSY:
        raise ValueError(f"{given!r} is neither true nor false")
    return bool(asbool(word))


def _tokens(given: Any) -> Mapping[str, str]:
    """Read ``name=token`` lines, or a mapping; a name may have spaces and ``=`` in it."""
    if isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        lines = [] if given is None else _lines(given)
        pairs = [(name, token) for name, _, token in (line.rpartition("=") for line in lines)]
    tokens = {}
    for name, token in pairs:
        tokens[text(name)] = _key(token)
    return tokens


def _lines(given: Any) -> list[str]:
    if not isinstance(given, str):
        raise ValueError("neither text nor a mapping")
    return [line.strip() for line in given.splitlines() if line.strip()]


_HTTP = "an http or https URL"

MONITOR_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "cron.monitors",
        "",
        _monitors,
        f"any of {', '.join(SDKS)}, separated by whitespace",
        "monitoring services that are told of the runs of tasks with monitor=",
    ),
    Setting(
        "cron.heartbeat_url",
        "",
        _optional(_url),
        _HTTP,
        "what is requested by GET after each tick",
        secret=True,
    ),
    Setting(
        "cron.healthchecks.url",
        "https://hc-ping.com",
        _base,
        _HTTP,
        "where Healthchecks takes pings",
    ),
    Setting(
        "cron.healthchecks.ping_key",
        "",
        _optional(_key),
        "letters, digits and ._~-",
        "ping key of a Healthchecks project, for tasks whose monitor= is a slug and no UUID",
        secret=True,
    ),
    Setting(
        "cron.steadycron.api_key",
        "",
        optional_text,
        "an API key that may read",
        "API key with which SteadyCron tells the tokens of monitors; without it, that in the"
        " environment variable STEADYCRON_API_KEY",
        secret=True,
    ),
    Setting(
        "cron.steadycron.api_url",
        "https://api.steadycron.com",
        _base,
        _HTTP,
        "where SteadyCron's API is",
    ),
    Setting(
        "cron.steadycron.ping_url",
        "https://ping.steadycron.com",
        _base,
        _HTTP,
        "where SteadyCron takes pings",
    ),
    Setting(
        "cron.steadycron.environment",
        "",
        optional_text,
        "a name",
        "environment that pings to SteadyCron name",
    ),
    Setting(
        "cron.steadycron.capture_errors",
        "false",
        _flag,
        "true or false",
        "whether SteadyCron is sent the error of a run that failed",
    ),
    Setting(
        "cron.steadycron.tokens",
        "",
        _tokens,
        "lines such as nightly-backup=token, or a mapping",
        "ping tokens of monitors, which then need not be asked for",
        secret=True,
    ),
    Setting(
        "cron.sentry.dsn",
        "",
        _optional(_url),
        "a DSN such as https://key@host/1",
        "Sentry project that check-ins go to; without it, that of the application's own sentry_sdk",
        secret=True,
    ),
    Setting(
        "cron.sentry.environment",
        "",
        optional_text,
        "a name",
        "environment that check-ins name; without it, that of sentry_sdk",
    ),
)
"""Every setting about monitors, in the order they are documented."""
