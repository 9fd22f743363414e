"""The page of actions: who has run, paused, cancelled or changed what, and when."""

from __future__ import annotations

from dataclasses import replace

from pyramid.request import Request
from pyramid.response import Response

from ..action_record import ActionKind
from ..app import CronApp, get_cron
from ..serializers import JSONObject, action_data
from ..store.action_log import ActionFilter, list_actions
from ..text import format_instant
from . import responses, urls
from .problems import HTTPProblem
from .responses import page_view, respond

ACTIONS_PER_PAGE = 50

LATEST_ACTIONS = 5
"""Actions on the page of a task or a run."""

ACTION_PARAMETERS = ("task", "action", "who", "run", "since", "until")
"""The parameters that say which actions to show."""


@page_view("GET", "HEAD")
def actions_view(request: Request) -> Response:
    """Show actions, newest first: those that fit the parameters, ``before`` one."""
    responses.check_parameters(request, *ACTION_PARAMETERS, "before", "limit")
    cron = get_cron(request.registry)
    limit = responses.query_number(request, "limit", ACTIONS_PER_PAGE, 200)
    actions = actions_data(cron, limit + 1, _query_filter(request))
    asked = {name: request.GET.get(name, "") for name in ACTION_PARAMETERS}
    next_page = None
    if len(actions) > limit:
        del actions[limit:]
        kept = {name: text or None for name, text in asked.items()}
        before = actions[-1]["id"]
        next_page = urls.page_path(request, "actions", **kept, limit=limit, before=before)
    data = {"now": format_instant(cron.clock()), "actions": actions, "next": next_page}
    kinds = [kind.value for kind in ActionKind]
    return respond(request, "actions.html", data, asked=asked, all_actions=kinds, title="Actions")


def _query_filter(request: Request) -> ActionFilter:
    kind = request.GET.get("action") or None
    if kind is not None and kind not in set(ActionKind):
        allowed = ", ".join(ActionKind)
        raise HTTPProblem(400, f"action={kind!r}: must be one of {allowed}")
    return ActionFilter(
        task=responses.query_text(request, "task"),
        kind=kind and ActionKind(kind),
        who=responses.query_text(request, "who"),
        run=responses.query_text(request, "run"),
        since=responses.query_moment(request, "since"),
        until=responses.query_moment(request, "until"),
        before=responses.query_before(request),
    )


def actions_data(cron: CronApp, limit: int, action_filter: ActionFilter) -> list[JSONObject]:
    """Return the newest actions that fit, newest first. Raises StoreError."""
    task = cron.task_registry.by_name.get(action_filter.task or "")
    action_filter = replace(action_filter, command=None if task is None else task.command)
    with cron.store.read_session() as session:
        actions = list_actions(session, limit, action_filter)
    return [action_data(action) for action in actions]
