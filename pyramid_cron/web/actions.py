"""The actions by POST: run, pause and resume tasks; cancel, retry and reschedule runs."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..planning.pauses import active_pause
from ..run import Run, RunState, Trigger, as_payload
from ..schedule.quantities import parse_duration
from ..schedule.zones import parse_moment
from ..serializers import pause_data, run_detail
from ..setting_parsers import parse_boolean
from . import urls
from .access import CSRF_FIELD, is_csrf_safe, may_act
from .pages import render_page
from .responses import (
    HTTPProblem,
    check_storable,
    html_response,
    json_response,
    parse_trigger,
    redirect,
    wants_html,
)

TASK_ACTION_FIELDS = {
    "run": {"payload", "at", "after", "key", "replace"},
    "pause": {"until", "for", "reason"},
    "resume": set[str](),
}
"""The actions on a task, with the fields that a request may send."""

RUN_ACTION_FIELDS = {"cancel": set[str](), "retry": set[str](), "reschedule": {"at", "after"}}
"""The actions on a run, with the fields that a request may send."""


def available_actions(run: Run) -> list[str]:
    """Return the actions that a run in its state allows."""
    if run.state is RunState.WAITING:
        return ["reschedule", "cancel"]
    if run.state.is_active:
        return [] if run.is_cancel_requested else ["cancel"]
    return ["retry"] if run.state.is_failure or run.state is RunState.CANCELLED else []


def confirm_task(request: Request, name: str, action: str) -> Response:
    """Return the page that confirms an action on a task."""
    target_path = urls.task_path(request, name)
    return _confirm(request, action, TASK_ACTION_FIELDS, target_path, task=name)


def confirm_run(request: Request, run: Run, action: str) -> Response:
    """Return the page that confirms an action on a run."""
    target_path = urls.run_path(request, run.id)
    return _confirm(request, action, RUN_ACTION_FIELDS, target_path, task=run.task)


def confirm_on_waiting(
    request: Request, task: str | None, trigger: Trigger | None, action: str, count: int
) -> Response:
    """Return the page that confirms an action on the waiting runs of a task."""
    if task is None:
        raise HTTPProblem(400, f"confirm={action!r}: needs a task, whose waiting runs are meant")
    query = {"task": task, "trigger": trigger and trigger.value}
    back = urls.page_path(request, "waiting", **query)
    target_path = urls.page_path(request, "waiting")
    return _confirm(request, action, ("cancel",), target_path, **query, count=count, back=back)


def _confirm(
    request: Request, action: str, actions: Collection[str], target_path: str, **more: Any
) -> Response:
    if action not in actions:
        raise HTTPProblem(400, f"confirm={action!r}: must be one of {', '.join(actions)}")
    if not wants_html(request):
        raise HTTPProblem(400, f"a confirmation is a page; POST to {target_path}/{action} instead")
    if not may_act(request):
        raise HTTPProblem(403, "you may look, and not act")
    title = f"{action.capitalize()} {more['task']}"
    values = {"action": action, "target": target_path, "back": target_path} | more
    return html_response(render_page(request, "confirm.html", title=title, **values))


def needs_post(action: str) -> HTTPProblem:
    """Return the error of who asks for an action by GET."""
    return HTTPProblem(405, f"{action} is an action: it takes a POST", "POST")


def act_on_task(request: Request, name: str, action: str) -> Response:
    """Run, pause or resume a task."""
    if action not in TASK_ACTION_FIELDS:
        raise HTTPProblem(
            404, f"a task has no action {action!r}, only {', '.join(TASK_ACTION_FIELDS)}"
        )
    body = read_body(request, TASK_ACTION_FIELDS[action])
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
    """Run a task now; with ``at``, ``after``, ``key`` or ``replace`` defer it.

    The status is 202 if the run waits; not so if its key is that of one that has begun.
    """
    try:
        payload = as_payload(body.get("payload"))
    except (TypeError, ValueError) as error:
        raise HTTPProblem(400, str(error)) from None
    if not body.keys() & {"at", "after", "key", "replace"}:
        run = request.cron.run(name, payload)
        url = urls.run_path(request, run.id)
        return _respond(request, url, {**run_detail(run), "url": url})
    when = _parse_when(request, body)
    try:
        replace = parse_boolean(body.get("replace", False))
    except ValueError:
        raise HTTPProblem(400, f"replace={body['replace']!r}: must be true or false") from None
    try:
        run = request.cron.defer(name, payload, **when, key=body.get("key"), replace=replace)
    except (TypeError, ValueError) as error:
        raise HTTPProblem(400, str(error)) from None
    return _respond_with_waiting(request, run)


def _parse_when(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``at`` and ``after``; in a form ``at`` may be local time, as pages show it."""
    at, after = body.get("at"), body.get("after")
    if at is not None and request.content_type != "application/json":
        zone = ZoneInfo(get_cron(request.registry).settings.timezone)
        try:
            at = parse_moment(str(at), zone)
        except ValueError as error:
            raise HTTPProblem(400, f"at: {error}") from None
    return {"at": at, "after": after}


def act_on_run(request: Request, run: Run, action: str) -> Response:
    """Cancel, retry or reschedule a run."""
    if action not in RUN_ACTION_FIELDS:
        allowed = ", ".join(RUN_ACTION_FIELDS)
        raise HTTPProblem(404, f"a run has no action {action!r}, only {allowed}")
    body = read_body(request, RUN_ACTION_FIELDS[action])
    if action == "reschedule":
        return _reschedule(request, run, body)
    try:
        if action == "retry":
            return _respond_with_waiting(request, request.cron.retry(run.id))
        run = request.cron.cancel(run.id)
    except (ValueError, LookupError) as error:
        raise HTTPProblem(409, str(error)) from None
    data = {**urls.linked_run(request, run), "cancel_requested": run.is_cancel_requested}
    status = 200 if run.state.is_final else 202
    return _respond(request, urls.run_path(request, run.id), data, status)


def _reschedule(request: Request, run: Run, body: dict[str, Any]) -> Response:
    try:
        moved = request.cron.reschedule(run.id, **_parse_when(request, body))
    except (TypeError, ValueError) as error:
        is_against_state = run.state is not RunState.WAITING
        raise HTTPProblem(409 if is_against_state else 400, str(error)) from None
    return _respond_with_waiting(request, moved, 200)


def _respond_with_waiting(request: Request, run: Run, status: int = 202) -> Response:
    """Answer with a run that waits, or lead to its page; 200 if it does not wait any more."""
    data = urls.linked_waiting_run(request, run)
    return _respond(request, data["url"], data, status if run.state is RunState.WAITING else 200)


def cancel_waiting(request: Request) -> Response:
    """Cancel all waiting runs of the task in the body, or those with its trigger."""
    body = read_body(request, {"task", "trigger"})
    task, text = _optional_text(body, "task"), _optional_text(body, "trigger")
    if not task:
        raise HTTPProblem(400, "task: must be the name of the task whose waiting runs to cancel")
    check_storable("task", task)
    trigger = parse_trigger(text)
    try:
        count = request.cron.cancel_all(task, trigger)
    except LookupError as error:
        raise HTTPProblem(404, str(error)) from None
    data = {"task": task, "trigger": trigger and trigger.value, "cancelled": count}
    return _respond(request, urls.page_path(request, "waiting", task=task), data)


def exact_pattern(name: str) -> str:
    """Return the pattern that matches only this name."""
    return f"re:\\A{re.escape(name)}\\Z"


def _respond(request: Request, path: str, data: Any, status: int = 200) -> Response:
    return redirect(path) if wants_html(request) else json_response(data, status)


def read_body(request: Request, allowed_fields: set[str]) -> dict[str, Any]:
    """Return the body's fields, of JSON or of a form, whose empty fields are left out.

    Raises HTTPProblem 403 without a CSRF token, 400 for fields that are not allowed.
    """
    _read_form(request)  # it may have the token
    if not is_csrf_safe(request):
        raise HTTPProblem(403, "the CSRF token is missing or wrong: load the page again")
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
