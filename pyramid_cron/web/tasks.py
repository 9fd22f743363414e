"""The page of all tasks, and that of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from operator import attrgetter
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..health_report import HealthReport
from ..planning.forecast import following_slots
from ..planning.health import HealthState, TaskHealth
from ..run import Run, RunState
from ..schedule.zones import EPOCH
from ..serializers import JSONObject, policy_data, task_data
from ..store import queries
from ..store.action_log import ActionFilter
from ..store.waiting import list_waiting
from ..task import Task
from ..text import format_instant, suggest
from . import actions, responses, urls
from .actions_page import LATEST_ACTIONS, actions_data
from .problems import HTTPProblem
from .responses import page_health_report, page_view, respond
from .task_facts import (
    calendar_data,
    calendar_start,
    count_failures_in_a_row,
    crontab_lines,
    describe_source,
    duration_data,
    last_success,
)

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
    """Show the tasks whose names or descriptions contain ``q``.

    Each has one of the states, if any are asked for, and all of the labels; an orphaned one has no
    labels. They are sorted by ``state``, those to look after first, or as ``sort`` says.
    """
    responses.check_parameters(request, "q", "state", "label", "sort", "limit", "page")
    cron = get_cron(request.registry)
    name_part = request.GET.get("q", "")
    states = responses.query_task_states(request)
    labels = [label for label in request.GET.getall("label") if label]
    limit = responses.query_number(request, "limit", TASKS_PER_PAGE, 100)
    number = responses.query_number(request, "page", 1, 1_000_000)
    report = page_health_report(request)
    sort = _query_sort(request)
    tasks = [
        task
        for task in _all_tasks(cron, report)
        if _has_text(cron, task.name, name_part)
        and (not states or task.state in states)
        and _has_labels(cron, task.name, labels)
    ]
    names = [task.name for task in sorted(tasks, key=SORT_KEYS[sort])]
    page_names = names[(number - 1) * limit : number * limit]
    recent = queries.list_recent_runs(cron.store, page_names, TASK_ROW_RUNS)
    rows = [_linked_task(request, name, report, recent[name]) for name in page_names]
    query = {"q": name_part or None, "state": states or None, "label": labels or None}
    query["sort"] = None if sort == "state" else sort
    path_of = partial(urls.page_path, request, "tasks", **query, limit=limit)
    data = {
        "now": format_instant(report.now),
        "tasks": rows,
        "total": len(names),
        "page": number,
        "next": path_of(page=number + 1) if number * limit < len(names) else None,
    }
    return respond(
        request,
        "tasks.html",
        data,
        recent=recent,
        name_part=name_part,
        sort=sort,
        sort_path=lambda key: urls.page_path(
            request, "tasks", **query | {"sort": None if key == "state" else key}
        ),
        labels=labels,
        states=[state.value for state in states],
        all_states=[state.value for state in HealthState],
        previous_path=path_of(page=number - 1) if number > 1 else None,
        title="Tasks",
    )


def _sort_by_state(_: TaskHealth) -> int:
    return 0  # they come in this order


def _sort_by_next(task: TaskHealth) -> tuple[bool, datetime]:
    return task.next is None, task.next or EPOCH


def _sort_by_last(task: TaskHealth) -> timedelta:
    return EPOCH - (task.last.slot if task.last else EPOCH)


SORT_KEYS: Mapping[str, Callable[[TaskHealth], Any]] = MappingProxyType(
    {
        "state": _sort_by_state,
        "next": _sort_by_next,
        "last": _sort_by_last,
        "name": attrgetter("name"),
    }
)
"""What tasks may be sorted by: the next first, or the latest."""


def _query_sort(request: Request) -> str:
    sort = request.GET.get("sort") or "state"
    if sort not in SORT_KEYS:
        allowed = ", ".join(SORT_KEYS)
        raise HTTPProblem(400, f"sort={sort!r}: must be one of {allowed}", blamed="sort")
    return sort


def _has_text(cron: CronApp, name: str, text: str) -> bool:
    task = cron.task_registry.by_name.get(name)
    words = f"{name}\n{task.description if task else ''}"
    return text.casefold() in words.casefold()


def _all_tasks(cron: CronApp, report: HealthReport) -> list[TaskHealth]:
    """Return the tasks that any version of the application has ever had, most urgent first."""
    tasks = report.health.tasks_by_urgency
    others = queries.list_task_names(cron.store) - {task.name for task in tasks}
    orphaned = [task for task in tasks if task.state is HealthState.ORPHANED]
    orphaned += [report.task_health(name) for name in others]
    registered = [task for task in tasks if task.state is not HealthState.ORPHANED]
    return registered + sorted(orphaned, key=attrgetter("name"))


def _has_labels(cron: CronApp, name: str, labels: Sequence[str]) -> bool:
    task = cron.task_registry.by_name.get(name)
    return not labels or (task is not None and all(map(task.has_label, labels)))


def _linked_task(
    request: Request, name: str, report: HealthReport, runs: Sequence[Run]
) -> JSONObject:
    """Return a task with its success rate and paths; ``runs`` are its newest."""
    health = report.task_health(name)
    running = report.running(name)
    data = task_data(
        health,
        get_cron(request.registry).task_registry.by_name.get(name),
        running=running,
        waiting=report.waiting_counts[name],
        pause=report.pause(name),
    )
    return {
        **data,
        "last": health.last and urls.linked_run(request, health.last),
        "running": [urls.linked_run(request, run) for run in running],
        "success_rate": success_rate(runs),
        "url": urls.task_path(request, name),
    }


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
        responses.check_parameters(request)
        name, _, action = path.rpartition("/")
        return actions.act_on_task(request, find_task(request, name)[0], action)
    responses.check_parameters(request, "confirm")
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
    known = {*cron.task_registry.by_name, *queries.list_task_names(cron.store)}
    raise HTTPProblem(404, f"there is no cron task named {name!r}{suggest(name, known)}")


def _task_detail(request: Request, name: str, task: Task | None) -> Response:
    cron = get_cron(request.registry)
    report = page_health_report(request)
    runs = queries.list_runs(cron.store, TASK_PAGE_RUNS, task=name)
    waiting_runs = list_waiting(cron.store, name, TASK_PAGE_SLOTS)
    slots = () if task is None or report.pause(name) else following_slots(task, report.now)
    zone = ZoneInfo(cron.settings.timezone)
    counts = queries.count_runs_by_quarter(cron.store, name, calendar_start(report.now, zone))
    succeeded = last_success(report, name)
    data = {
        **_linked_task(request, name, report, runs),
        "source": describe_source(task.function) if task else None,
        "crontab": crontab_lines(task) if task else None,
        "durations": duration_data(runs),
        "last_success": succeeded and succeeded | {"url": urls.run_path(request, succeeded["run"])},
        "failures_in_a_row": count_failures_in_a_row(runs),
        "days": calendar_data(counts, report.now, zone),
        "next_slots": [format_instant(slot) for slot in islice(slots, TASK_PAGE_SLOTS)],
        "waiting_runs": [urls.linked_waiting_run(request, run) for run in waiting_runs],
        "policies": policy_data(task) if task else None,
        "runs": [urls.linked_run(request, run) for run in runs],
        "actions": actions_data(cron, LATEST_ACTIONS, ActionFilter(task=name)),
    }
    return respond(request, "task.html", data, runs=runs, title=name, parent="Tasks")
