"""The page of all runs, and that of one."""

from __future__ import annotations

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..run import Run, RunReason, RunState, Trigger
from ..serializers import instant_or_none, run_detail
from ..store import queries
from ..store.action_log import ActionFilter
from ..text import format_instant
from . import actions, responses, urls
from .actions_page import LATEST_ACTIONS, actions_data
from .problems import HTTPProblem
from .responses import page_view, respond, tagged, text_response

RUNS_PER_PAGE = 50

RUN_PARAMETERS = ("task", "schedule", "state", "trigger", "reason", "host", "since", "until")
"""The parameters that say which runs to show."""

MAX_RETRIES = 200
"""Runs that one request tries again at most: the newest."""

FAILURE_STATES = [state for state in RunState if state.is_failure]
RETRIABLE_STATES = [*FAILURE_STATES, RunState.CANCELLED]


@page_view("GET", "HEAD")
def runs_view(request: Request) -> Response:
    """Show runs, newest first: those that fit the parameters, ``before`` a run."""
    responses.check_parameters(request, *RUN_PARAMETERS, "before", "limit", "confirm")
    cron = get_cron(request.registry)
    filled = _filled_parameters(request)
    if "confirm" in request.GET:
        count, action = len(_list_retriable(request)), request.GET["confirm"]
        return actions.confirm_retries(request, action, count, filled)
    limit = responses.query_number(request, "limit", RUNS_PER_PAGE, 200)
    task, states = responses.query_text(request, "task"), responses.query_states(request)
    runs = queries.list_runs(
        cron.store,
        limit + 1,
        task=task,
        states=states,
        before=responses.query_before(request),
        run_filter=_query_filter(request),
    )
    asked = {name: request.GET.getall(name) for name in RUN_PARAMETERS}
    next_page = None
    if len(runs) > limit:
        del runs[limit:]
        next_page = urls.page_path(request, "runs", **filled, limit=limit, before=runs[-1].id)
    data = {
        "now": format_instant(cron.clock()),
        "runs": [urls.linked_run(request, run) for run in runs],
        "next": next_page,
    }
    return respond(
        request,
        "runs.html",
        data,
        asked=asked,
        choices={"state": RunState, "trigger": Trigger, "reason": RunReason},
        filled=filled,
        has_failures=any(run.state.is_failure for run in runs),
        title="Runs",
    )


def _filled_parameters(request: Request) -> dict[str, list[str]]:
    """Return which runs to show, without fields of the form that are empty."""
    texts = {name: [*filter(None, request.GET.getall(name))] for name in RUN_PARAMETERS}
    return {name: values for name, values in texts.items() if values}


@page_view("GET", "HEAD", "POST")
def retry_runs_view(request: Request) -> Response:
    """Try the runs again that fit the parameters, the newest first, and failed for good."""
    if request.method != "POST":
        raise actions.needs_post("retry")
    responses.check_parameters(request, *RUN_PARAMETERS)
    return actions.retry_runs(request, lambda: _list_retriable(request))


def _list_retriable(request: Request) -> list[Run]:
    """Return the newest runs that fit the parameters, failed, and have no later attempt.

    Cancelled ones are among them only where their state is asked for.
    """
    cron, states = get_cron(request.registry), responses.query_states(request)
    for state in states:
        if state not in RETRIABLE_STATES:
            allowed = ", ".join(map(str, RETRIABLE_STATES))
            problem = f"state={str(state)!r}: to be tried again it must be one of {allowed}"
            raise HTTPProblem(400, problem)
    runs = queries.list_runs(
        cron.store,
        MAX_RETRIES,
        task=responses.query_text(request, "task"),
        states=states or FAILURE_STATES,
        run_filter=_query_filter(request),
    )
    return [
        run
        for run in runs
        if run.task in cron.task_registry.by_name
        and cron.store.newest_ended_attempt(run) == run.attempt
    ]


def _query_filter(request: Request) -> queries.RunFilter:
    return queries.RunFilter(
        responses.query_trigger(request),
        responses.query_reason(request),
        responses.query_text(request, "host"),
        responses.query_moment(request, "since"),
        responses.query_moment(request, "until"),
        responses.query_text(request, "schedule"),
    )


@page_view("GET", "HEAD", "POST")
def run_view(request: Request) -> Response:
    """Show one run, or carry out the action at the end of the path."""
    path = request.matchdict["id"]
    if request.method == "POST":
        responses.check_parameters(request)
        run_id, _, action = path.rpartition("/")
        return actions.act_on_run(request, find_run(request, run_id), action)
    responses.check_parameters(request, "confirm")
    run = _find_shown_run(request, path)
    confirm = request.GET.get("confirm")
    if confirm is not None:
        return actions.confirm_run(request, run, confirm)
    cron = get_cron(request.registry)
    now, heartbeat = cron.clock(), run.heartbeat(cron.settings.lease)
    attempts = queries.list_attempts(cron.store, run)
    data = {
        **run_detail(run),
        "heartbeat": heartbeat and format_instant(min(heartbeat, now)),
        "url": urls.run_path(request, run.id),
        "attempts": [urls.linked_run(request, attempt) for attempt in attempts],
        "actions": actions_data(cron, LATEST_ACTIONS, ActionFilter(run=run.id)),
    }
    return respond(
        request,
        "run.html",
        data,
        elapsed=run.elapsed(now),
        followup=next((other for other in attempts if other.attempt > run.attempt), None),
        next_slot=_next_slot(request, run),
        actions=actions.available_actions(run),
        title=f"Run of {run.task}",
        parent="Runs",
    )


def _next_slot(request: Request, run: Run) -> str | None:
    """Return the next slot of the run's task, for its page."""
    if not responses.wants_html(request):
        return None
    return instant_or_none(responses.page_health_report(request).task_health(run.task).next)


@page_view("GET", "HEAD")
def run_log_view(request: Request) -> Response:
    """Show what a run has logged and its program has written so far, as text."""
    responses.check_parameters(request)
    run = find_run(request, request.matchdict["id"])
    texts = {"log": run.log, "standard output": run.stdout, "standard error": run.stderr}
    parts = {name: text for name, text in texts.items() if text}
    if len(parts) < 2:
        text = "".join(parts.values())
    else:
        ended = {name: part if part.endswith("\n") else f"{part}\n" for name, part in parts.items()}
        text = "\n".join(f"==> {name} <==\n{part}" for name, part in ended.items())
    return tagged(text_response(text), text)


def _find_shown_run(request: Request, path: str) -> Run:
    """Return the run whose page has this path; HTTPProblem 405 if it is that of an action."""
    run_id, _, action = path.rpartition("/")
    if action not in actions.RUN_ACTION_FIELDS:
        return find_run(request, path)
    find_run(request, run_id)
    raise actions.needs_post(action)


def find_run(request: Request, run_id: str) -> Run:
    """Return the run with this id, which may be shortened.

    Raises HTTPProblem 404 if there is none, or if there are several.
    """
    try:
        run: Run = request.cron.get_run(run_id)
    except LookupError as error:
        raise HTTPProblem(404, str(error)) from None
    return run
