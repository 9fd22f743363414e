"""The ``cron.`` settings, parsed once into a frozen value.

A setting is one row of :data:`SETTINGS`, where its name, default, parser and meaning stand and
nowhere else, and one field of :class:`Settings`.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import tzlocal
from pyramid.exceptions import ConfigurationError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from .guard import Guard
from .monitor_settings import MONITOR_SETTINGS, MonitorSettings
from .networks import Networks, parse_networks
from .schedule.duration import span
from .setting import PREFIX as _PREFIX
from .setting import Setting, optional_text
from .setting import entries as _entries
from .setting import text as _text


class Driver(NamedTuple):
    """What SQLAlchemy calls a driver, the module it is, and our extra that installs it."""

    name: str
    module: str | None = None
    extra: str | None = None


_PSYCOPG = Driver("postgresql+psycopg", "psycopg", "postgresql")

#: The SQLAlchemy dialects (with driver, where one is named) that the run store works with.
DRIVERS = {
    "sqlite": Driver("sqlite"),
    "sqlite+pysqlite": Driver("sqlite+pysqlite"),
    "postgresql": _PSYCOPG,
    "postgresql+psycopg": _PSYCOPG,
    "mysql": Driver("mysql+pymysql", "pymysql", "mysql"),
    "mysql+pymysql": Driver("mysql+pymysql", "pymysql", "mysql"),
    "mariadb": Driver("mariadb+pymysql", "pymysql", "mysql"),
    "mariadb+pymysql": Driver("mariadb+pymysql", "pymysql", "mysql"),
}

_LONGEST_TABLE_PREFIX = 30  # leaves room for our own names in the 63 characters databases allow
_TABLE_PREFIX = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{_LONGEST_TABLE_PREFIX - 1}}}")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")
_ZONE_NAME = "an IANA name such as Europe/Berlin, known to the system or to the tzdata package"
_NETWORKS = (
    "addresses, blocks (10.0.0.0/8), ranges (10.0.0.1-10.0.0.9) or globs (10.0.0.*), "
    "separated by whitespace"
)
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Settings(MonitorSettings):
    """The parsed settings; :data:`SETTINGS` says what each one means.

    Text is stripped, and lists are separated by whitespace. A setting whose default is none may be
    empty (blank text, ``None``, for lists an empty one) and means none then; any other is better
    left out than empty, which is an error.
    """

    url: URL
    table_prefix: str
    timezone: str
    path: str
    allow: Networks
    tokens: tuple[str, ...] = field(repr=False)
    trusted_proxies: Networks
    permission: str | None
    budget: float
    capacity: int
    base_url: str | None
    celery_broker_url: str | None = field(repr=False)
    celery_app: str | None
    lease: timedelta
    retention: timedelta
    shutdown_timeout: timedelta

    def guard(self) -> Guard:
        """Return the guard that decides by these settings."""
        return Guard(self.allow, self.tokens, self.trusted_proxies)


def parse_settings(settings: Mapping[str, Any]) -> Settings:
    """Read the ``cron.`` settings, given as text or as Python values; others are ignored.

    Raises :exc:`pyramid.exceptions.ConfigurationError` naming the setting that is unknown or bad.
    """
    names = [setting.name for setting in SETTINGS]
    for name in settings:
        if name not in names and name.startswith(_PREFIX):
            raise ConfigurationError(_unknown(name, names))
    parsed = Settings(**{setting.field_name: setting.value(settings) for setting in SETTINGS})
    if parsed.allow.boundless and not parsed.tokens:
        raise ConfigurationError(
            f"cron.allow: {settings['cron.allow']!r} lets in every address; "
            "expected a cron.token to go with it, or fewer addresses"
        )
    return parsed


def _unknown(name: str, names: list[str]) -> str:
    nearest = get_close_matches(name, names, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(names)}"
    return f"{name} is no setting of pyramid_cron; {hint}"


def _url(given: Any) -> URL:
    try:
        url = make_url(given if isinstance(given, URL) else _text(given))
    except (ArgumentError, ValueError):
        raise ValueError(f"{_without_secrets(given)} is no database URL") from None
    driver = DRIVERS.get(url.drivername)
    if driver is None:
        raise ValueError(f"{url.drivername!r} is not supported, only {', '.join(DRIVERS)}")
    if driver.module is not None and find_spec(driver.module) is None:
        raise ValueError(
            f"{url.drivername!r} needs the package {driver.module}, which is not installed:"
            f' pip install "pyramid_cron[{driver.extra}]"'
        )
    url = url.set(drivername=driver.name)
    if driver.module is None and any(
        part is not None for part in (url.username, url.password, url.host, url.port)
    ):
        raise ValueError(
            f"'{url.set(query={})!r}' names a host or user, which a SQLite file has not"
        )
    return url


def _without_secrets(given: Any) -> str:
    """Show text that is no URL, unless it may hold a password: nobody can tell where."""
    text = repr(given)
    return "the text (not shown, it may hold a password)" if re.search("[@?=]", text) else text


def _table_prefix(given: Any) -> str:
    text = _text(given)
    if not _TABLE_PREFIX.fullmatch(text):
        raise ValueError(f"{text!r} can't begin a table's name")
    return text


def _timezone(given: Any) -> str:
    name = _text(given)
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no relative path; a directory
        raise ValueError(f"{name!r} is no known time zone") from None
    return name


def _host_timezone() -> str:
    """Return the host's zone by its IANA name; :exc:`ConfigurationError` where it has none."""
    try:
        with warnings.catch_warnings():
            # tzlocal only warns where the host contradicts itself.
            warnings.simplefilter("error", UserWarning)
            # A host without any zone configured, such as a small container, keeps UTC.
            warnings.filterwarnings("ignore", "Can not find any timezone configuration")
            return _timezone(str(tzlocal.get_localzone()))
    except (KeyError, ValueError, OSError, UserWarning) as error:
        raise ConfigurationError(
            f"cron.timezone is not set and the host's time zone can't be told ({error.args[-1]}); "
            f"set cron.timezone to {_ZONE_NAME}"
        ) from None


def _path(given: Any) -> str:
    text = _text(given)
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is no usable path")
    return text


def _allow(given: Any) -> Networks:
    entries = _entries(given)
    if not entries:
        raise ValueError(f"{given!r} is empty")
    return parse_networks(entries)


def _trusted_proxies(given: Any) -> Networks:
    networks = parse_networks(_entries(given))
    if networks.boundless:
        raise ValueError(f"{given!r} lets anyone claim any address")
    return networks


def _tokens(given: Any) -> tuple[str, ...]:
    tokens = tuple(_entries(given))
    if not all(_TOKEN.fullmatch(token) for token in tokens):
        raise ValueError("a token has a character that no header can carry")
    return tokens


def _duration(least: timedelta) -> Callable[[Any], timedelta]:
    def parse(given: Any) -> timedelta:
        text = given.strip() if isinstance(given, str) else given
        if isinstance(text, str) and re.fullmatch(r"\d+\.\d+", text):
            text = float(text)
        return span(text, what="value", least=least.total_seconds())

    return parse


def _budget(given: Any) -> float:
    try:
        seconds = float(given if isinstance(given, (int, float)) else _text(given))
    except (ValueError, OverflowError):
        seconds = math.nan
    if isinstance(given, bool) or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"{given!r} is no time a tick can have")
    return seconds


def _capacity(given: Any) -> int:
    number = given
    if isinstance(given, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", given):
        number = int(given)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{given!r} is no capacity")
    return number


def _base_url(given: Any) -> str | None:
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    text = _text(given)
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 (raises ValueError)
    except ValueError:
        raise ValueError(f"{text!r} is no URL") from None
    wrong = parts.username or parts.query or parts.fragment or re.search(r"[^!-~]", text)
    if parts.scheme not in ("http", "https") or not parts.hostname or wrong:
        raise ValueError(f"{text!r} is no URL of an application")
    return text.rstrip("/")


#: Every setting there is, in the order they are documented.
SETTINGS: tuple[Setting, ...] = (
    Setting(
        "cron.url",
        "sqlite:///pyramid_cron.sqlite",
        _url,
        "a SQLAlchemy URL such as sqlite:///relative.sqlite, sqlite:////absolute.sqlite, sqlite://,"
        " postgresql://user@host/database or mariadb://user@host/database",
        "SQLAlchemy URL of the run store: SQLite, PostgreSQL or MariaDB; sqlite:// keeps it in"
        " memory",
    ),
    Setting(
        "cron.table_prefix",
        "cron_",
        _table_prefix,
        f"up to {_LONGEST_TABLE_PREFIX} ASCII letters, digits and underscores, no digit first",
        "what the names of the store's tables begin with",
    ),
    Setting(
        "cron.timezone",
        "the host's local zone",
        _timezone,
        _ZONE_NAME,
        "zone of all schedules that name none of their own",
        find_default=_host_timezone,
    ),
    Setting(
        "cron.path",
        "/cron",
        _path,
        "a path such as /cron: beginning but not ending with a slash, of letters, digits and ._~-",
        "where the tick and the pages live; honours route_prefix",
    ),
    Setting(
        "cron.allow",
        "127.0.0.1 ::1",
        _allow,
        _NETWORKS,
        "addresses that may trigger; * for any, which requires cron.token",
    ),
    Setting(
        "cron.token",
        "",
        _tokens,
        "printable ASCII without spaces, several tokens separated by whitespace",
        "bearer tokens; when set, one is required as well as an allowed address",
        secret=True,
        attribute="tokens",
    ),
    Setting(
        "cron.trusted_proxies",
        "",
        _trusted_proxies,
        _NETWORKS,
        "proxies whose X-Forwarded-For is believed",
    ),
    Setting(
        "cron.permission",
        "",
        optional_text,
        "the name of a permission",
        "permission that lets somebody see the pages, instead of the rule for the trigger",
    ),
    Setting(
        "cron.budget",
        "60",
        _budget,
        "a finite number of seconds above 0",
        "seconds a tick has",
    ),
    Setting(
        "cron.capacity",
        "8",
        _capacity,
        "an integer, 1 or more",
        "total weight that may run outside of requests at once, over all processes and hosts",
    ),
    Setting(
        "cron.base_url",
        "",
        _base_url,
        "a URL such as https://example.com or https://example.com/shop",
        "where tasks outside the tick's request find the application; by default where the trigger"
        " was hit",
    ),
    Setting(
        "cron.celery.broker_url",
        "",
        optional_text,
        "the URL of a broker, such as redis://127.0.0.1:6379/0",
        'where tasks with executor="celery" are sent',
        secret=True,
        attribute="celery_broker_url",
    ),
    Setting(
        "cron.celery.app",
        "",
        optional_text,
        "the dotted name of a Celery app, such as shop.celery:app",
        "the application's own Celery app, which sends them instead",
        attribute="celery_app",
    ),
    Setting(
        "cron.lease",
        "60",
        _duration(timedelta(seconds=1)),
        "at least a second: seconds, or text such as 90s or 5m",
        "how long a process may show no sign of life before its runs count as lost",
    ),
    Setting(
        "cron.retention",
        "30d",
        _duration(timedelta(minutes=1)),
        "at least a minute: seconds, or text such as 12h or 30d",
        "how long runs are kept",
    ),
    Setting(
        "cron.shutdown_timeout",
        "30",
        _duration(timedelta(0)),
        "seconds, or text such as 90s or 5m",
        "how long running tasks may go on when the process stops, before they are cancelled",
    ),
    *MONITOR_SETTINGS,
)
