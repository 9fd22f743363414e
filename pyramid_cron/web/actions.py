"""What a POST does: run, pause and resume tasks, cancel and retry runs."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..due.pauses import paused
from ..logs import instant
from ..run import Run, RunState, as_payload
from ..schedule.duration import span
from ..schedule.moments import in_utc
from ..state import cronwork
from . import urls
from .answers import Refused, as_html, as_json, see_other, wants_html
from .csrf import FIELD, meant
from .data import pause_data, run_data, whole_run
from .pages import render

FIELDS = {
    "run": {"payload", "at", "after", "key"},
    "pause": {"until", "for", "reason"},
    "resume": set[str](),
}
"""What may be sent with what is done to a task."""

RUN_ACTIONS = ("cancel", "retry")


def possible(run: Run) -> list[str]:
    """Return what can be done with a run."""
    if not run.state.final:
        return ["cancel"]
    return ["retry"] if run.state.failure or run.state is RunState.CANCELLED else []


def confirm_task(request: Request, name: str, action: str) -> Response:
    """Ask whether something is meant."""
    return _confirm(request, action, tuple(FIELDS), name, urls.task_path(request, name))


def confirm_run(request: Request, run: Run, action: str) -> Response:
    """Ask whether something is meant."""
    return _confirm(request, action, RUN_ACTIONS, run.task, urls.run_path(request, run.id))


def _confirm(
    request: Request, action: str, actions: tuple[str, ...], task: str, back: str
) -> Response:
    if action not in actions:
        raise Refused(400, f"confirm={action!r}: must be one of {', '.join(actions)}")
    if not wants_html(request):
        raise Refused(400, f"a confirmation is a page; POST to {back}/{action} instead")
    title = f"{action.capitalize()} {task}"
    html = render(request, "confirm.html", action=action, task=task, back=back, title=title)
    return as_html(html)


def on_task(request: Request, name: str, action: str) -> Response:
    """Do something with a task."""
    if action not in FIELDS:
        raise Refused(404, f"a task has no action {action!r}, only {', '.join(FIELDS)}")
    _check(request)
    given = _given(request, FIELDS[action])
    if name not in cronwork(request.registry).tasks.by_name:
        raise Refused(409, f"the task {name!r} is orphaned: it is not registered any more")
    if action == "run":
        return _run(request, name, given)
    pattern = exactly(name)
    if action == "pause":
        request.cron.pause(pattern, _until(request, given), _text(given, "reason"))
    else:
        request.cron.resume(pattern)
    cron = cronwork(request.registry)
    pause = pause_data(paused(name, cron.clock(), cron.store.words()))
    return _done(request, urls.task_path(request, name), {"name": name, "paused": pause})


def _run(request: Request, name: str, given: dict[str, Any]) -> Response:
    """Run a task now, or put on record that it is to run once, later."""
    try:
        payload = as_payload(given.get("payload"))
    except (TypeError, ValueError) as error:
        raise Refused(400, str(error)) from None
    if not given.keys() & {"at", "after", "key"}:
        run = request.cron.run(name, payload)
        return _done(request, urls.run_path(request, run.id), whole_run(request, run))
    at, after, key = (given.get(field) for field in ("at", "after", "key"))
    try:
        waiting = request.cron.defer(name, payload, at=at, after=after, key=key)
    except (TypeError, ValueError) as error:
        raise Refused(400, str(error)) from None
    data = {"name": name, "slot": instant(waiting.slot), "key": key}
    return _done(request, urls.task_path(request, name), data, status=202)


def on_run(request: Request, run: Run, action: str) -> Response:
    """Do something with a run."""
    if action not in RUN_ACTIONS:
        raise Refused(404, f"a run has no action {action!r}, only {', '.join(RUN_ACTIONS)}")
    _check(request)
    _given(request, set())
    try:
        (request.cron.cancel if action == "cancel" else request.cron.retry)(run.id)
    except (ValueError, LookupError) as error:
        raise Refused(409, str(error)) from None
    now = cronwork(request.registry).store.run(run.id) or run
    return _done(request, urls.run_path(request, run.id), run_data(request, now))


def exactly(name: str) -> str:
    """Return the pattern that matches this name alone."""
    return f"re:\\A{re.escape(name)}\\Z"


def _check(request: Request) -> None:
    _posted(request)  # where the token is looked for
    if not meant(request):
        raise Refused(403, "the CSRF token is missing or wrong: load the page again")


def _done(request: Request, path: str, data: Any, status: int = 200) -> Response:
    return see_other(path) if wants_html(request) else as_json(data, status)


def _given(request: Request, fields: set[str]) -> dict[str, Any]:
    """Return what is sent, as JSON or as a form, where an empty field is none."""
    given = _json(request) if request.content_type == "application/json" else _form(request)
    unknown = sorted(set(given) - fields)
    if unknown:
        known = f"there is {', '.join(sorted(fields))}" if fields else "nothing is taken here"
        raise Refused(400, f"{unknown[0]!r} is no field; {known}")
    return given


def _json(request: Request) -> dict[str, Any]:
    if not request.body.strip():
        return {}
    try:
        given = json.loads(request.body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON") from None
    if not isinstance(given, dict):
        raise Refused(400, "the body must be a JSON object")
    return given


def _form(request: Request) -> dict[str, Any]:
    sent = _posted(request).items()
    given = {name: text for name, text in sent if name != FIELD and text != ""}
    if "payload" in given:
        try:
            given["payload"] = json.loads(str(given["payload"]), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise Refused(400, 'payload: must be JSON, as "text" or {"id": 7}') from None
    return given


def _posted(request: Request) -> Any:
    try:
        return request.POST
    except (ValueError, DeprecationWarning):  # WebOb raises that for any charset but UTF-8
        raise Refused(400, "the body is no form in UTF-8") from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _text(given: dict[str, Any], name: str) -> str | None:
    text = given.get(name)
    if text is not None and not isinstance(text, str):
        raise Refused(400, f"{name}={text!r}: must be text")
    return text


def _until(request: Request, given: dict[str, Any]) -> datetime | None:
    until, lasting = _text(given, "until"), given.get("for")
    now = cronwork(request.registry).clock()
    if until is not None and lasting is not None:
        raise Refused(400, "for: can't go with until")
    try:
        if lasting is not None:
            length: timedelta = span(lasting, what="for", least=1)
            return now + length
        moment = until and datetime.fromisoformat(until.replace("Z", "+00:00"))
    except (ValueError, TypeError, OverflowError) as error:
        raise Refused(400, f"for or until: {error}") from None
    if not moment:
        return None
    if moment.tzinfo is None or moment <= now:
        raise Refused(400, f"until={until!r}: must be in the future, with an offset from UTC")
    try:
        return in_utc(moment, "until")
    except ValueError:
        raise Refused(400, f"until={until!r}: is beyond the calendar in UTC") from None
