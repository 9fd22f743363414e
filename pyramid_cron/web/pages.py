"""Pages from templates, and the text of moments, durations and names on them."""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request

from ..app import get_cron
from ..errors import StoreError, TemplatesMissingError
from ..health_report import HealthReport, read_health_report
from ..planning.health import Health
from ..schedule.zones import parse_moment, to_zone
from ..text import escape_unprintable, format_instant
from . import urls
from .access import csrf_token, lacks_buttons_by_server, may_act

RELATIVE_UNITS_SECONDS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))

REPORT_KEY = "pyramid_cron.health_report"
"""Under this the environment of a request has the health that its page shows."""

_UNREAD = object()


MAX_CELL_CHARACTERS = 80
"""Characters of a payload that a table shows."""


def render_page(request: Request, template: str, **values: Any) -> str:
    """Return a page as HTML. Raises TemplatesMissingError without jinja2."""
    cron = get_cron(request.registry)
    now, zone = cron.clock(), ZoneInfo(cron.settings.timezone)
    health = _known_health(request)
    is_silent = health is not None and not health.is_ticking
    return str(
        template_environment()
        .get_template(template)
        .render(
            request=request,
            now=now,
            zone=zone,
            navigation=navigation_links(request),
            unhealthy_count=len(health.unhealthy_tasks) if health else 0,
            silent_since=health.last_tick if is_silent and health else None,
            is_silent=is_silent,
            icon=draw_icon,
            crontab_line=urls.crontab_line(request) if is_silent else None,
            path=lambda *segments, **query: urls.page_path(request, *segments, **query),
            task_path=lambda name, *more, **query: urls.task_path(request, name, *more, **query),
            run_path=lambda run_id, *more, **query: urls.run_path(request, run_id, *more, **query),
            schedule_path=lambda name, **query: urls.schedule_path(request, name, **query),
            csrf_token=lambda: csrf_token(request),
            may_act=lambda: may_act(request),
            lacks_buttons=lacks_buttons_by_server(request),
            schedule_text=lambda text: text and text.replace(f" ({zone.key})", ""),
            moment=lambda text: text and format_moment(parse_moment(text), now, zone),
            **values,
        )
    )


def local_health_report(request: Request) -> HealthReport:
    """Return the health, moments in the pages' time zone; it is read once in a request.

    Raises StoreError if the store can't be read.
    """
    report: HealthReport | None = request.environ.get(REPORT_KEY)
    if report is None:
        request.environ[REPORT_KEY] = None  # not to be read again for a page that says it failed
        cron = get_cron(request.registry)
        now, zone = cron.clock(), ZoneInfo(cron.settings.timezone)
        report = read_health_report(cron, lambda at: format_moment(at, now, zone)["local"])
        request.environ[REPORT_KEY] = report
    return report


def _known_health(request: Request) -> Health | None:
    """Return the health for the frame of a page; None if the store can't be read."""
    try:
        known = request.environ.get(REPORT_KEY, _UNREAD)
        report = local_health_report(request) if known is _UNREAD else known
    except StoreError:
        return None
    return None if report is None else report.health


@lru_cache(maxsize=1)
def template_environment() -> Any:
    """Return the pages' own jinja2 environment. Raises TemplatesMissingError without jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise TemplatesMissingError from None
    environment = Environment(
        loader=PackageLoader("pyramid_cron.web"),
        autoescape=True,
        finalize=lambda value: escape_unprintable(value, "\n\t") if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        seconds=format_seconds,
        percent=format_percent,
        label=format_label,
        json=format_json,
        short_json=format_short_json,
    )
    return environment


def navigation_links(request: Request) -> list[tuple[str, str]]:
    """Return the names and paths of the pages; metrics only with their extra."""
    pages = ("overview", "tasks", "runs", "upcoming", "waiting", "schedules", "timeline", "actions")
    links = [(name.capitalize(), urls.page_path(request, name)) for name in pages]
    introspector = request.registry.introspector
    for name in ("health", "metrics") if find_spec("prometheus_client") else ("health",):
        route = f"{urls.TRIGGER_ROUTE}.{name}"
        if introspector.get("routes", route) is not None:
            links.append((name.capitalize(), request.route_path(route)))
    return links


def draw_icon(unhealthy_count: int, is_silent: bool) -> str:
    """Return the icon of a page as a URL: a clock, or in red the number of unhealthy tasks."""
    if unhealthy_count or is_silent:
        color, sign = "%23b3261e", str(unhealthy_count or "!") if unhealthy_count < 100 else "99"
        text = f"<text x='8' y='12' font-size='11' text-anchor='middle' fill='%23fff'>{sign}</text>"
    else:
        color, text = "%231f7a4d", "<path d='M8 4v4l3 2' stroke='%23fff' fill='none'/>"
    circle = f"<circle cx='8' cy='8' r='8' fill='{color}'/>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{circle}{text}</svg>"
    return f"data:image/svg+xml,{svg}"


def format_moment(moment: datetime, now: datetime, zone: ZoneInfo) -> dict[str, str]:
    """Return a moment (aware, UTC) as text: ``utc``, ``local`` in the zone, ``relative`` to now."""
    local, today = to_zone(moment, zone), now.astimezone(zone)
    pattern = "%H:%M:%S" if local.date() == today.date() else "%d %b %Y %H:%M"
    return {
        "utc": format_instant(moment),
        "local": format(local, pattern),
        "relative": format_relative(moment, now),
    }


def format_relative(moment: datetime, now: datetime) -> str:
    """Return the distance of a moment from now in words.

    A unit is used from two of it on: rounding to one would be off by up to a half.
    """
    distance = round((moment - now).total_seconds())
    if not distance:
        return "now"
    size, unit = next(
        (row for row in RELATIVE_UNITS_SECONDS if abs(distance) >= 2 * row[0]),
        RELATIVE_UNITS_SECONDS[-1],
    )
    count = round(abs(distance) / size)
    text = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"in {text}" if distance > 0 else f"{text} ago"


def format_seconds(value: float | None) -> str:
    """Return a duration with its units: ``350 ms``, ``2.5 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value is None:
        return "–"
    if round(value * 1000) < 1000:
        return f"{value * 1000:.0f} ms"
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def format_percent(share: float | None) -> str:
    """Return a share in percent, rounded down: 100 % only without any failure."""
    return "–" if share is None else f"{int(share * 100)} %"


def format_label(name: str) -> str:
    """Return the name of a state or policy as words."""
    return name.replace("_", " ")


def format_json(value: Any) -> str:
    """Return a JSON value as indented text."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def format_short_json(value: Any) -> str:
    """Return a JSON value as text for a cell of a table, with an ellipsis where it was cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_CELL_CHARACTERS else f"{text[:MAX_CELL_CHARACTERS]}…"
