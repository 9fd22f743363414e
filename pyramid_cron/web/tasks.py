"""The page of all tasks, and that of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import islice

from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..planning.forecast import following_slots
from ..planning.pauses import PauseRule, active_pause
from ..run import Run, RunState
from ..serializers import JSONObject, policy_data, task_data
from ..store import queries
from ..store.waiting import count_waiting_by_task, list_waiting
from ..task import Task
from ..text import format_instant
from . import actions, responses, urls
from .responses import HTTPProblem, page_view, respond

TASKS_PER_PAGE = 50
TASK_ROW_RUNS = 20
"""Newest runs of each task on the page of all tasks."""

TASK_PAGE_RUNS = 60
"""Newest runs on the page of one task."""

TASK_PAGE_SLOTS = 5
"""Next slots, and waiting runs, on the page of one task."""

SUCCESS_RATE_STATES = (RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT, RunState.LOST)


@page_view("GET", "HEAD")
def tasks_view(request: Request) -> Response:
    """Show the tasks whose names contain ``q``, orphaned ones last."""
    cron = get_cron(request.registry)
    name_part = request.GET.get("q", "")
    limit = responses.query_number(request, "limit", TASKS_PER_PAGE, 100)
    number = responses.query_number(request, "page", 1, 1_000_000)
    orphans = sorted(queries.list_task_names(cron.store) - set(cron.task_registry.by_name))
    names = [
        name
        for name in (*cron.task_registry.by_name, *orphans)
        if name_part.casefold() in name.casefold()
    ]
    page_names = names[(number - 1) * limit : number * limit]
    rows, recent = _task_rows(request, cron, page_names)
    path_of = partial(_page_path, request, name_part, limit)
    data = {
        "now": format_instant(cron.clock()),
        "tasks": rows,
        "total": len(names),
        "page": number,
        "next": path_of(number + 1) if number * limit < len(names) else None,
    }
    return respond(
        request,
        "tasks.html",
        data,
        recent=recent,
        name_part=name_part,
        previous_path=path_of(number - 1) if number > 1 else None,
        title="Tasks",
    )


def _page_path(request: Request, name_part: str, limit: int, page: int) -> str:
    return urls.page_path(request, "tasks", q=name_part or None, limit=limit, page=page)


def _task_rows(
    request: Request, cron: CronApp, names: list[str]
) -> tuple[list[JSONObject], dict[str, list[Run]]]:
    now = cron.clock()
    recent = queries.list_recent_runs(cron.store, names, TASK_ROW_RUNS)
    waiting = count_waiting_by_task(cron.store)
    rules = cron.store.pause_rules()
    running: defaultdict[str, list[Run]] = defaultdict(list)
    for active in queries.list_active_runs(cron.store):
        running[active.run.task].append(active.run)
    rows = [
        _linked_task(
            request,
            name,
            cron.task_registry.by_name.get(name),
            recent[name],
            running=running[name],
            waiting=waiting.get(name, 0),
            pause=active_pause(name, now, rules),
            now=now,
        )
        for name in names
    ]
    return rows, recent


def _linked_task(
    request: Request,
    name: str,
    task: Task | None,
    runs: Sequence[Run],
    *,
    running: Sequence[Run],
    waiting: int,
    pause: PauseRule | None,
    now: datetime,
) -> JSONObject:
    """Return a task with its state, success rate and paths; ``runs`` are its newest."""
    last = next((run for run in runs if run.state.is_final), None)
    data = task_data(name, task, now=now, last=last, running=running, waiting=waiting, pause=pause)
    return {
        **data,
        "state": _task_state(task, last, running, pause),
        "last": last and urls.linked_run(request, last),
        "running": [urls.linked_run(request, run) for run in running],
        "success_rate": success_rate(runs),
        "url": urls.task_path(request, name),
    }


def _task_state(
    task: Task | None, last: Run | None, running: Sequence[Run], pause: PauseRule | None
) -> str:
    if task is None:
        return "orphaned"
    if running:
        return "running"
    if pause is not None:
        return "paused"
    return last.state.value if last else "waiting"


def success_rate(runs: Sequence[Run]) -> float | None:
    """Return the share of successes among the runs that succeeded or failed; None without any."""
    ended = [run.state for run in runs if run.state in SUCCESS_RATE_STATES]
    return ended.count(RunState.SUCCEEDED) / len(ended) if ended else None


@page_view("GET", "HEAD", "POST")
def task_view(request: Request) -> Response:
    """Show one task, or carry out the action at the end of the path."""
    path = request.matchdict["name"]
    responses.check_storable("name", path)
    if request.method == "POST":
        name, _, action = path.rpartition("/")
        return actions.act_on_task(request, find_task(request, name)[0], action)
    name, task = _find_shown_task(request, path)
    confirm = request.GET.get("confirm")
    if confirm is not None:
        return actions.confirm_task(request, name, confirm)
    return _task_detail(request, name, task)


def _find_shown_task(request: Request, path: str) -> tuple[str, Task | None]:
    """Return the task whose page has this path; HTTPProblem 405 if it is that of an action."""
    try:
        return find_task(request, path)
    except HTTPProblem:
        name, _, action = path.rpartition("/")
        if name and action in actions.TASK_ACTION_FIELDS:
            find_task(request, name)
            raise actions.needs_post(action) from None
        raise


def find_task(request: Request, name: str) -> tuple[str, Task | None]:
    """Return a task's name, and the task, None for an orphaned one.

    Raises HTTPProblem 404 if no task of that name is registered or on record.
    """
    cron = get_cron(request.registry)
    candidates = (name, urls.unquote_name(name))
    for candidate in candidates:
        if candidate in cron.task_registry.by_name:
            return candidate, cron.task_registry.by_name[candidate]
    for candidate in candidates:
        if queries.has_runs(cron.store, candidate):
            return candidate, None
    if name in queries.list_task_names(cron.store):
        return name, None
    raise HTTPProblem(404, f"there is no cron task named {name!r}")


def _task_detail(request: Request, name: str, task: Task | None) -> Response:
    cron = get_cron(request.registry)
    now = cron.clock()
    runs = queries.list_runs(cron.store, TASK_PAGE_RUNS, task=name)
    waiting_runs = list_waiting(cron.store, name, TASK_PAGE_SLOTS)
    active_runs = queries.list_active_runs(cron.store)
    task_values = _linked_task(
        request,
        name,
        task,
        runs,
        running=[active.run for active in active_runs if active.run.task == name],
        waiting=cron.store.count_waiting(name),
        pause=active_pause(name, now, cron.store.pause_rules()),
        now=now,
    )
    next_slots = islice(following_slots(task, now), TASK_PAGE_SLOTS) if task else ()
    data = {
        **task_values,
        "next_slots": [format_instant(slot) for slot in next_slots],
        "waiting_runs": [urls.linked_waiting_run(request, run) for run in waiting_runs],
        "policies": policy_data(task) if task else None,
        "runs": [urls.linked_run(request, run) for run in runs],
    }
    return respond(request, "task.html", data, runs=runs, title=name, parent="Tasks")
