"""The settings that say which monitors are told of runs, and where those are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from pyramid.settings import asbool, truthy

from .setting_parsers import Setting, parse_optional_text, parse_text, parse_words

MONITOR_MODULES: dict[str, str | None] = {
    "healthchecks": None,
    "steadycron": None,
    "sentry": "sentry_sdk",
}
"""The monitors there are, each with the module it needs; the extras are called as the monitors."""

_FALSE_WORDS = frozenset(("f", "false", "n", "no", "off", "0"))
_MONITOR_KEY = re.compile(r"[A-Za-z0-9._~-]+")


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


def _parse_monitors(value: Any) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(parse_words(value)))
    for name in names:
        if name not in MONITOR_MODULES:
            raise ValueError(f"{name!r} is no monitor")
        module = MONITOR_MODULES[name]
        if module is not None and find_spec(module) is None:
            raise ValueError(
                f"{name!r} needs the package {module}, which is not installed:"
                f' pip install "pyramid_cron[{name}]"'
            )
    return names


def _parse_http_url(value: Any) -> str:
    url = parse_text(value)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not match
        usable = False
    if not usable or not url.isascii() or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError(f"{url!r} is no such URL")
    return url


def _parse_service_url(value: Any) -> str:
    return _parse_http_url(value).rstrip("/")


def _make_optional_parser(parse: Callable[[Any], str]) -> Callable[[Any], str | None]:
    def read(given: Any) -> str | None:
        found = parse_optional_text(given)
        return None if found is None else parse(found)

    return read


def _parse_key(value: Any) -> str:
    if not _MONITOR_KEY.fullmatch(key := parse_text(value)):
        raise ValueError(f"{key!r} is no key")
    return key


def _parse_flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = parse_text(value).lower()
    if word not in truthy and word not in _FALSE_WORDS:
        raise ValueError(f"{value!r} is neither true nor false")
    return bool(asbool(word))


def _parse_tokens(value: Any) -> Mapping[str, str]:
    """Read ``name=token`` lines, or a mapping; a name may have spaces and ``=`` in it."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        lines = [] if value is None else _split_lines(value)
        pairs = [(name, token) for name, _, token in (line.rpartition("=") for line in lines)]
    tokens = {}
    for name, token in pairs:
        tokens[parse_text(name)] = _parse_key(token)
    return tokens


def _split_lines(value: Any) -> list[str]:
    if not isinstance(value, str):
        raise ValueError("neither text nor a mapping")
    return [line.strip() for line in value.splitlines() if line.strip()]


_HTTP_URL_HINT = "an http or https URL"

MONITOR_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "cron.monitors",
        "",
        _parse_monitors,
        f"any of {', '.join(MONITOR_MODULES)}, separated by whitespace",
        "monitoring services that are told of the runs of tasks with monitor=",
    ),
    Setting(
        "cron.heartbeat_url",
        "",
        _make_optional_parser(_parse_http_url),
        _HTTP_URL_HINT,
        "what is requested by GET after each tick",
        is_secret=True,
    ),
    Setting(
        "cron.healthchecks.url",
        "https://hc-ping.com",
        _parse_service_url,
        _HTTP_URL_HINT,
        "where Healthchecks takes pings",
    ),
    Setting(
        "cron.healthchecks.ping_key",
        "",
        _make_optional_parser(_parse_key),
        "letters, digits and ._~-",
        "ping key of a Healthchecks project, for tasks whose monitor= is a slug and no UUID",
        is_secret=True,
    ),
    Setting(
        "cron.steadycron.api_key",
        "",
        parse_optional_text,
        "an API key that may read",
        "API key with which SteadyCron tells the tokens of monitors; without it, that in the"
        " environment variable STEADYCRON_API_KEY",
        is_secret=True,
    ),
    Setting(
        "cron.steadycron.api_url",
        "https://api.steadycron.com",
        _parse_service_url,
        _HTTP_URL_HINT,
        "where SteadyCron's API is",
    ),
    Setting(
        "cron.steadycron.ping_url",
        "https://ping.steadycron.com",
        _parse_service_url,
        _HTTP_URL_HINT,
        "where SteadyCron takes pings",
    ),
    Setting(
        "cron.steadycron.environment",
        "",
        parse_optional_text,
        "a name",
        "environment that pings to SteadyCron name",
    ),
    Setting(
        "cron.steadycron.capture_errors",
        "false",
        _parse_flag,
        "true or false",
        "whether SteadyCron is sent the error of a run that failed",
    ),
    Setting(
        "cron.steadycron.tokens",
        "",
        _parse_tokens,
        "lines such as nightly-backup=token, or a mapping",
        "ping tokens of monitors, which then need not be asked for",
        is_secret=True,
    ),
    Setting(
        "cron.sentry.dsn",
        "",
        _make_optional_parser(_parse_http_url),
        "a DSN such as https://key@host/1",
        "Sentry project that check-ins go to; without it, that of the application's own sentry_sdk",
        is_secret=True,
    ),
    Setting(
        "cron.sentry.environment",
        "",
        parse_optional_text,
        "a name",
        "environment that check-ins name; without it, that of sentry_sdk",
    ),
)
"""Every setting about monitors, in the order they are documented."""
