"""``{cron.path}/health``: whether all is well, for what watches over servers, and for people."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..errors import StoreError
from ..health_report import assess_health
from ..metrics import ExtraMissingError, render_metrics
from ..planning.health import Health
from ..serializers import health_data, task_health_data
from ..text import format_instant
from .pages import (
    TemplatesMissingError,
    escape_invisible,
    format_moment,
    render_page,
    template_environment,
)
from .responses import (
    accept_weights,
    html_response,
    json_response,
    page_view,
    text_response,
    wants_html,
    wants_json,
)

log = logging.getLogger("pyramid_cron")


@page_view("GET", "HEAD")
def health_view(request: Request) -> Response:
    """Answer 200 where all is well, else 503, with the reasons."""
    cron = get_cron(request.registry)
    as_page = _wants_page(request)
    try:
        found = _health_in_local_time(cron) if as_page else assess_health(cron)
    except StoreError as error:
        log.error("health unknown: %s", error)
        return _store_error_response(request, str(error), is_page=as_page)
    status = 200 if found.is_healthy else 503
    if as_page:
        return _health_page(request, status, data=health_data(found), **_page_values(found))
    if wants_json(request):
        return json_response(health_data(found), status)
    return text_response(
        "\n".join(_one_line(each) for each in found.describe_problems() or ["ok"]), status
    )


def _store_error_response(request: Request, error: str, *, is_page: bool) -> Response:
    message = f"the store can't be read: {error}"
    if is_page:
        return _health_page(request, 503, problem=message)
    if wants_json(request):
        return json_response({"healthy": False, "error": error}, 503)
    return text_response(_one_line(message), 503)


def _wants_page(request: Request) -> bool:
    """Return whether a page is asked for, and can be made: plain text needs no jinja2."""
    if not wants_html(request):
        return False
    asked = accept_weights(request)
    if asked.get("text/plain", 0.0) >= asked["text/html"]:
        return False
    try:
        template_environment()
    except TemplatesMissingError:
        return False
    return True


def _health_page(request: Request, status: int, **values: Any) -> Response:
    return html_response(render_page(request, "health.html", title="Health", **values), status)


def _health_in_local_time(cron: CronApp) -> Health:
    """Return how everything is, moments in the zone that the pages have."""
    now, zone = cron.clock(), ZoneInfo(cron.settings.timezone)

    def local(at: datetime) -> str:
        told = format_moment(format_instant(at), now, zone)
        return str(told["local"]) if told else ""

    return assess_health(cron, local)


def _page_values(report: Health) -> dict[str, Any]:
    """Return what a page shows besides the data: what somebody has to look after comes first."""
    first = sorted(report.tasks, key=lambda task: task.state.is_healthy)
    return {
        "silence": report.describe_silence(),
        "tasks": [task_health_data(task) for task in first],
    }


def _one_line(text: str) -> str:
    """Return a text in one line, and nothing in it that a terminal would obey."""
    return " ".join(escape_invisible(text).split("\n"))


@page_view("GET", "HEAD")
def metrics_view(request: Request) -> Response:
    """Answer with the metrics; 501 without prometheus_client, 503 without a store."""
    cron = get_cron(request.registry)
    try:
        body, content_type = render_metrics(cron, request.headers.get("Accept", ""), cron.clock())
    except ExtraMissingError as error:
        return _metrics_error(501, str(error))
    except StoreError as error:
        log.error("metrics unknown: %s", error)
        return _metrics_error(503, f"the store can't be read: {error}")
    response = Response(body)
    response.headers.update({"Content-Type": content_type, "Cache-Control": "no-store"})
    return response


def _metrics_error(status: int, body: str) -> Response:
    response = Response(body, status=status, content_type="text/plain", charset="UTF-8")
    response.headers["Cache-Control"] = "no-store"
    return response
