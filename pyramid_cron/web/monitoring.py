"""``{cron.path}/health`` and ``{cron.path}/metrics``, for monitoring and for people."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..errors import ExtraMissingError, StoreError, TemplatesMissingError
from ..health_report import assess_health
from ..metrics import render_metrics
from ..planning.health import Health
from ..serializers import health_data, task_health_data
from ..text import escape_unprintable
from .pages import local_health_report, render_page, template_environment
from .problems import HTTPProblem, problem_json_response
from .responses import (
    accept_weights,
    check_parameters,
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
    """Answer 200 if all is healthy, else 503 with a line for each problem."""
    check_parameters(request)
    cron = get_cron(request.registry)
    is_page = _wants_page(request)
    try:
        report = local_health_report(request).health if is_page else assess_health(cron)
    except StoreError as error:
        log.error("health unknown: %s", error)
        return _store_error_response(request, str(error), is_page=is_page)
    status = 200 if report.is_healthy else 503
    if is_page:
        return _health_page(request, status, data=health_data(report), **_page_values(report))
    if wants_json(request):
        return json_response(health_data(report), status)
    return text_response(
        "\n".join(_one_line(line) for line in report.describe_problems() or ["ok"]), status
    )


def _store_error_response(request: Request, error: str, *, is_page: bool) -> Response:
    message = f"the store can't be read: {error}"
    if is_page:
        return _health_page(request, 503, problem=message)
    if wants_json(request):
        return problem_json_response(request, HTTPProblem(503, message), healthy=False)
    return text_response(_one_line(message), 503)


def _wants_page(request: Request) -> bool:
    """Return whether the request prefers HTML to plain text, and jinja2 is there to make it."""
    if not wants_html(request):
        return False
    weights = accept_weights(request)
    if weights.get("text/plain", 0.0) >= weights["text/html"]:
        return False
    try:
        template_environment()
    except TemplatesMissingError:
        return False
    return True


def _health_page(request: Request, status: int, **values: Any) -> Response:
    return html_response(render_page(request, "health.html", title="Health", **values), status)


def _page_values(report: Health) -> dict[str, Any]:
    """Return what the page shows besides the data: unhealthy tasks first."""
    return {"tasks": [task_health_data(task) for task in report.tasks_by_urgency]}


def _one_line(text: str) -> str:
    return escape_unprintable(" ".join(text.splitlines()))


@page_view("GET", "HEAD")
def metrics_view(request: Request) -> Response:
    """Answer with the metrics; 501 without prometheus_client, 503 without a store."""
    cron = get_cron(request.registry)
    try:
        body, content_type = render_metrics(cron, request.headers.get("Accept", ""), cron.clock())
    except ExtraMissingError as error:
        return text_response(str(error), 501)
    except StoreError as error:
        log.error("metrics unknown: %s", error)
        return text_response(f"the store can't be read: {error}", 503)
    response = Response(body)
    response.headers.update({"Content-Type": content_type, "Cache-Control": "no-store"})
    return response
