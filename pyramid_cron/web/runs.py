"""The pages of all runs, and of one."""

from __future__ import annotations

from pyramid.request import Request
from pyramid.response import Response

from ..logs import instant
from ..run import Run, RunState
from ..state import cronwork
from ..store import reports
from . import actions, asked, urls
from .answers import Refused, answer, page
from .data import run_data, whole_run

PER_PAGE = 50


@page("GET", "HEAD")
def runs_view(request: Request) -> Response:
    """Show runs, newest first: ``task``, ``state``, and those ``before`` one of them."""
    cron = cronwork(request.registry)
    limit = asked.number(request, "limit", PER_PAGE, 200)
    task = request.GET.get("task") or None
    if task is not None:
        asked.storable_text("task", task)
    states = asked.states(request)
    found = reports.page_of_runs(
        cron.store, limit + 1, task=task, states=states, before=asked.before(request)
    )
    shown = found[:limit]
    following = None
    if len(found) > limit:
        query = [("state", state.value) for state in states]
        following = urls.path(
            request, "runs", task=task, limit=limit, before=shown[-1].id
        ) + "".join(f"&{name}={value}" for name, value in query)
    data = {
        "now": instant(cron.clock()),
        "runs": [run_data(request, run) for run in shown],
        "next": following,
    }
    return answer(
        request,
        "runs.html",
        data,
        task=task,
        states=[state.value for state in states],
        every=[state.value for state in RunState],
        title="Runs",
    )


@page("GET", "HEAD", "POST")
def run_view(request: Request) -> Response:
    """Show one run, or do with it what the end of the path says."""
    rest = request.matchdict["id"]
    if request.method == "POST":
        run_id, _, action = rest.rpartition("/")
        return actions.on_run(request, known(request, run_id), action)
    run = known(request, rest)
    confirm = request.GET.get("confirm")
    if confirm is not None:
        return actions.confirm_run(request, run, confirm)
    attempts = reports.attempts_at(cronwork(request.registry).store, run)
    data = {
        **whole_run(request, run),
        "attempts": [run_data(request, each) for each in attempts],
    }
    return answer(
        request,
        "run.html",
        data,
        logged=run.logged,
        can=actions.possible(run),
        title=f"Run of {run.task}",
        parent="Runs",
    )


def known(request: Request, run_id: str) -> Run:
    """Return the run of this id; 404 if there is none."""
    run = cronwork(request.registry).store.run(run_id)
    if run is None:
        raise Refused(404, f"there is no run {run_id!r}")
    return run
