"""The ``cron.`` settings, parsed once into a frozen value.

A setting is one row of :data:`SETTINGS`, where its name, default, parser and meaning stand and
nowhere else, and one field of :class:`Settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pyramid.exceptions import ConfigurationError
from sqlalchemy import URL

from . import setting_parsers
from .guard import Guard, Networks
from .setting_parsers import SETTING_PREFIX, CrontabSetting, Setting, parse_optional_text
from .task import MONITOR_SERVICES
from .text import suggest

MISTAKEN_PREFIX = "pyramid_cron."
"""What others would begin the names of settings with: what begins so was meant for us, too."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The parsed settings; :data:`SETTINGS` says what each one means.

    Text is stripped, and lists are separated by whitespace. A setting without a default may be
    empty (blank text, ``None``, an empty list), which is the same as to omit it, unless it guards
    something (``is_guard``); any other must not be empty.
    """

    url: URL
    table_prefix: str
    timezone: str
    path: str
    allow: Networks
    tokens: tuple[str, ...] = field(repr=False)
    trusted_proxies: Networks
    permission: str | None
    view_permission: str | None
    hosts: frozenset[str]
    budget: float
    capacity: int
    base_url: str | None
    config_uri: str | None
    celery_broker_url: str | None = field(repr=False)
    celery_app: str | None
    lease: timedelta
    retention: timedelta
    shutdown_timeout: timedelta
    beats: bool
    self_trigger: bool
    folders: tuple[str, ...]
    crontabs: tuple[CrontabSetting, ...]
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
    mail_to: tuple[str, ...]
    mail_from: str | None
    mail_subject_prefix: str

    def make_guard(self) -> Guard:
        """Return the guard of the trigger and the pages."""
        return Guard(self.allow, self.tokens, self.trusted_proxies, self.hosts)


def parse_settings(settings: Mapping[str, Any]) -> Settings:
    """Return the ``cron.`` settings, which are text or Python values; others are ignored.

    Raises :exc:`pyramid.exceptions.ConfigurationError` naming the setting that is unknown or wrong.
    """
    names = [setting.name for setting in SETTINGS]
    for name in settings:
        if name not in names and name.startswith((SETTING_PREFIX, MISTAKEN_PREFIX)):
            raise ConfigurationError(_explain_unknown(name, names))
    parsed = Settings(**{setting.field_name: setting.read_from(settings) for setting in SETTINGS})
    if parsed.allow.is_unbounded and not parsed.tokens:
        raise ConfigurationError(
            f"cron.allow: {settings['cron.allow']!r} lets in every address; "
            "expected a cron.token to go with it, or fewer addresses"
        )
    return parsed


def _explain_unknown(name: str, names: list[str]) -> str:
    own_name = SETTING_PREFIX + name.removeprefix(MISTAKEN_PREFIX).removeprefix(SETTING_PREFIX)
    hint = suggest(own_name, names) or f"; there are {', '.join(names)}"
    return f"{name} is no setting of pyramid_cron{hint}"


#: Every setting there is, in the order they are documented.
SETTINGS: tuple[Setting, ...] = (
    Setting(
        "cron.url",
        "sqlite:///pyramid_cron.sqlite",
        setting_parsers.parse_store_url,
        "a SQLAlchemy URL such as sqlite:///relative.sqlite, sqlite:////absolute.sqlite, sqlite://,"
        " postgresql://user@host/database or mariadb://user@host/database",
        "SQLAlchemy URL of the run store: SQLite, PostgreSQL or MariaDB; sqlite:// keeps it in"
        " memory",
    ),
    Setting(
        "cron.table_prefix",
        "cron_",
        setting_parsers.parse_table_prefix,
        f"up to {setting_parsers.MAX_TABLE_PREFIX_LENGTH} ASCII letters, digits and underscores,"
        " no digit first",
        "what the names of the store's tables begin with",
    ),
    Setting(
        "cron.timezone",
        "the host's local zone",
        setting_parsers.parse_zone_name,
        setting_parsers.ZONE_NAME_HINT,
        "zone of all schedules that name none of their own",
        find_default=setting_parsers.find_host_timezone,
    ),
    Setting(
        "cron.path",
        "/cron",
        setting_parsers.parse_path,
        "a path such as /cron: beginning but not ending with a slash, of letters, digits and ._~-",
        "where the tick and the pages live; honours route_prefix",
    ),
    Setting(
        "cron.allow",
        "127.0.0.1 ::1",
        setting_parsers.parse_allow,
        setting_parsers.NETWORKS_HINT,
        "addresses that may trigger; * for any, which requires cron.token",
    ),
    Setting(
        "cron.token",
        "",
        setting_parsers.parse_tokens,
        "printable ASCII without spaces, several tokens separated by whitespace, none of which"
        " begins with ; or #: ini files have no comments at the end of a line",
        "bearer tokens; when set, one is required as well as an allowed address",
        is_secret=True,
        is_guard=True,
        attribute="tokens",
    ),
    Setting(
        "cron.trusted_proxies",
        "",
        setting_parsers.parse_trusted_proxies,
        setting_parsers.NETWORKS_HINT,
        "proxies whose X-Forwarded-For is believed",
    ),
    Setting(
        "cron.permission",
        "",
        parse_optional_text,
        "the name of a permission",
        "permission that lets somebody use the pages, instead of the rule for the trigger",
        is_guard=True,
    ),
    Setting(
        "cron.view_permission",
        "",
        parse_optional_text,
        "the name of a permission",
        "permission that lets somebody see the pages; cron.permission is then for who may act",
        is_guard=True,
    ),
    Setting(
        "cron.hosts",
        "",
        setting_parsers.parse_hosts,
        "names such as shop.example, without a port, separated by whitespace",
        "names under which the pages may be asked for where addresses alone guard them; localhost"
        " and plain addresses always may",
    ),
    Setting(
        "cron.budget",
        "60",
        setting_parsers.parse_budget,
        "a finite number of seconds above 0",
        "seconds a tick has",
    ),
    Setting(
        "cron.capacity",
        "8",
        setting_parsers.parse_capacity,
        "an integer, 1 or more",
        "total weight that may run outside of requests at once, over all processes and hosts",
    ),
    Setting(
        "cron.base_url",
        "",
        setting_parsers.make_optional_parser(setting_parsers.parse_base_url),
        "a URL such as https://example.com or https://example.com/shop",
        "where tasks outside the tick's request find the application; by default where the trigger"
        " was hit",
    ),
    Setting(
        "cron.config_uri",
        "",
        setting_parsers.make_optional_parser(setting_parsers.parse_config_uri),
        "the path of an ini file, such as production.ini or production.ini#shop",
        'the application\'s ini file, which the processes of tasks with executor="process" load;'
        " relative to the working directory",
    ),
    Setting(
        "cron.celery.broker_url",
        "",
        parse_optional_text,
        "the URL of a broker, such as redis://127.0.0.1:6379/0",
        'where tasks with executor="celery" are sent',
        is_secret=True,
        attribute="celery_broker_url",
    ),
    Setting(
        "cron.celery.app",
        "",
        parse_optional_text,
        "the dotted name of a Celery app, such as shop.celery:app",
        "the application's own Celery app, which sends them instead",
        attribute="celery_app",
    ),
    Setting(
        "cron.lease",
        "60",
        setting_parsers.make_duration_parser(timedelta(seconds=1)),
        "at least a second: seconds, or text such as 90s or 5m",
        "how long a process may show no sign of life before its runs count as lost",
    ),
    Setting(
        "cron.retention",
        "30d",
        setting_parsers.make_duration_parser(timedelta(minutes=1)),
        "at least a minute: seconds, or text such as 12h or 30d",
        "how long runs are kept",
    ),
    Setting(
        "cron.shutdown_timeout",
        "30",
        setting_parsers.make_duration_parser(timedelta(0)),
        "seconds, or text such as 90s or 5m",
        "how long running tasks may go on when the process stops, before they are cancelled",
    ),
    Setting(
        "cron.beats",
        "true",
        setting_parsers.parse_boolean,
        "true or false",
        "whether a process goes on by itself between ticks: with what is due within the minute,"
        " what waits, and room that becomes free",
    ),
    Setting(
        "cron.self_trigger",
        "false",
        setting_parsers.parse_boolean,
        "true or false",
        "whether each process makes the ticks of every minute itself, so that nothing need hit"
        " the trigger",
    ),
    Setting(
        "cron.folders",
        "",
        setting_parsers.parse_paths,
        "paths, or asset specifications such as shop:jobs, separated by whitespace",
        "folders of scripts that are tasks, as with config.add_cron_folder",
    ),
    Setting(
        "cron.crontabs",
        "",
        setting_parsers.parse_crontabs,
        "paths, or asset specifications such as shop:shop.cron, separated by whitespace; each"
        " followed by the word user if it has the column of /etc/cron.d",
        "crontabs whose lines are tasks, as with config.add_crontab; user after a path is its"
        " user=True",
    ),
    Setting(
        "cron.monitors",
        "",
        setting_parsers.parse_monitors,
        f"any of {', '.join(MONITOR_SERVICES)}, separated by whitespace",
        "monitoring services that are told of the runs of tasks with monitor=",
    ),
    Setting(
        "cron.heartbeat_url",
        "",
        setting_parsers.make_optional_parser(setting_parsers.parse_http_url),
        setting_parsers.HTTP_URL_HINT,
        "what is requested by GET after each tick",
        is_secret=True,
    ),
    Setting(
        "cron.healthchecks.url",
        "https://hc-ping.com",
        setting_parsers.parse_service_url,
        setting_parsers.HTTP_URL_HINT,
        "where Healthchecks takes pings",
    ),
    Setting(
        "cron.healthchecks.ping_key",
        "",
        setting_parsers.make_optional_parser(setting_parsers.parse_monitor_key),
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
        setting_parsers.parse_service_url,
        setting_parsers.HTTP_URL_HINT,
        "where SteadyCron's API is",
    ),
    Setting(
        "cron.steadycron.ping_url",
        "https://ping.steadycron.com",
        setting_parsers.parse_service_url,
        setting_parsers.HTTP_URL_HINT,
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
        setting_parsers.parse_boolean,
        "true or false",
        "whether SteadyCron is sent the error of a run that failed",
    ),
    Setting(
        "cron.steadycron.tokens",
        "",
        setting_parsers.parse_monitor_tokens,
        "lines such as nightly-backup=token, or a mapping",
        "ping tokens of monitors, which then need not be asked for",
        is_secret=True,
    ),
    Setting(
        "cron.sentry.dsn",
        "",
        setting_parsers.make_optional_parser(setting_parsers.parse_http_url),
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
    Setting(
        "cron.mail.to",
        "",
        setting_parsers.parse_addresses,
        "addresses such as ops@shop.example, separated by whitespace or commas",
        "who gets mail of tasks whose monitor= is a name and no address",
    ),
    Setting(
        "cron.mail.from",
        "",
        setting_parsers.parse_sender,
        "an address such as cron@shop.example, or Cron <cron@shop.example>",
        "whom mail is from; without it, the application's mail.default_sender",
    ),
    Setting(
        "cron.mail.subject_prefix",
        "[cron]",
        setting_parsers.parse_text,
        "text, such as [shop]",
        "what the subject of mail begins with",
    ),
)
