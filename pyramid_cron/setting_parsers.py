"""What a setting is, and the parsers of settings' values."""

from __future__ import annotations

import math
import os
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
from pyramid.settings import asbool, aslist, truthy
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from .guard import Networks, parse_networks
from .schedule.quantities import parse_count, parse_duration, parse_integer_text
from .schedule.zones import get_zone
from .task import MONITOR_SERVICES
from .text import suggest

SETTING_PREFIX = "cron."
"""What the names of all settings begin with."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name, default, parser and documentation."""

    name: str
    #: As in an ini file; or a description of what ``find_default`` returns.
    default: str
    #: Takes text or a Python value; raises ValueError that says what is wrong.
    parse: Callable[[Any], Any]
    #: What would be right, for errors.
    expectation: str
    #: What it is for, for the documentation.
    meaning: str
    #: Returns the default of a setting that depends on the host.
    find_default: Callable[[], Any] | None = None
    #: Errors do not show the value of a secret.
    is_secret: bool = False
    #: Whether it guards something: an empty one is then a mistake, not "none".
    is_guard: bool = False
    #: The field of :class:`~pyramid_cron.settings.Settings`, where it has another name.
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
            value = self.parse(settings.get(self.name, self.default))
        except ValueError as error:
            fault = "a bad value (not shown)" if self.is_secret else error
            raise ConfigurationError(f"{self.name}: {fault}; expected {self.expectation}") from None
        if self.is_guard and self.name in settings and not value:
            raise ConfigurationError(
                f"{self.name}: it is there but empty, and so guards nothing;"
                f" expected {self.expectation}; without it, leave out the setting"
            )
        return value


def parse_text(value: Any) -> str:
    """Return text, stripped; it must not be blank."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    if not value.strip():
        raise ValueError(f"{value!r} is empty")
    return value.strip()


def parse_words(value: Any) -> list[str]:
    """Return the words of text, or of a list of text, as :func:`pyramid.settings.aslist` does."""
    if value is None:
        return []
    if not isinstance(value, (str, list, tuple, set, frozenset)):
        raise ValueError(f"{value!r} is neither text nor a list")
    return [parse_text(entry) for entry in aslist(value)]


def parse_paths(value: Any) -> tuple[str, ...]:
    """Return the words of text, or the paths in a list, which may have spaces in them."""
    return tuple(
        map(_parse_path, value if isinstance(value, (list, tuple)) else parse_words(value))
    )


CRONTAB_USER_WORD = "user"
"""What follows the path of a crontab that has the column of ``/etc/cron.d``."""


class CrontabSetting(NamedTuple):
    """A crontab that the settings name."""

    path: str
    #: Whether it has the column for the account that a command runs as.
    has_users: bool = False


def parse_crontabs(value: Any) -> tuple[CrontabSetting, ...]:
    """Return the crontabs: paths, each with the word ``user`` after it or without.

    In a list, a path may have spaces in it, and be the first of a pair with that word.
    """
    entries = value if isinstance(value, (list, tuple)) else parse_words(value)
    crontabs: list[CrontabSetting] = []
    for entry in entries:
        if isinstance(entry, (list, tuple)):
            crontabs.append(_parse_crontab_pair(entry))
        elif entry != CRONTAB_USER_WORD:
            crontabs.append(CrontabSetting(_parse_path(entry)))
        elif crontabs and not crontabs[-1].has_users:
            crontabs[-1] = crontabs[-1]._replace(has_users=True)
        else:
            raise ValueError("'user' follows no path; a file of that name is './user'")
    return tuple(crontabs)


def _parse_crontab_pair(pair: Any) -> CrontabSetting:
    if len(pair) != 2 or pair[1] != CRONTAB_USER_WORD:
        raise ValueError(f"{pair!r} is no pair of a path and 'user'")
    return CrontabSetting(_parse_path(pair[0]), has_users=True)


def _parse_path(path: Any) -> str:
    return parse_text(os.fspath(path) if isinstance(path, os.PathLike) else path)


def parse_config_uri(value: Any) -> str:
    """Return ``path`` or ``path#section`` with the path made absolute; another scheme as it is."""
    path, sign, section = parse_text(value).partition("#")
    if not path or (sign and not section):
        raise ValueError(f"{value!r} names no {'section' if path else 'file'}")
    return (path if ":" in path else os.path.abspath(path)) + sign + section


def parse_optional_text(value: Any) -> str | None:
    """Return text, stripped; None for blank text or None."""
    return None if _is_blank(value) else parse_text(value)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


MONITOR_MODULES = {"sentry": "sentry_sdk", "mail": "pyramid_mailer"}
"""The module that a monitor needs; the extra that installs it has the monitor's name."""

_FALSE_WORDS = frozenset(("f", "false", "n", "no", "off", "0"))
_MONITOR_KEY = re.compile(r"[A-Za-z0-9._~-]+")


class Driver(NamedTuple):
    """A driver of a database."""

    #: Its name in a SQLAlchemy URL.
    name: str
    #: The module to import; None for the standard library's.
    module: str | None = None
    #: The extra of pyramid_cron that installs it.
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

#: psycopg's parameters beside PostgreSQL's own: none is text, and a URL has only text.
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
HTTP_URL_HINT = "an http or https URL"
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_BEARER_TOKEN = re.compile(r"(?![;#])[!-~]+")


def parse_store_url(value: Any) -> URL:
    """Return the URL of a store, with its driver."""
    try:
        url = make_url(value if isinstance(value, URL) else parse_text(value))
    except (ArgumentError, ValueError):
        raise ValueError(f"{_redact(value)} is no database URL") from None
    driver = DRIVERS.get(url.drivername)
    if driver is None:
        raise ValueError(f"{url.drivername!r} is not supported, only {', '.join(DRIVERS)}")
    if driver.module is not None and find_spec(driver.module) is None:
        raise ValueError(
            f"{url.drivername!r} needs the package {driver.module}, which is not installed:"
            f' pip install "pyramid_cron[{driver.extra}]"'
        )
    url = url.set(drivername=driver.name)
    if driver is _PSYCOPG_DRIVER and (
        wrong := sorted(_NON_TEXT_PARAMETERS.intersection(url.query))
    ):
        raise ValueError(f"{wrong[0]} can't be set by a URL, only PostgreSQL's own parameters can")
    if driver.module is None and any(
        part is not None for part in (url.username, url.password, url.host, url.port)
    ):
        raise ValueError(
            f"'{url.set(query={})!r}' names a host or user, which a SQLite file has not"
        )
    return url


def _redact(value: Any) -> str:
    """Return text for an error, unless it may contain a password."""
    text = repr(value)
    return "the text (not shown, it may hold a password)" if re.search("[@?=]", text) else text


def parse_table_prefix(value: Any) -> str:
    """Return a prefix for the names of tables in any database."""
    text = parse_text(value)
    if not _TABLE_PREFIX.fullmatch(text):
        raise ValueError(f"{text!r} can't begin a table's name")
    return text


def parse_zone_name(value: Any) -> str:
    """Return the IANA name of a zone."""
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
    """Return a path for the trigger and the pages."""
    text = parse_text(value)
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is no usable path")
    return text


def parse_allow(value: Any) -> Networks:
    """Return the addresses that may trigger, at least one."""
    entries = parse_words(value)
    if not entries:
        raise ValueError(f"{value!r} is empty")
    return parse_networks(entries)


def parse_trusted_proxies(value: Any) -> Networks:
    """Return the addresses of proxies; all addresses are refused."""
    networks = parse_networks(parse_words(value))
    if networks.is_unbounded:
        raise ValueError(f"{value!r} lets anyone claim any address")
    return networks


def parse_tokens(value: Any) -> tuple[str, ...]:
    """Return tokens that a header can carry; one that looks like a comment is refused."""
    tokens = tuple(parse_words(value))
    if not all(_BEARER_TOKEN.fullmatch(token) for token in tokens):
        raise ValueError("a token has a character that no header can carry, or begins a comment")
    return tokens


def parse_hosts(value: Any) -> frozenset[str]:
    """Return names of hosts in lower case, as a Host header has them, without the port."""
    names = parse_words(value)
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a host")
    return frozenset(name.lower().removesuffix(".") for name in names)


def make_duration_parser(minimum: timedelta) -> Callable[[Any], timedelta]:
    """Return a parser of durations that are not shorter than ``minimum``."""

    def parse(value: Any) -> timedelta:
        duration = value.strip() if isinstance(value, str) else value
        if isinstance(duration, str) and re.fullmatch(r"\d+\.\d+", duration):
            duration = float(duration)
        try:
            return parse_duration(
                duration, argument="duration", min_seconds=minimum.total_seconds()
            )
        except ValueError:
            raise ValueError(f"{value!r} is no such duration") from None

    return parse


def parse_budget(value: Any) -> float:
    """Return seconds, more than 0."""
    try:
        seconds = float(value if isinstance(value, (int, float)) else parse_text(value))
    except (ValueError, OverflowError):
        seconds = math.nan
    if isinstance(value, bool) or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"{value!r} is no time a tick can have")
    return seconds


def parse_capacity(value: Any) -> int:
    """Return a capacity, at least 1."""
    try:
        if isinstance(value, str):
            return parse_integer_text("capacity", value.strip())
        return parse_count("capacity", value)
    except ValueError:
        raise ValueError(f"{value!r} is no capacity") from None


def parse_base_url(value: Any) -> str:
    """Return the URL of an application, without a slash at the end."""
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


def parse_monitors(value: Any) -> tuple[str, ...]:
    """Return the names of monitors, each once."""
    names = tuple(dict.fromkeys(parse_words(value)))
    for name in names:
        if name not in MONITOR_SERVICES:
            raise ValueError(f"{name!r} is no monitor{suggest(name, MONITOR_SERVICES)}")
        module = MONITOR_MODULES.get(name)
        if module is not None and find_spec(module) is None:
            raise ValueError(
                f"{name!r} needs the package {module}, which is not installed:"
                f' pip install "pyramid_cron[{name}]"'
            )
    return names


_MAIL_ADDRESS = re.compile(r"[^\s@,;<>\x00-\x1f\x7f]+(?:@[^\s@,;<>\x00-\x1f\x7f]+)?")


def parse_addresses(value: Any) -> tuple[str, ...]:
    """Return the addresses of mailboxes; one without a host is a local account's."""
    words = parse_words(value.replace(",", " ") if isinstance(value, str) else value)
    for word in words:
        _check_address(word)
    return tuple(dict.fromkeys(words))


def parse_sender(value: Any) -> str | None:
    """Return the address of a mailbox, bare or as ``Name <address>``; None for blank text."""
    text = parse_optional_text(value)
    if text is not None:
        match = re.fullmatch(r"[^<>\x00-\x1f\x7f]*<([^<>]*)>", text)
        _check_address(match[1] if match else text)
    return text


def _check_address(text: str) -> None:
    if not _MAIL_ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is no address")


def parse_http_url(value: Any) -> str:
    """Return an http or https URL."""
    url = parse_text(value)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not match
        usable = False
    if not usable or not url.isascii() or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError(f"{url!r} is no such URL")
    return url


def parse_service_url(value: Any) -> str:
    """Return the URL of a service, without a slash at the end."""
    return parse_http_url(value).rstrip("/")


def make_optional_parser(parse: Callable[[Any], str]) -> Callable[[Any], str | None]:
    """Return a parser that returns None for blank text or None."""

    def parse_optional(value: Any) -> str | None:
        return None if _is_blank(value) else parse(value)

    return parse_optional


def parse_monitor_key(value: Any) -> str:
    """Return a key or token that can be part of a URL."""
    if not _MONITOR_KEY.fullmatch(key := parse_text(value)):
        raise ValueError(f"{key!r} is no key")
    return key


def parse_boolean(value: Any) -> bool:
    """Return a boolean, or what one of Pyramid's words for one says."""
    if isinstance(value, bool):
        return value
    text = parse_text(value).lower()
    if text not in truthy and text not in _FALSE_WORDS:
        raise ValueError(f"{value!r} is neither true nor false")
    return bool(asbool(text))


def parse_monitor_tokens(value: Any) -> Mapping[str, str]:
    """Read ``name=token`` lines, or a mapping; a name may have spaces and ``=`` in it."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        lines = [] if value is None else _split_lines(value)
        pairs = [(name, token) for name, _, token in (line.rpartition("=") for line in lines)]
    tokens = {}
    for name, token in pairs:
        tokens[parse_text(name)] = parse_monitor_key(token)
    return tokens


def _split_lines(value: Any) -> list[str]:
    if not isinstance(value, str):
        raise ValueError("neither text nor a mapping")
    return [line.strip() for line in value.splitlines() if line.strip()]
