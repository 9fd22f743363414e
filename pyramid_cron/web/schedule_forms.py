"""The form of a stored schedule, and what it means, which is shown before it is saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..planning.forecast import following_slots
from ..schedule.zones import get_zone, parse_moment
from ..schedule_arguments import FIELDS, SCHEDULE_ARGUMENTS, ScheduleTimes, check_when
from ..schedule_control import ScheduleStatus, check_names, make_schedule
from ..serializers import JSONObject
from ..setting_parsers import parse_boolean
from ..text import format_instant
from . import responses, urls
from .access import may_act
from .pages import render_page
from .problems import HTTPProblem, find_blamed
from .request_bodies import read_body, read_form
from .responses import html_response, json_response, page_view, redirect

EXPLAINED_SLOTS = 5

NO_NAME = "a schedule"
"""Stands for a name that is not known yet."""

MOMENTS = ("at", "starting", "ending")

FORM_FIELDS = {"name", "task", "payload", "enabled", "explained", *SCHEDULE_ARGUMENTS}
"""The fields of the form; ``explained`` is what it meant when that was shown."""

INTEGER_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@page_view("GET", "HEAD")
def explain_view(request: Request) -> Response:
    """Say what a schedule means: in plain English, with its next slots; it is JSON always."""
    responses.check_parameters(request, "name", "task", *SCHEDULE_ARGUMENTS)
    texts = {name: text for name, text in request.GET.items() if text.strip()}
    return json_response(_explain(get_cron(request.registry), texts))


def _explain(cron: CronApp, texts: Mapping[str, str]) -> JSONObject:
    """Return what texts mean; HTTPProblem 400 for what is wrong. Name and task may be missing."""
    name, task = texts.get("name", ""), texts.get("task", "")
    zone = cron.settings.timezone
    try:
        if task:
            zone = check_names(cron, name or NO_NAME, task).timezone
        when = parse_texts(texts, zone)
        arguments, times = check_when(name or NO_NAME, when, zone, cron.clock())
    except (TypeError, ValueError, OverflowError) as error:
        raise HTTPProblem(400, str(error)) from None
    return _explanation(cron, name, task, arguments, times)


def _explanation(
    cron: CronApp, name: str, task: str, arguments: Mapping[str, Any], times: ScheduleTimes
) -> JSONObject:
    slots = islice(following_slots(times, cron.clock()), EXPLAINED_SLOTS)
    text = json.dumps([name, task, arguments], sort_keys=True)
    return {
        "description": times.describe(),
        "timezone": times.timezone,
        "next": [format_instant(slot) for slot in slots],
        "explained": hashlib.sha256(text.encode()).hexdigest()[:16],
    }


def parse_texts(texts: Mapping[str, str], timezone: str) -> dict[str, Any]:
    """Return the arguments that say when a schedule is, from the texts of a form.

    Each line of ``schedule`` is one. Moments without an offset are local time in the schedule's own
    zone, by default ``timezone``.
    """
    when: dict[str, Any] = {name: texts[name] for name in SCHEDULE_ARGUMENTS if texts.get(name)}
    lines = [line.strip() for line in when.get("schedule", "").splitlines() if line.strip()]
    if lines:
        when["schedule"] = lines[0] if len(lines) == 1 else lines
    zone = ZoneInfo(timezone)
    with suppress(ValueError):  # the schedule is refused for its zone
        zone = get_zone(when.get("timezone", timezone))
    for name in MOMENTS:
        if name in when:
            with suppress(ValueError, OverflowError):  # refused as it is
                when[name] = parse_moment(when[name], zone).isoformat()
    return when


def show_form(
    request: Request,
    status: ScheduleStatus | None,
    typed: Mapping[str, str],
    problem: HTTPProblem | None = None,
    explanation: JSONObject | None = None,
) -> Response:
    """Return the form to add a schedule, or to change that of a status, as it was filled in.

    ``explanation`` is what it means, to be looked at before it is saved.
    """
    if not may_act(request):
        raise HTTPProblem(403, "you may look, and not act")
    cron = get_cron(request.registry)
    if status is None:
        title, target = "Add a schedule", urls.page_path(request, "schedules")
    else:
        title, target = f"Change {status.name}", urls.schedule_path(request, status.name, "change")
    names = sorted({*cron.task_registry.by_name, *([status.task] if status else [])})
    html = render_page(
        request,
        "schedule_form.html",
        title=title,
        parent="Schedules",
        status=status,
        target=target,
        tasks=names,
        typed=lambda name: typed.get(name, ""),
        problem=problem,
        blamed=find_blamed(problem) if problem else None,
        explanation=explanation,
    )
    return html_response(html, problem.status if problem else 200)


def typed_of(status: ScheduleStatus) -> dict[str, str]:
    """Return the texts with which the form says what a stored schedule is."""
    typed = {
        name: _as_text(name, value) for name, value in status.when.items() if value is not None
    }
    payload = "" if status.payload is None else json.dumps(status.payload, ensure_ascii=False)
    enabled = "true" if status.enabled else "false"
    names = {"name": status.name, "task": status.task}
    return {**typed, **names, "payload": payload, "enabled": enabled}


def _as_text(name: str, value: Any) -> str:
    if name == "schedule":
        return value if isinstance(value, str) else "\n".join(value)
    if name in FIELDS and not isinstance(value, str):
        numbers = value if isinstance(value, list) else [value]
        # In texts days of the week count from Sunday: their names are the same everywhere.
        return ",".join(INTEGER_WEEKDAYS[n] if name == "dow" else str(n) for n in numbers)
    return str(value)


def save_form(request: Request, status: ScheduleStatus | None) -> Response:
    """Save what a form says once that was explained; else show the form with what it means.

    A form that is wrong comes back as it was filled in, with what would be right.
    """
    typed = {name: str(text) for name, text in read_form(request).items()}
    if status is not None:
        typed["name"] = status.name
    try:
        body = read_body(request, FORM_FIELDS)
        values, when, explanation = _read_form(get_cron(request.registry), typed, body)
        if status is None:
            refuse_known_name(request, typed["name"])
    except HTTPProblem as problem:
        if problem.status not in (400, 409):
            raise
        return show_form(request, status, typed, problem)
    if typed.get("explained") != explanation["explained"]:
        return show_form(request, status, typed, explanation=explanation)
    request.cron.schedule(*values, **when)
    return redirect(urls.schedule_path(request, typed["name"]))


def _read_form(
    cron: CronApp, typed: Mapping[str, str], body: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], JSONObject]:
    """Return the arguments for a schedule of a form, and what it means."""
    name, task = typed.get("name", ""), typed.get("task", "")
    try:
        enabled = parse_boolean(typed.get("enabled", "true"))
        when = parse_texts(typed, check_names(cron, name, task).timezone)
        values = (name, task, body.get("payload"), enabled)
        stored, times = make_schedule(cron, *values, when)
    except (TypeError, ValueError, OverflowError) as error:
        raise HTTPProblem(400, str(error)) from None
    return values, when, _explanation(cron, name, task, stored.arguments, times)


def refuse_known_name(request: Request, name: Any) -> None:
    """Refuse the name of a new schedule that another one has."""
    if isinstance(name, str) and find_schedule(request, name) is not None:
        url = urls.schedule_path(request, name)
        raise HTTPProblem(409, f"name={name!r}: there is such a schedule; PUT to {url} changes it")


def find_schedule(request: Request, name: str) -> ScheduleStatus | None:
    """Return the stored schedule of this name, or of that which a path has for it, or None."""
    for candidate in dict.fromkeys((name, urls.unquote_name(name))):
        try:
            status: ScheduleStatus = request.cron.get_schedule(candidate)
        except LookupError:
            continue
        return status
    return None
