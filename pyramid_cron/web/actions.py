"""The actions by POST: run, pause and resume tasks, cancel and retry runs."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..planning.pauses import active_pause
from ..run import Run, RunState, as_payload
from ..schedule.quantities import parse_duration
from ..schedule.zones import parse_moment
from ..serializers import pause_data, run_detail, waiting_run_data
from . import urls
from .access import CSRF_FIELD, is_csrf_safe, may_act
from .pages import render_page
from .responses import HTTPProblem, html_response, json_response, redirect, wants_html

TASK_ACTION_FIELDS = {
    "run": {"payload", "at", "after", "key"},
    "pause": {"until", "for", "reason"},
    "resume": set[str](),
}
"""The actions on a task, with the fields that a request may send."""

RUN_ACTIONS = ("cancel", "retry")


def available_actions(run: Run) -> list[str]:
    """Return the actions that a run in its state allows."""
    if not run.state.is_final:
        return ["cancel"]
    return ["retry"] if run.state.is_failure or run.state is RunState.CANCELLED else []


def confirm_task(request: Request, name: str, action: str) -> Response:
    """Return the page that confirms an action on a task."""
    return _confirm(request, action, tuple(TASK_ACTION_FIELDS), name, urls.task_path(request, name))


def confirm_run(request: Request, run: Run, action: str) -> Response:
    """Return the page that confirms an action on a run."""
    return _confirm(request, action, RUN_ACTIONS, run.task, urls.run_path(request, run.id))


def _confirm(
    request: Request, action: str, actions: tuple[str, ...], task: str, target_path: str
) -> Response:
    if action not in actions:
        raise HTTPProblem(400, f"confirm={action!r}: must be one of {', '.join(actions)}")
    if not wants_html(request):
        raise HTTPProblem(400, f"a confirmation is a page; POST to {target_path}/{action} instead")
    if not may_act(request):
        raise HTTPProblem(403, "you may look, and not act")
    title = f"{action.capitalize()} {task}"
    html = render_page(
        request, "confirm.html", action=action, task=task, back=target_path, title=title
    )
    return html_response(html)


def needs_post(action: str) -> HTTPProblem:
    """Return the error of who asks for an action by GET."""
    return HTTPProblem(405, f"{action} is an action: it takes a POST", "POST")


def act_on_task(request: Request, name: str, action: str) -> Response:
    """Run, pause or resume a task."""
    if action not in TASK_ACTION_FIELDS:
        raise HTTPProblem(
            404, f"a task has no action {action!r}, only {', '.join(TASK_ACTION_FIELDS)}"
        )
    _check_csrf(request)
    body = _parse_body(request, TASK_ACTION_FIELDS[action])
    if name not in get_cron(request.registry).task_registry.by_name:
        raise HTTPProblem(409, f"the task {name!r} is orphaned: it is not registered any more")
    if action == "run":
        return _run_or_defer(request, name, body)
    pattern = exact_pattern(name)
    if action == "pause":
        request.cron.pause(pattern, _parse_until(request, body), _optional_text(body, "reason"))
    else:
        request.cron.resume(pattern)
    cron = get_cron(request.registry)
    pause = pause_data(active_pause(name, cron.clock(), cron.store.pause_rules()))
    return _respond(request, urls.task_path(request, name), {"task": name, "paused": pause})


def _run_or_defer(request: Request, name: str, body: dict[str, Any]) -> Response:
    """Run a task now; with ``at``, ``after`` or ``key`` defer it."""
    try:
        payload = as_payload(body.get("payload"))
    except (TypeError, ValueError) as error:
        raise HTTPProblem(400, str(error)) from None
    if not body.keys() & {"at", "after", "key"}:
        run = request.cron.run(name, payload)
        url = urls.run_path(request, run.id)
        return _respond(request, url, {**run_detail(run), "url": url})
    at, after, key = (body.get(field) for field in ("at", "after", "key"))
    try:
        run = request.cron.defer(name, payload, at=at, after=after, key=key)
    except (TypeError, ValueError) as error:
        raise HTTPProblem(400, str(error)) from None
    data = waiting_run_data(run)
    return _respond(request, urls.task_path(request, name), data, status=202)


def act_on_run(request: Request, run: Run, action: str) -> Response:
    """Cancel or retry a run."""
    if action not in RUN_ACTIONS:
        raise HTTPProblem(404, f"a run has no action {action!r}, only {', '.join(RUN_ACTIONS)}")
    _check_csrf(request)
    _parse_body(request, set())
    try:
        (request.cron.cancel if action == "cancel" else request.cron.retry)(run.id)
    except (ValueError, LookupError) as error:
        raise HTTPProblem(409, str(error)) from None
    run = get_cron(request.registry).store.get_run(run.id) or run
    return _respond(request, urls.run_path(request, run.id), urls.linked_run(request, run))


def exact_pattern(name: str) -> str:
    """Return the pattern that matches only this name."""
    return f"re:\\A{re.escape(name)}\\Z"


def _check_csrf(request: Request) -> None:
    _read_form(request)  # it may have the token
    if not is_csrf_safe(request):
        raise HTTPProblem(403, "the CSRF token is missing or wrong: load the page again")


def _respond(request: Request, path: str, data: Any, status: int = 200) -> Response:
    return redirect(path) if wants_html(request) else json_response(data, status)


def _parse_body(request: Request, allowed_fields: set[str]) -> dict[str, Any]:
    """Return the body's fields, of JSON or of a form, whose empty fields are left out."""
    is_json = request.content_type == "application/json"
    body = _parse_json(request) if is_json else _parse_form(request)
    unknown = sorted(set(body) - allowed_fields)
    if unknown:
        allowed = ", ".join(sorted(allowed_fields))
        hint = f"there is {allowed}" if allowed else "nothing is taken here"
        raise HTTPProblem(400, f"{unknown[0]!r} is no field; {hint}")
    return body


def _parse_json(request: Request) -> dict[str, Any]:
    if not request.body.strip():
        return {}
    try:
        body = json.loads(request.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise HTTPProblem(400, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise HTTPProblem(400, "the body must be a JSON object")
    return body


def _parse_form(request: Request) -> dict[str, Any]:
    fields = _read_form(request).items()
    body = {name: text for name, text in fields if name != CSRF_FIELD and text != ""}
    if "payload" in body:
        try:
            body["payload"] = json.loads(str(body["payload"]), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise HTTPProblem(400, 'payload: must be JSON, as "text" or {"id": 7}') from None
    return body


def _read_form(request: Request) -> Any:
    try:
        return request.POST
    except (ValueError, DeprecationWarning):  # WebOb warns of any charset but UTF-8
        raise HTTPProblem(400, "the body is no form in UTF-8") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _optional_text(body: dict[str, Any], name: str) -> str | None:
    text = body.get(name)
    if text is not None and not isinstance(text, str):
        raise HTTPProblem(400, f"{name}={text!r}: must be text")
    return text


def _parse_until(request: Request, body: dict[str, Any]) -> datetime | None:
    """Return the end of a pause from ``for`` or ``until``; None without an end."""
    until, duration = _optional_text(body, "until"), body.get("for")
    now = get_cron(request.registry).clock()
    if until is not None and duration is not None:
        raise HTTPProblem(400, "for: can't go with until")
    try:
        if duration is not None:
            return now + parse_duration(duration, argument="for", min_seconds=1)
        moment = parse_moment(until) if until else None
    except (ValueError, TypeError, OverflowError) as error:
        raise HTTPProblem(400, f"for or until: {error}") from None
    if moment is not None and moment <= now:
        raise HTTPProblem(400, f"until={until!r}: must be in the future")
    return moment
