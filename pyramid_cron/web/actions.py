"""The actions by POST: run, pause and resume tasks; cancel, retry and reschedule runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..action_record import ActionKind, make_action
from ..app import get_cron
from ..planning.snapshot import pause_of
from ..run import Run, RunState, Trigger, as_payload
from ..runtime.background import start_manually
from ..runtime.request_scope import find_actor
from ..serializers import pause_data, run_detail
from ..setting_parsers import parse_boolean
from . import urls
from .access import may_act
from .pages import render_page
from .problems import HTTPProblem
from .request_bodies import (
    FORM_TYPES,
    optional_text,
    parse_until,
    parse_when,
    read_body,
    read_form,
)
from .responses import (
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

SCHEDULE_ACTION_FIELDS = {
    "pause": {"until", "for", "reason"},
    "resume": set[str](),
    "remove": set[str](),
}
"""The actions on a stored schedule, with the fields that a request may send."""


def available_actions(run: Run) -> list[str]:
    """Return the actions that a run in its state allows."""
    if run.state is RunState.WAITING:
        return ["reschedule", "cancel"]
    if run.state.is_active:
        return [] if run.is_cancel_requested else ["cancel"]
    return ["retry"] if run.state.is_failure or run.state is RunState.CANCELLED else []


def confirm_task(
    request: Request, name: str, action: str, problem: HTTPProblem | None = None
) -> Response:
    """Return the page that confirms an action on a task, with what was wrong with its form."""
    target_path = urls.task_path(request, name)
    return _confirm(request, action, TASK_ACTION_FIELDS, target_path, problem, task=name)


def confirm_run(
    request: Request, run: Run, action: str, problem: HTTPProblem | None = None
) -> Response:
    """Return the page that confirms an action on a run, with what was wrong with its form."""
    target_path = urls.run_path(request, run.id)
    return _confirm(request, action, RUN_ACTION_FIELDS, target_path, problem, task=run.task)


def confirm_schedule(
    request: Request, name: str, action: str, problem: HTTPProblem | None = None
) -> Response:
    """Return the page that confirms an action on a stored schedule, as :func:`confirm_task`."""
    target_path = urls.schedule_path(request, name)
    return _confirm(request, action, SCHEDULE_ACTION_FIELDS, target_path, problem, task=name)


def confirm_on_waiting(
    request: Request, task: str | None, trigger: Trigger | None, action: str, count: int
) -> Response:
    """Return the page that confirms an action on the waiting runs of a task."""
    if task is None:
        raise HTTPProblem(400, f"confirm={action!r}: needs a task, whose waiting runs are meant")
    path = urls.page_path(request, "waiting")
    text = trigger and trigger.value
    back = urls.page_path(request, "waiting", task=task, trigger=text)
    return _confirm(
        request, action, ("cancel",), path, task=task, trigger=text, count=count, back=back
    )


def confirm_retries(
    request: Request, action: str, count: int, parameters: Mapping[str, Any]
) -> Response:
    """Return the page that confirms another attempt of each run that fits the parameters."""
    path = urls.page_path(request, "runs")
    back = urls.page_path(request, "runs", **parameters)
    query = back.removeprefix(path)
    return _confirm(
        request, action, ("retry",), path, task="runs", count=count, query=query, back=back
    )


def _confirm(
    request: Request,
    action: str,
    actions: Collection[str],
    target_path: str,
    problem: HTTPProblem | None = None,
    **more: Any,
) -> Response:
    if action not in actions:
        raise HTTPProblem(400, f"confirm={action!r}: must be one of {', '.join(actions)}")
    if not wants_html(request):
        raise HTTPProblem(400, f"a confirmation is a page; POST to {target_path}/{action} instead")
    if not may_act(request):
        raise HTTPProblem(403, "you may look, and not act")
    title = f"{action.capitalize()} {more['task']}"
    values = {"action": action, "target": target_path, "back": target_path} | more
    fields = read_form(request) if problem else {}
    values |= {"problem": problem, "typed": lambda name: fields.get(name, "")}
    html = render_page(request, "confirm.html", title=title, **values)
    return html_response(html, problem.status if problem else 200)


def _explain_in_form(
    request: Request, problem: HTTPProblem, show_form: Callable[[HTTPProblem], Response]
) -> Response:
    """Return a browser's form again, as it was filled in; raise the problem where there is none."""
    if problem.status != 400 or request.content_type not in FORM_TYPES or not wants_html(request):
        raise problem
    read_form(request)
    return show_form(problem)


def needs_post(action: str) -> HTTPProblem:
    """Return the error of who asks for an action by GET."""
    return HTTPProblem(405, f"{action} is an action: it takes a POST", "POST")


def act_on_task(request: Request, name: str, action: str) -> Response:
    """Run, pause or resume a task."""
    try:
        return _act_on_task(request, name, action)
    except HTTPProblem as problem:
        return _explain_in_form(request, problem, partial(confirm_task, request, name, action))


def _act_on_task(request: Request, name: str, action: str) -> Response:
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
        request.cron.pause(pattern, parse_until(request, body), optional_text(body, "reason"))
    else:
        request.cron.resume(pattern)
    cron = get_cron(request.registry)
    task, rules = cron.task_registry.get(name), cron.store.pause_rules()
    pause = pause_data(pause_of(task, cron.clock(), rules))
    return _respond(request, urls.task_path(request, name), {"task": name, "paused": pause})


def _run_or_defer(request: Request, name: str, body: dict[str, Any]) -> Response:
    """Begin a run of a task; with ``at``, ``after``, ``key`` or ``replace`` defer it.

    The status is 202 if the run is to come or goes on; 200 if it is over, or a deferred one whose
    key is that of one that has begun.
    """
    try:
        payload = as_payload(body.get("payload"))
    except (TypeError, ValueError) as error:
        raise HTTPProblem(400, str(error)) from None
    if not body.keys() & {"at", "after", "key", "replace"}:
        cron = get_cron(request.registry)
        action = make_action(ActionKind.RUN, cron.clock(), find_actor(request), task=name)
        run = start_manually(cron, request, cron.task_registry.get(name), payload, action)
        data = {**run_detail(run), "url": urls.run_path(request, run.id)}
        return _respond(request, data["url"], data, 200 if run.state.is_final else 202)
    when = parse_when(request, body)
    try:
        replace = parse_boolean(body.get("replace", False))
    except ValueError:
        raise HTTPProblem(400, f"replace={body['replace']!r}: must be true or false") from None
    try:
        run = request.cron.defer(name, payload, **when, key=body.get("key"), replace=replace)
    except (TypeError, ValueError) as error:
        raise HTTPProblem(400, str(error)) from None
    return _respond_with_waiting(request, run)


def act_on_schedule(
    request: Request, name: str, action: str, act: Callable[[str], Response]
) -> Response:
    """Pause, resume or remove a stored schedule, by ``act``."""
    if action not in SCHEDULE_ACTION_FIELDS:
        allowed = ", ".join(SCHEDULE_ACTION_FIELDS)
        raise HTTPProblem(404, f"a schedule has no action {action!r}, only {allowed}")
    try:
        return act(action)
    except HTTPProblem as problem:
        return _explain_in_form(request, problem, partial(confirm_schedule, request, name, action))


def act_on_run(request: Request, run: Run, action: str) -> Response:
    """Cancel, retry or reschedule a run."""
    try:
        return _act_on_run(request, run, action)
    except HTTPProblem as problem:
        return _explain_in_form(request, problem, partial(confirm_run, request, run, action))


def _act_on_run(request: Request, run: Run, action: str) -> Response:
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
        moved = request.cron.reschedule(run.id, **parse_when(request, body))
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
    task, text = optional_text(body, "task"), optional_text(body, "trigger")
    if not task:
        raise HTTPProblem(400, "task: must be the name of the task whose waiting runs to cancel")
    check_storable("task", task)
    trigger = parse_trigger(text)
    try:
        count = request.cron.cancel_all(task, trigger)
    except LookupError as error:
        raise HTTPProblem(404, str(error)) from None
    except ValueError as error:
        raise HTTPProblem(400, str(error)) from None
    data = {"task": task, "trigger": trigger and trigger.value, "cancelled": count}
    return _respond(request, urls.page_path(request, "waiting", task=task), data)


def retry_runs(request: Request, list_runs: Callable[[], Iterable[Run]]) -> Response:
    """Try all of the runs again; ``list_runs`` reads them, once it is known who asks."""
    read_body(request, set())
    retried = 0
    for run in list_runs():
        with suppress(LookupError, ValueError):  # it has another attempt by now
            request.cron.retry(run.id)
            retried += 1
    return _respond(request, urls.page_path(request, "waiting"), {"retried": retried}, 202)


def exact_pattern(name: str) -> str:
    """Return the pattern that matches only this name."""
    return f"re:\\A{re.escape(name)}\\Z"


def _respond(request: Request, path: str, data: Any, status: int = 200) -> Response:
    return redirect(path) if wants_html(request) else json_response(data, status)
