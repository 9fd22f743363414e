"""The stored schedules by HTTP: listed, made, changed, paused, resumed and removed."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..planning.forecast import following_slots
from ..schedule_arguments import SCHEDULE_ARGUMENTS
from ..schedule_control import ScheduleStatus, describe_schedules, schedule_data
from ..serializers import JSONObject, pause_data
from ..setting_parsers import parse_boolean
from ..store import queries
from ..store.stored_schedules import ScheduleFilter, count_listed, list_schedules
from ..text import format_instant
from . import actions, responses, urls
from .problems import HTTPProblem
from .request_bodies import FORM_TYPES, optional_text, parse_until, read_body
from .responses import json_response, page_view, redirect, respond, wants_html
from .schedule_forms import (
    EXPLAINED_SLOTS,
    find_schedule,
    refuse_known_name,
    save_form,
    show_form,
    typed_of,
)

SHOWN_FIELDS = {"state", "detail", "description", "next", "last", "changed", "paused", "url"}
"""Fields of an answer that say how a schedule is: sent back, they change nothing."""

FIELDS = {"name", "task", "payload", "enabled", *SCHEDULE_ARGUMENTS, *SHOWN_FIELDS}
"""The fields that a request may send."""

SCHEDULES_PER_PAGE = 50
SCHEDULE_PAGE_RUNS = 20


@page_view("GET", "HEAD", "POST")
def schedules_view(request: Request) -> Response:
    """List the stored schedules, of a ``task`` or all; or make one."""
    if request.method == "POST":
        responses.check_parameters(request)
        return save_form(request, None) if _is_form(request) else _make(request)
    responses.check_parameters(request, "task", "q", "limit", "page", "confirm")
    if "confirm" in request.GET:
        return _show_new_form(request, request.GET["confirm"])
    return _list(request, get_cron(request.registry))


def _is_form(request: Request) -> bool:
    """Return whether a browser sends a form, so that it is answered with pages."""
    return wants_html(request) and request.content_type in FORM_TYPES


def _show_new_form(request: Request, action: str) -> Response:
    if action != "add":
        raise HTTPProblem(400, f"confirm={action!r}: must be add")
    if not wants_html(request):
        path = urls.page_path(request, "schedules")
        raise HTTPProblem(400, f"confirm={action!r}: the form is a page; POST to {path} instead")
    return show_form(request, None, {"task": request.GET.get("task", "")})


def _list(request: Request, cron: CronApp) -> Response:
    task, part = (responses.query_text(request, name) for name in ("task", "q"))
    limit = responses.query_number(request, "limit", SCHEDULES_PER_PAGE, 1000)
    number = responses.query_number(request, "page", 1, 1_000_000)
    schedule_filter = ScheduleFilter(task, part)
    with cron.store.read_session() as session:
        total = count_listed(session, schedule_filter)
        stored = list_schedules(session, schedule_filter, limit, (number - 1) * limit)
    path_of = partial(urls.page_path, request, "schedules", task=task, q=part, limit=limit)
    data = {
        "now": format_instant(cron.clock()),
        "schedules": [
            _linked_schedule(request, status) for status in describe_schedules(cron, stored)
        ],
        "total": total,
        "page": number,
        "next": path_of(page=number + 1) if number * limit < total else None,
    }
    previous_path = path_of(page=number - 1) if number > 1 else None
    context = {"task": task, "name_part": part, "previous_path": previous_path}
    return respond(request, "schedules.html", data, title="Schedules", **context)


@page_view("GET", "HEAD", "POST", "PUT", "DELETE")
def schedule_view(request: Request) -> Response:
    """Show, make or change, or remove the stored schedule of this name, or act on it."""
    name = request.matchdict["name"]
    responses.check_parameters(request, *(("confirm",) if request.method == "GET" else ()))
    responses.check_storable("name", name)
    if request.method == "POST":
        if "/" not in name:
            raise HTTPProblem(405, "POST is not allowed here", "GET, HEAD, PUT, DELETE")
        name, _, action = name.rpartition("/")
        return _act(request, _find(request, name), action)
    if request.method == "PUT":
        return _put(request, find_schedule(request, name), name)
    status = _find(request, name)
    if request.method == "DELETE":
        read_body(request, set())
        return _remove(request, status)
    if not wants_html(request):
        return json_response(_linked_schedule(request, status))
    if "confirm" in request.GET:
        return _confirm(request, status, request.GET["confirm"])
    return _show(request, status)


def _find(request: Request, name: str) -> ScheduleStatus:
    status = find_schedule(request, name)
    if status is None:
        raise HTTPProblem(404, f"there is no stored schedule named {name!r}")
    return status


def _show(request: Request, status: ScheduleStatus) -> Response:
    cron = get_cron(request.registry)
    run_filter = queries.RunFilter(schedule=status.name)
    runs = queries.list_runs(cron.store, SCHEDULE_PAGE_RUNS, run_filter=run_filter)
    times = cron.find_times(status.name, status.when)
    slots = [] if status.next is None or times is None else following_slots(times, cron.clock())
    data = {
        **_linked_schedule(request, status),
        "next_slots": [format_instant(slot) for slot in islice(slots, EXPLAINED_SLOTS)],
        "runs": [urls.linked_run(request, run) for run in runs],
    }
    return respond(request, "schedule.html", data, title=status.name, parent="Schedules")


def _confirm(request: Request, status: ScheduleStatus, action: str) -> Response:
    if action == "change":
        return show_form(request, status, typed_of(status))
    return actions.confirm_schedule(request, status.name, action)


def _act(request: Request, status: ScheduleStatus, action: str) -> Response:
    if action == "change":
        return save_form(request, status)
    return actions.act_on_schedule(request, status.name, action, partial(_do, request, status))


def _do(request: Request, status: ScheduleStatus, action: str) -> Response:
    """Pause, resume or remove a schedule."""
    body = read_body(request, actions.SCHEDULE_ACTION_FIELDS[action])
    if action == "remove":
        return _remove(request, status)
    pattern = actions.exact_pattern(status.name)
    try:
        if action == "pause":
            request.cron.pause(pattern, parse_until(request, body), optional_text(body, "reason"))
        else:
            request.cron.resume(pattern)
    except LookupError:
        raise HTTPProblem(409, f"the schedule {status.name!r} is disabled") from None
    pause = pause_data(_find(request, status.name).paused)
    url = urls.schedule_path(request, status.name)
    return _respond(request, {"name": status.name, "paused": pause}, 200, url)


def _remove(request: Request, status: ScheduleStatus) -> Response:
    request.cron.unschedule(status.name)
    url = urls.page_path(request, "schedules")
    return _respond(request, {"name": status.name, "removed": True}, 200, url)


def _make(request: Request) -> Response:
    body = read_body(request, FIELDS)
    name = body.get("name")
    refuse_known_name(request, name)
    return _schedule(request, name, body, 201)


def _put(request: Request, status: ScheduleStatus | None, path_name: str) -> Response:
    body = read_body(request, FIELDS)
    if status is not None:
        name = status.name
    else:
        name = urls.unquote_name(path_name) if "%" in path_name else path_name
    if body.get("name", name) != name:
        raise HTTPProblem(400, f"name={body['name']!r}: must be {name!r}, as in the path")
    return _schedule(request, name, body, 201 if status is None else 200)


def _schedule(request: Request, name: Any, body: dict[str, Any], code: int) -> Response:
    """Make or replace a schedule; HTTPProblem 400 for what is wrong with it."""
    when = {argument: body.get(argument) for argument in SCHEDULE_ARGUMENTS}
    enabled = body.get("enabled", True)
    try:
        if isinstance(enabled, str):  # of a form
            enabled = parse_boolean(enabled)
        status = request.cron.schedule(name, body.get("task"), body.get("payload"), enabled, **when)
    except (TypeError, ValueError, OverflowError) as error:
        raise HTTPProblem(400, str(error)) from None
    data = _linked_schedule(request, status)
    return _respond(request, data, code, data["url"])


def _linked_schedule(request: Request, status: ScheduleStatus) -> JSONObject:
    data = schedule_data(status)
    if status.last is not None:
        data["last"]["url"] = urls.run_path(request, status.last.id)
    return {**data, "url": urls.schedule_path(request, status.name)}


def _respond(request: Request, data: JSONObject, code: int, url: str) -> Response:
    return redirect(url) if wants_html(request) else json_response(data, code)
