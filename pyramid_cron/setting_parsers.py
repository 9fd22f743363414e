"""What a setting is, and how text and lists in one are read."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import tzlocal
from pyramid.exceptions import ConfigurationError
from pyramid.settings import aslist
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from .guard import Networks, parse_networks
from .schedule.quantities import parse_count, parse_duration, parse_integer_text
from .schedule.zones import get_zone

SETTING_PREFIX = "cron."
"""What the names of all settings begin with."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What there is to know about one setting.

    ``default`` is written as in an ini file, or says what ``find_default`` looks up. ``parse``
    takes text or a Python value and raises :exc:`ValueError` saying what is wrong with it;
    ``expected`` says what would be right. A ``secret`` value is never shown. ``attribute`` is the
    field of :class:`~pyramid_cron.settings.Settings`, where it is not called as the setting.
    """

    name: str
    default: str
    parse: Callable[[Any], Any]
    expectation: str
    meaning: str
    find_default: Callable[[], Any] | None = None
    is_secret: bool = False
    attribute: str = ""

    @property
    def field_name(self) -> str:
        """Name of its field in :class:`~pyramid_cron.settings.Settings`."""
        return self.attribute or self.name.removeprefix(SETTING_PREFIX).replace(".", "_")

    def read_from(self, settings: Mapping[str, Any]) -> Any:
        """Return its value there, or its default. Raises :exc:`ConfigurationError` naming it."""
        if self.find_default and self.name not in settings:
            return self.find_default()
        try:
            return self.parse(settings.get(self.name, self.default))
        except ValueError as error:
            fault = "a bad value (not shown)" if self.is_secret else error
            raise ConfigurationError(f"{self.name}: {fault}; expected {self.expectation}") from None


def parse_text(value: Any) -> str:
    """Return text that is there, stripped."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    if not value.strip():
        raise ValueError(f"{value!r} is empty")
    return value.strip()


def parse_words(value: Any) -> list[str]:
    """Words of a text, or of the texts of a list, as :func:`pyramid.settings.aslist` has it."""
    if value is None:
        return []
    if not isinstance(value, (str, list, tuple, set, frozenset)):
        raise ValueError(f"{value!r} is neither text nor a list")
    words: list[str] = aslist(value)
    for word in words:
        parse_text(word)
    return words


def parse_optional_text(value: Any) -> str | None:
    """Return text, stripped; None for what is blank."""
    blank = value is None or (isinstance(value, str) and not value.strip())
    return None if blank else parse_text(value)


class Driver(NamedTuple):
    """What SQLAlchemy calls a driver, the module it is, and our extra that installs it."""

    name: str
    module: str | None = None
    extra: str | None = None


_PSYCOPG_DRIVER = Driver("postgresql+psycopg", "psycopg", "postgresql")

#: The SQLAlchemy dialects (with driver, where one is named) that the run store works with.
DRIVERS = {
    "sqlite": Driver("sqlite"),
    "sqlite+pysqlite": Driver("sqlite+pysqlite"),
    "postgresql": _PSYCOPG_DRIVER,
    "postgresql+psycopg": _PSYCOPG_DRIVER,
    "mysql": Driver("mysql+pymysql", "pymysql", "mysql"),
    "mysql+pymysql": Driver("mysql+pymysql", "pymysql", "mysql"),
    "mariadb": Driver("mariadb+pymysql", "pymysql", "mysql"),
    "mariadb+pymysql": Driver("mariadb+pymysql", "pymysql", "mysql"),
}

#: What psycopg takes beside PostgreSQL's own parameters; none of it is text, as all in a URL is.
_NON_TEXT_PARAMETERS = {
    "autocommit",
    "context",
    "cursor_factory",
    "prepare_threshold",
    "row_factory",
}

MAX_TABLE_PREFIX_LENGTH = 30  # leaves room for our own names in the 63 characters databases allow
_TABLE_PREFIX = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_TABLE_PREFIX_LENGTH - 1}}}")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")
ZONE_NAME_HINT = "an IANA name such as Europe/Berlin, known to the system or to the tzdata package"
NETWORKS_HINT = (
    "addresses, blocks (10.0.0.0/8), ranges (10.0.0.1-10.0.0.9) or globs (10.0.0.*), "
    "separated by whitespace"
)
_BEARER_TOKEN = re.compile(r"(?![;#])[!-~]+")


def parse_store_url(value: Any) -> URL:
    """Return the URL of a store, with the driver it takes."""
    try:
        found = make_url(value if isinstance(value, URL) else parse_text(value))
    except (ArgumentError, ValueError):
        raise ValueError(f"{_redact(value)} is no database URL") from None
    driver = DRIVERS.get(found.drivername)
    if driver is None:
        raise ValueError(f"{found.drivername!r} is not supported, only {', '.join(DRIVERS)}")
    if driver.module is not None and find_spec(driver.module) is None:
        raise ValueError(
            f"{found.drivername!r} needs the package {driver.module}, which is not installed:"
            f' pip install "pyramid_cron[{driver.extra}]"'
        )
    found = found.set(drivername=driver.name)
    if driver is _PSYCOPG_DRIVER and (
        wrong := sorted(_NON_TEXT_PARAMETERS.intersection(found.query))
    ):
        raise ValueError(f"{wrong[0]} can't be set by a URL, only PostgreSQL's own parameters can")
    if driver.module is None and any(
        part is not None for part in (found.username, found.password, found.host, found.port)
    ):
        raise ValueError(
            f"'{found.set(query={})!r}' names a host or user, which a SQLite file has not"
        )
    return found


def _redact(value: Any) -> str:
    """Show text that is no URL, unless it may hold a password: nobody can tell where."""
    text = repr(value)
    return "the text (not shown, it may hold a password)" if re.search("[@?=]", text) else text


def parse_table_prefix(value: Any) -> str:
    """Return what can begin the name of a table in any database."""
    text = parse_text(value)
    if not _TABLE_PREFIX.fullmatch(text):
        raise ValueError(f"{text!r} can't begin a table's name")
    return text


def parse_zone_name(value: Any) -> str:
    """Return the name of a zone that is known here."""
    name = parse_text(value)
    try:
        get_zone(name)
    except ValueError:
        raise ValueError(f"{name!r} is no known time zone") from None
    return name


def find_host_timezone() -> str:
    """Return the host's zone by its IANA name; :exc:`ConfigurationError` where it has none."""
    try:
        with warnings.catch_warnings():
            # tzlocal only warns where the host contradicts itself.
            warnings.simplefilter("error", UserWarning)
            # A host without any zone configured, such as a small container, keeps UTC.
            warnings.filterwarnings("ignore", "Can not find any timezone configuration")
            name = str(tzlocal.get_localzone())
            return parse_zone_name(
                re.sub("^(posix|right)/", "", name)
            )  # as the host's link may lead to
    except (KeyError, ValueError, OSError, UserWarning) as error:
        raise ConfigurationError(
            f"cron.timezone is not set and the host's time zone can't be told ({error.args[-1]}); "
            f"set cron.timezone to {ZONE_NAME_HINT}"
        ) from None


def parse_path(value: Any) -> str:
    """Return a path below which pages can be."""
    text = parse_text(value)
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is no usable path")
    return text


def parse_allow(value: Any) -> Networks:
    """Return the addresses that may trigger; there has to be one."""
    entries = parse_words(value)
    if not entries:
        raise ValueError(f"{value!r} is empty")
    return parse_networks(entries)


def parse_trusted_proxies(value: Any) -> Networks:
    """Return the addresses of proxies, which can't be all there are."""
    networks = parse_networks(parse_words(value))
    if networks.is_unbounded:
        raise ValueError(f"{value!r} lets anyone claim any address")
    return networks


def parse_tokens(value: Any) -> tuple[str, ...]:
    """Return tokens, if any, that a header can carry; what was to be a comment is none."""
    found = tuple(parse_words(value))
    if not all(_BEARER_TOKEN.fullmatch(token) for token in found):
        raise ValueError("a token has a character that no header can carry, or begins a comment")
    return found


def make_duration_parser(minimum: timedelta) -> Callable[[Any], timedelta]:
    """Return what reads an interval that is no shorter than this."""

    def parse(given: Any) -> timedelta:
        text = given.strip() if isinstance(given, str) else given
        if isinstance(text, str) and re.fullmatch(r"\d+\.\d+", text):
            text = float(text)
        return parse_duration(text, argument="value", min_seconds=minimum.total_seconds())

    return parse


def parse_budget(value: Any) -> float:
    """Return seconds, more than none."""
    try:
        seconds = float(value if isinstance(value, (int, float)) else parse_text(value))
    except (ValueError, OverflowError):
        seconds = math.nan
    if isinstance(value, bool) or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"{value!r} is no time a tick can have")
    return seconds


def parse_capacity(value: Any) -> int:
    """Return how much may run at once, at least 1."""
    try:
        if isinstance(value, str):
            return parse_integer_text("capacity", value.strip())
        return parse_count("capacity", value)
    except ValueError:
        raise ValueError(f"{value!r} is no capacity") from None


def parse_base_url(value: Any) -> str | None:
    """Return where an application is, without a slash at the end; None if it is not said."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    text = parse_text(value)
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 (raises ValueError)
    except ValueError:
        raise ValueError(f"{text!r} is no URL") from None
    wrong = parts.username or parts.query or parts.fragment or re.search(r"[^!-~]", text)
    if parts.scheme not in ("http", "https") or not parts.hostname or wrong:
        raise ValueError(f"{text!r} is no URL of an application")
    return text.rstrip("/")
