"""The stored schedules by HTTP: listed, made, changed and removed."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..schedule_arguments import SCHEDULE_ARGUMENTS
from ..schedule_control import ScheduleStatus, schedule_data
from ..serializers import JSONObject
from ..setting_parsers import parse_boolean
from ..text import format_instant
from . import responses, urls
from .problems import HTTPProblem
from .request_bodies import read_body
from .responses import json_response, page_view, redirect, respond, wants_html

SHOWN_FIELDS = {"state", "description", "next", "changed", "paused", "url"}
"""Fields of an answer that say how a schedule is: sent back, they change nothing."""

FIELDS = {"name", "task", "payload", "enabled", *SCHEDULE_ARGUMENTS, *SHOWN_FIELDS}
"""The fields that a request may send."""


@page_view("GET", "HEAD", "POST")
def schedules_view(request: Request) -> Response:
    """List the stored schedules, of a ``task`` or all; or make one."""
    if request.method == "POST":
        responses.check_parameters(request)
        return _make(request)
    responses.check_parameters(request, "task")
    task = request.GET.get("task") or None
    if task is not None:
        responses.check_storable("task", task)
    statuses = request.cron.schedules(task)
    data = {
        "now": format_instant(get_cron(request.registry).clock()),
        "schedules": [_linked_schedule(request, status) for status in statuses],
    }
    return respond(request, "schedules.html", data, task=task, title="Schedules")


@page_view("GET", "HEAD", "PUT", "DELETE")
def schedule_view(request: Request) -> Response:
    """Show, make or change, or remove the stored schedule of this name."""
    name = request.matchdict["name"]
    responses.check_parameters(request)
    responses.check_storable("name", name)
    status = _find(request, name)
    if request.method == "PUT":
        return _put(request, status, urls.unquote_name(name) if "%" in name else name)
    if status is None:
        raise HTTPProblem(404, f"there is no stored schedule named {name!r}")
    if request.method == "DELETE":
        read_body(request, set())
        request.cron.unschedule(status.name)
        return _respond(request, {"name": status.name, "removed": True}, 200)
    data = _linked_schedule(request, status)
    if wants_html(request):
        return redirect(urls.page_path(request, "schedules", task=status.task))
    return json_response(data)


def _find(request: Request, name: str) -> ScheduleStatus | None:
    for candidate in dict.fromkeys((name, urls.unquote_name(name))):
        try:
            status: ScheduleStatus = request.cron.get_schedule(candidate)
        except LookupError:
            continue
        return status
    return None


def _make(request: Request) -> Response:
    body = read_body(request, FIELDS)
    name = body.get("name")
    if isinstance(name, str) and _find(request, name) is not None:
        url = urls.schedule_path(request, name)
        raise HTTPProblem(409, f"name={name!r}: there is such a schedule; PUT to {url} changes it")
    return _respond(request, _schedule(request, name, body), 201)


def _put(request: Request, status: ScheduleStatus | None, path_name: str) -> Response:
    body = read_body(request, FIELDS)
    name = path_name if status is None else status.name
    if body.get("name", name) != name:
        raise HTTPProblem(400, f"name={body['name']!r}: must be {name!r}, as in the path")
    return _respond(request, _schedule(request, name, body), 201 if status is None else 200)


def _schedule(request: Request, name: Any, body: dict[str, Any]) -> JSONObject:
    """Make or replace a schedule; HTTPProblem 400 for what is wrong with it."""
    when = {argument: body.get(argument) for argument in SCHEDULE_ARGUMENTS}
    enabled = body.get("enabled", True)
    try:
        if isinstance(enabled, str):  # of a form
            enabled = parse_boolean(enabled)
        status = request.cron.schedule(name, body.get("task"), body.get("payload"), enabled, **when)
    except (TypeError, ValueError, OverflowError) as error:
        raise HTTPProblem(400, str(error)) from None
    return _linked_schedule(request, status)


def _linked_schedule(request: Request, status: ScheduleStatus) -> JSONObject:
    return {**schedule_data(status), "url": urls.schedule_path(request, status.name)}


def _respond(request: Request, data: JSONObject, status: int) -> Response:
    if wants_html(request):
        return redirect(urls.page_path(request, "schedules"))
    return json_response(data, status)
