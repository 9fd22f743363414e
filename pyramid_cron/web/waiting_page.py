"""The page of all that waits, and the action that ends what waits of a task."""

from __future__ import annotations

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..run import Trigger
from ..text import format_instant
from . import actions, responses, urls
from .responses import page_view, respond

WAITING_RUNS_PER_PAGE = 50


@page_view("GET", "HEAD")
def waiting_view(request: Request) -> Response:
    """Show what waits, the next first: of a ``task``, with a ``trigger``, up to a ``limit``."""
    responses.check_parameters(request, "task", "trigger", "limit", "confirm")
    cron = get_cron(request.registry)
    limit = responses.query_number(request, "limit", WAITING_RUNS_PER_PAGE, 1000)
    trigger = responses.query_trigger(request)
    task = request.GET.get("task") or None
    if task is not None:
        responses.check_storable("task", task)
    total = cron.store.count_waiting(task, trigger)
    confirm = request.GET.get("confirm")
    if confirm is not None:
        return actions.confirm_on_waiting(request, task, trigger, confirm, total)
    runs = request.cron.waiting(task, limit, trigger=trigger)
    data = {
        "now": format_instant(cron.clock()),
        "runs": [urls.linked_waiting_run(request, run) for run in runs],
        "total": total,
    }
    return respond(
        request,
        "waiting.html",
        data,
        task=task,
        trigger=trigger and trigger.value,
        all_triggers=[trigger.value for trigger in Trigger],
        title="Waiting",
    )


@page_view("GET", "HEAD", "POST")
def cancel_waiting_view(request: Request) -> Response:
    """Cancel what waits of a task."""
    if request.method != "POST":
        raise actions.needs_post("cancel")
    responses.check_parameters(request)
    return actions.cancel_waiting(request)
