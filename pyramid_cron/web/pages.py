"""Pages from templates: what they show, and how text, times and spans are written on them."""

from __future__ import annotations

import json
import unicodedata
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request

from ..app import get_cron
from ..schedule.zones import to_zone
from ..text import format_instant
from . import urls
from .access import csrf_token

INVISIBLE_CATEGORIES = {"Cc", "Cf", "Cs"}
"""Unicode's categories of what has no look of its own, or changes how other text looks."""

RELATIVE_UNITS_SECONDS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class TemplatesMissingError(Exception):
    """Pages need the package jinja2."""

    def __init__(self) -> None:
        super().__init__(
            'pages need the package jinja2: pip install "pyramid_cron[web]";'
            " without it there is JSON (Accept: application/json)"
        )


def render_page(request: Request, template: str, **values: Any) -> str:
    """Return a page. Raises NoTemplates where jinja2 is missing."""
    made = template_environment().get_template(template)
    now = get_cron(request.registry).clock()
    zone = ZoneInfo(get_cron(request.registry).settings.timezone)
    return str(
        made.render(
            request=request,
            now=now,
            zone=zone,
            navigation=navigation_links(request),
            path=lambda *segments, **query: urls.page_path(request, *segments, **query),
            task_path=lambda name, *more, **query: urls.task_path(request, name, *more, **query),
            run_path=lambda id_, *more, **query: urls.run_path(request, id_, *more, **query),
            csrf_token=lambda: csrf_token(request),
            moment=lambda text: format_moment(text, now, zone),
            **values,
        )
    )


@lru_cache(maxsize=1)
def template_environment() -> Any:
    """Return jinja2 as the pages use it; the application's renderers know nothing of it."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise TemplatesMissingError from None
    made = Environment(
        loader=PackageLoader("pyramid_cron.web"),
        autoescape=True,
        finalize=lambda value: escape_invisible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        seconds=format_seconds, percent=format_percent, label=format_label, json=format_json
    )
    return made


def navigation_links(request: Request) -> list[tuple[str, str]]:
    """Return the names and paths of the pages that there are; metrics only with their extra."""
    found = [(name.capitalize(), urls.page_path(request, name)) for name in ("tasks", "runs")]
    found.append(("Timeline", urls.page_path(request, "timeline")))
    introspector = request.registry.introspector
    for name in ("health", "metrics") if find_spec("prometheus_client") else ("health",):
        route = f"{urls.TRIGGER_ROUTE}.{name}"
        if introspector.get("routes", route) is not None:
            found.append((name.capitalize(), request.route_path(route)))
    return found


def escape_invisible(text: str) -> str:
    """Return the text with what can't be seen, or turns other text around, spelled out."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in INVISIBLE_CATEGORIES
        else f"\\x{ord(character):02x}"
        if ord(character) < 256
        else f"\\u{ord(character):04x}"
        for character in text
    )


def format_moment(text: str | None, now: datetime, zone: ZoneInfo) -> dict[str, str] | None:
    """Return how a moment in UTC is written: in the zone, in UTC, and how far from now it is."""
    if text is None:
        return None
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    local, today = to_zone(at, zone), now.astimezone(zone)
    pattern = "%H:%M:%S" if local.date() == today.date() else "%d %b %Y %H:%M"
    return {
        "utc": format_instant(at),
        "local": format(local, pattern),
        "relative": format_relative(at, now),
    }


def format_relative(moment: datetime, now: datetime) -> str:
    """Return how far a moment is from now, in words.

    A unit is used from two of it on: of one, rounding would take or add up to a half.
    """
    distance = round((moment - now).total_seconds())
    if not distance:
        return "now"
    size, unit = next(
        (each for each in RELATIVE_UNITS_SECONDS if abs(distance) >= 2 * each[0]),
        RELATIVE_UNITS_SECONDS[-1],
    )
    count = round(abs(distance) / size)
    text = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"in {text}" if distance > 0 else f"{text} ago"


def format_seconds(value: float | None) -> str:
    """Return a span as people write it."""
    if value is None:
        return "–"
    if round(value * 1000) < 1000:
        return f"{value * 1000:.0f} ms"
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def format_percent(share: float | None) -> str:
    """Return a share in percent, rounded down: only what never failed has 100 %."""
    return "–" if share is None else f"{int(share * 100)} %"


def format_label(name: str) -> str:
    """Return a state or a policy as words."""
    return name.replace("_", " ")


def format_json(value: Any) -> str:
    """Return a JSON value as text."""
    return json.dumps(value, ensure_ascii=False, indent=2)
