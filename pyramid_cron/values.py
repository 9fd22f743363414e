"""How the values of settings are read; :data:`~pyramid_cron.settings.SETTINGS` says which is which.

Each function takes what was given, text or a Python value, and raises ValueError that says what is
wrong with it.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import tzlocal
from pyramid.exceptions import ConfigurationError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from .networks import Networks, parse_networks
from .schedule.duration import span
from .schedule.zone import named
from .setting import entries as entries_of
from .setting import text as text_of


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

#: What psycopg takes beside PostgreSQL's own parameters; none of it is text, as all in a URL is.
_NO_TEXT = {"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"}

LONGEST_TABLE_PREFIX = 30  # leaves room for our own names in the 63 characters databases allow
_TABLE_PREFIX = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{LONGEST_TABLE_PREFIX - 1}}}")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")
ZONE_NAME = "an IANA name such as Europe/Berlin, known to the system or to the tzdata package"
NETWORKS = (
    "addresses, blocks (10.0.0.0/8), ranges (10.0.0.1-10.0.0.9) or globs (10.0.0.*), "
    "separated by whitespace"
)
_TOKEN = re.compile(r"(?![;#])[!-~]+")


def url(given: Any) -> URL:
    """Return the URL of a store, with the driver it takes."""
    try:
        found = make_url(given if isinstance(given, URL) else text_of(given))
    except (ArgumentError, ValueError):
        raise ValueError(f"{_without_secrets(given)} is no database URL") from None
    driver = DRIVERS.get(found.drivername)
    if driver is None:
        raise ValueError(f"{found.drivername!r} is not supported, only {', '.join(DRIVERS)}")
    if driver.module is not None and find_spec(driver.module) is None:
        raise ValueError(
            f"{found.drivername!r} needs the package {driver.module}, which is not installed:"
            f' pip install "pyramid_cron[{driver.extra}]"'
        )
    found = found.set(drivername=driver.name)
    if driver is _PSYCOPG and (wrong := sorted(_NO_TEXT.intersection(found.query))):
        raise ValueError(f"{wrong[0]} can't be set by a URL, only PostgreSQL's own parameters can")
    if driver.module is None and any(
        part is not None for part in (found.username, found.password, found.host, found.port)
    ):
        raise ValueError(
            f"'{found.set(query={})!r}' names a host or user, which a SQLite file has not"
        )
    return found


def _without_secrets(given: Any) -> str:
    """Show text that is no URL, unless it may hold a password: nobody can tell where."""
    text = repr(given)
    return "the text (not shown, it may hold a password)" if re.search("[@?=]", text) else text


def table_prefix(given: Any) -> str:
    """Return what can begin the name of a table in any database."""
    text = text_of(given)
    if not _TABLE_PREFIX.fullmatch(text):
        raise ValueError(f"{text!r} can't begin a table's name")
    return text


def timezone(given: Any) -> str:
    """Return the name of a zone that is known here."""
    name = text_of(given)
    try:
        named(name)
    except ValueError:
        raise ValueError(f"{name!r} is no known time zone") from None
    return name


def host_timezone() -> str:
    """Return the host's zone by its IANA name; :exc:`ConfigurationError` where it has none."""
    try:
        with warnings.catch_warnings():
            # tzlocal only warns where the host contradicts itself.
            warnings.simplefilter("error", UserWarning)
            # A host without any zone configured, such as a small container, keeps UTC.
            warnings.filterwarnings("ignore", "Can not find any timezone configuration")
            name = str(tzlocal.get_localzone())
            return timezone(re.sub("^(posix|right)/", "", name))  # as the host's link may lead to
    except (KeyError, ValueError, OSError, UserWarning) as error:
        raise ConfigurationError(
            f"cron.timezone is not set and the host's time zone can't be told ({error.args[-1]}); "
            f"set cron.timezone to {ZONE_NAME}"
        ) from None


def path(given: Any) -> str:
    """Return a path below which pages can be."""
    text = text_of(given)
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is no usable path")
    return text


def allow(given: Any) -> Networks:
    """Return the addresses that may trigger; there has to be one."""
    entries = entries_of(given)
    if not entries:
        raise ValueError(f"{given!r} is empty")
    return parse_networks(entries)


def trusted_proxies(given: Any) -> Networks:
    """Return the addresses of proxies, which can't be all there are."""
    networks = parse_networks(entries_of(given))
    if networks.boundless:
        raise ValueError(f"{given!r} lets anyone claim any address")
    return networks


def tokens(given: Any) -> tuple[str, ...]:
    """Return tokens, if any, that a header can carry; what was to be a comment is none."""
    found = tuple(entries_of(given))
    if not all(_TOKEN.fullmatch(token) for token in found):
        raise ValueError("a token has a character that no header can carry, or begins a comment")
    return found


def duration(least: timedelta) -> Callable[[Any], timedelta]:
    """Return what reads an interval that is no shorter than this."""

    def parse(given: Any) -> timedelta:
        text = given.strip() if isinstance(given, str) else given
        if isinstance(text, str) and re.fullmatch(r"\d+\.\d+", text):
            text = float(text)
        return span(text, what="value", least=least.total_seconds())

    return parse


def budget(given: Any) -> float:
    """Return seconds, more than none."""
    try:
        seconds = float(given if isinstance(given, (int, float)) else text_of(given))
    except (ValueError, OverflowError):
        seconds = math.nan
    if isinstance(given, bool) or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"{given!r} is no time a tick can have")
    return seconds


def capacity(given: Any) -> int:
    """Return how much may run at once, at least 1."""
    number = given
    if isinstance(given, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", given):
        number = int(given)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{given!r} is no capacity")
    return number


def base_url(given: Any) -> str | None:
    """Return where an application is, without a slash at the end; None if it is not said."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    text = text_of(given)
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 (raises ValueError)
    except ValueError:
        raise ValueError(f"{text!r} is no URL") from None
    wrong = parts.username or parts.query or parts.fragment or re.search(r"[^!-~]", text)
    if parts.scheme not in ("http", "https") or not parts.hostname or wrong:
        raise ValueError(f"{text!r} is no URL of an application")
    return text.rstrip("/")
