"""``{cron.path}/health``: whether all is well, for what watches over servers, and for people."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request
from pyramid.response import Response

from ..due.health import Health
from ..health import health
from ..logs import instant
from ..state import Cronwork, cronwork
from ..store.engine import StoreError
from .answers import as_html, as_json, as_text, page, wants_html
from .pages import NoTemplates, environment, moment, render, visible
from .views import asked_by_name, asks_for_json

log = logging.getLogger("pyramid_cron")


@page("GET", "HEAD")
def health_view(request: Request) -> Response:
    """Answer 200 where all is well, else 503, with the reasons."""
    cron = cronwork(request.registry)
    as_page = _wants_page(request)
    try:
        found = _as_people_read_it(cron) if as_page else health(cron)
    except StoreError as error:
        log.error("health unknown: %s", error)
        return _unknown(request, str(error), as_page=as_page)
    status = 200 if found.healthy else 503
    if as_page:
        return _page(request, status, data=found.as_dict(), **_shown(found))
    if asks_for_json(request):
        return as_json(found.as_dict(), status)
    return as_text("\n".join(_line(each) for each in found.complaints() or ["ok"]), status)


def _unknown(request: Request, error: str, *, as_page: bool) -> Response:
    message = f"the store can't be read: {error}"
    if as_page:
        return _page(request, 503, problem=message)
    if asks_for_json(request):
        return as_json({"healthy": False, "error": error}, 503)
    return as_text(_line(message), 503)


def _wants_page(request: Request) -> bool:
    """Return whether a page is asked for, and can be made: plain text needs no jinja2."""
    if not wants_html(request):
        return False
    asked = asked_by_name(request)
    if asked.get("text/plain", 0.0) >= asked["text/html"]:
        return False
    try:
        environment()
    except NoTemplates:
        return False
    return True


def _page(request: Request, status: int, **values: Any) -> Response:
    return as_html(render(request, "health.html", title="Health", **values), status)


def _as_people_read_it(cron: Cronwork) -> Health:
    """Return how everything is, moments in the zone that the pages have."""
    now, zone = cron.clock(), ZoneInfo(cron.settings.timezone)

    def local(at: datetime) -> str:
        told = moment(instant(at), now, zone)
        return str(told["local"]) if told else ""

    return health(cron, local)


def _shown(found: Health) -> dict[str, Any]:
    """Return what a page shows besides the data: what somebody has to look after comes first."""
    first = sorted(found.tasks, key=lambda task: task.state.healthy)
    return {"silence": found.silence(), "tasks": [task.as_dict() for task in first]}


def _line(text: str) -> str:
    """Return a text in one line, and nothing in it that a terminal would obey."""
    return " ".join(visible(text).split("\n"))
