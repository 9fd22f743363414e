"""The pages of all tasks, and of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..planning.pauses import PauseRule, active_pause
from ..run import Run, RunState
from ..serializers import JSONObject, policy_data, task_data, waiting_run_data
from ..store import queries
from ..task import Task
from ..text import format_instant
from . import actions, responses, urls
from .responses import HTTPProblem, page_view, respond

TASKS_PER_PAGE = 50
TASK_ROW_RUNS = 20
"""How many runs of each task the page of all tasks looks at."""

TASK_PAGE_RUNS = 60
"""How many runs the page of one task shows."""

TASK_PAGE_SLOTS = 5
"""How many slots to come, and how many that wait, are shown."""

SUCCESS_RATE_STATES = (RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT, RunState.LOST)


@page_view("GET", "HEAD")
def tasks_view(request: Request) -> Response:
    """Show the tasks, those that are not registered any more last; ``q`` is a part of the name."""
    cron = get_cron(request.registry)
    sought = request.GET.get("q", "")
    limit = responses.query_number(request, "limit", TASKS_PER_PAGE, 100)
    number = responses.query_number(request, "page", 1, 1_000_000)
    orphans = sorted(queries.list_task_names(cron.store) - set(cron.task_registry.by_name))
    names = [
        name
        for name in (*cron.task_registry.by_name, *orphans)
        if sought.casefold() in name.casefold()
    ]
    shown = names[(number - 1) * limit : number * limit]
    listed, recent = _task_rows(request, cron, shown)
    more = number * limit < len(names)
    data = {
        "now": format_instant(cron.clock()),
        "tasks": listed,
        "total": len(names),
        "page": number,
        "next": urls.page_path(request, "tasks", q=sought or None, limit=limit, page=number + 1)
        if more
        else None,
    }
    earlier = number > 1 and urls.page_path(
        request, "tasks", q=sought or None, limit=limit, page=number - 1
    )
    return respond(
        request, "tasks.html", data, recent=recent, sought=sought, earlier=earlier, title="Tasks"
    )


def _task_rows(
    request: Request, cron: CronApp, names: list[str]
) -> tuple[list[JSONObject], dict[str, list[Run]]]:
    now = cron.clock()
    recent = queries.list_recent_runs(cron.store, names, TASK_ROW_RUNS)
    waiting = queries.count_waiting_by_task(cron.store)
    words = cron.store.pause_rules()
    running: defaultdict[str, list[Run]] = defaultdict(list)
    for active in queries.list_active_runs(cron.store):
        running[active.run.task].append(active.run)
    listed = [
        _linked_task(
            request,
            name,
            cron.task_registry.by_name.get(name),
            recent[name],
            running=running[name],
            waiting=waiting.get(name, 0),
            pause=active_pause(name, now, words),
            now=now,
        )
        for name in names
    ]
    return listed, recent


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
    """Return a task with what pages add; ``runs`` are its newest."""
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
    """Show one task, or do with it what the end of the path says."""
    asked_for = request.matchdict["name"]
    responses.check_storable("name", asked_for)
    if request.method == "POST":
        name, _, action = asked_for.rpartition("/")
        return actions.act_on_task(request, find_task(request, name)[0], action)
    name, task = find_task(request, asked_for)
    confirm = request.GET.get("confirm")
    if confirm is not None:
        return actions.confirm_task(request, name, confirm)
    return _task_detail(request, name, task)


def find_task(request: Request, name: str) -> tuple[str, Task | None]:
    """Return the name of a task that is registered, or was; 404 if there never was one."""
    cron = get_cron(request.registry)
    names = (name, urls.unquote_name(name))
    for each in names:
        if each in cron.task_registry.by_name:
            return each, cron.task_registry.by_name[each]
    for each in names:
        if queries.has_runs(cron.store, each):
            return each, None
    if name in queries.list_task_names(cron.store):
        return name, None
    raise HTTPProblem(404, f"there is no cron task named {name!r}")


def _task_detail(request: Request, name: str, task: Task | None) -> Response:
    cron, now = get_cron(request.registry), get_cron(request.registry).clock()
    runs = queries.list_runs(cron.store, TASK_PAGE_RUNS, task=name)
    pending = queries.list_waiting(cron.store, name, TASK_PAGE_SLOTS)
    standing = _linked_task(
        request,
        name,
        task,
        runs,
        running=[
            each.run for each in queries.list_active_runs(cron.store) if each.run.task == name
        ],
        waiting=cron.store.count_waiting(name),
        pause=active_pause(name, now, cron.store.pause_rules()),
        now=now,
    )
    data = {
        **standing,
        "next_slots": [format_instant(slot) for slot in _next_slots(task, now)] if task else [],
        "waiting_slots": [waiting_run_data(each) for each in pending],
        "policies": policy_data(task) if task else None,
        "runs": [urls.linked_run(request, run) for run in runs],
    }
    return respond(request, "task.html", data, runs=runs, title=name, parent="Tasks")


def _next_slots(task: Task, now: datetime) -> list[datetime]:
    slots: list[datetime] = []
    after: datetime | None = now
    while after is not None and len(slots) < TASK_PAGE_SLOTS:
        after = task.following(after)
        if after is not None:
            slots.append(after)
    return slots
