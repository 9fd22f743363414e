"""The pages of all tasks, and of one."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from pyramid.request import Request
from pyramid.response import Response

from ..due.pauses import paused
from ..logs import instant
from ..run import Run
from ..state import Cronwork, cronwork
from ..store import reports
from ..task import Task
from . import actions, asked, urls
from .answers import Refused, answer, page
from .data import Data, pending_data, policies, run_data, task_data

PER_PAGE = 50
RECENT = 20
"""How many runs of each task the page of all tasks looks at."""

HISTORY = 60
"""How many runs the page of one task shows."""

SLOTS = 5
"""How many slots to come, and how many that wait, are shown."""


@page("GET", "HEAD")
def tasks_view(request: Request) -> Response:
    """Show the tasks, those that are not registered any more last; ``q`` is a part of the name."""
    cron = cronwork(request.registry)
    sought = request.GET.get("q", "")
    limit = asked.number(request, "limit", PER_PAGE, 100)
    number = asked.number(request, "page", 1, 1_000_000)
    orphans = sorted(reports.known_names(cron.store) - set(cron.tasks.by_name))
    names = [
        name for name in (*cron.tasks.by_name, *orphans) if sought.casefold() in name.casefold()
    ]
    shown = names[(number - 1) * limit : number * limit]
    listed, recent = _standings(request, cron, shown)
    more = number * limit < len(names)
    data = {
        "now": instant(cron.clock()),
        "tasks": listed,
        "total": len(names),
        "page": number,
        "next": urls.path(request, "tasks", q=sought or None, limit=limit, page=number + 1)
        if more
        else None,
    }
    earlier = number > 1 and urls.path(
        request, "tasks", q=sought or None, limit=limit, page=number - 1
    )
    return answer(
        request, "tasks.html", data, recent=recent, sought=sought, earlier=earlier, title="Tasks"
    )


def _standings(
    request: Request, cron: Cronwork, names: list[str]
) -> tuple[list[Data], dict[str, list[Run]]]:
    now = cron.clock()
    recent = reports.recent(cron.store, names, RECENT)
    waiting = reports.waiting_by_task(cron.store)
    words = cron.store.words()
    running: defaultdict[str, list[Run]] = defaultdict(list)
    for active in reports.active(cron.store):
        running[active.run.task].append(active.run)
    listed = [
        task_data(
            request,
            name,
            cron.tasks.by_name.get(name),
            recent[name],
            running=running[name],
            waiting=waiting.get(name, 0),
            pause=paused(name, now, words),
            now=now,
        )
        for name in names
    ]
    return listed, recent


@page("GET", "HEAD", "POST")
def task_view(request: Request) -> Response:
    """Show one task, or do with it what the end of the path says."""
    asked_for = request.matchdict["name"]
    asked.storable_text("name", asked_for)
    if request.method == "POST":
        name, _, action = asked_for.rpartition("/")
        return actions.on_task(request, known(request, name)[0], action)
    name, task = known(request, asked_for)
    confirm = request.GET.get("confirm")
    if confirm is not None:
        return actions.confirm_task(request, name, confirm)
    return _one(request, name, task)


def known(request: Request, name: str) -> tuple[str, Task | None]:
    """Return the name of a task that is registered, or was; 404 if there never was one."""
    cron = cronwork(request.registry)
    names = (name, urls.unquoted(name))
    for each in names:
        if each in cron.tasks.by_name:
            return each, cron.tasks.by_name[each]
    for each in names:
        if reports.is_known(cron.store, each):
            return each, None
    if name in reports.known_names(cron.store):
        return name, None
    raise Refused(404, f"there is no cron task named {name!r}")


def _one(request: Request, name: str, task: Task | None) -> Response:
    cron, now = cronwork(request.registry), cronwork(request.registry).clock()
    runs = reports.page_of_runs(cron.store, HISTORY, task=name)
    pending = reports.waiting_of(cron.store, name, SLOTS)
    standing = task_data(
        request,
        name,
        task,
        runs,
        running=[each.run for each in reports.active(cron.store) if each.run.task == name],
        waiting=cron.store.waiting(name),
        pause=paused(name, now, cron.store.words()),
        now=now,
    )
    data = {
        **standing,
        "next_slots": [instant(slot) for slot in _slots(task, now)] if task else [],
        "waiting_slots": [pending_data(each) for each in pending],
        "policies": policies(task) if task else None,
        "runs": [run_data(request, run) for run in runs],
    }
    return answer(request, "task.html", data, runs=runs, title=name, parent="Tasks")


def _slots(task: Task, now: datetime) -> list[datetime]:
    slots: list[datetime] = []
    after: datetime | None = now
    while after is not None and len(slots) < SLOTS:
        after = task.following(after)
        if after is not None:
            slots.append(after)
    return slots
