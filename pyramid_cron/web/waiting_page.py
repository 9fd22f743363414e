"""The pages of what waits and of what comes, and the action that ends what waits of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from itertools import islice

from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..planning.forecast import PlannedRun, active_calendar, forecast, forecast_task
from ..planning.snapshot import PauseRule, active_pause
from ..run import Trigger
from ..serializers import JSONObject
from ..task import describe_schedules
from ..text import format_instant, suggest
from . import actions, responses, urls
from .problems import HTTPProblem
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


UPCOMING_SPAN = timedelta(hours=24)
"""How far the page looks ahead, unless it is told until when."""

UPCOMING_SLOTS = 50

MAX_FORECAST_SLOTS = 20_000
"""Slots that are looked at: those of paused tasks count, and are not shown."""

ANY_MOMENT = datetime.max.replace(tzinfo=timezone.utc)


@page_view("GET", "HEAD")
def upcoming_view(request: Request) -> Response:
    """Show the next slots, of a ``task`` or all, up to a ``limit`` and ``until`` a moment."""
    responses.check_parameters(request, "task", "limit", "until")
    cron = get_cron(request.registry)
    now, task = cron.clock(), responses.query_text(request, "task")
    if task is not None and task not in cron.task_registry.by_name:
        hint = suggest(task, cron.task_registry.by_name)
        raise HTTPProblem(400, f"task={task!r}: there is no such cron task{hint}")
    limit = responses.query_number(request, "limit", UPCOMING_SLOTS, 1000)
    until = responses.query_moment(request, "until")
    if until is not None and until <= now:
        raise HTTPProblem(400, f"until={request.GET['until']!r}: must be in the future")
    end = until or now.replace(second=0, microsecond=0) + UPCOMING_SPAN
    rules = cron.store.pause_rules()
    slots, is_complete = upcoming_slots(cron, rules, now, limit, until=end, task=task)
    data = {
        "now": format_instant(now),
        "until": format_instant(end),
        "complete": is_complete,
        "slots": [{**slot, "url": urls.task_path(request, slot["task"])} for slot in slots],
    }
    return respond(
        request,
        "upcoming.html",
        data,
        task=task,
        asked_until=request.GET.get("until", ""),
        title="Upcoming",
    )


def upcoming_slots(
    cron: CronApp,
    rules: Sequence[PauseRule],
    now: datetime,
    limit: int,
    *,
    until: datetime = ANY_MOMENT,
    task: str | None = None,
) -> tuple[list[JSONObject], bool]:
    """Return the next slots of what is not paused then, and whether these are all until then.

    ``rules`` are the pause rules, oldest first. Raises StoreError.
    """
    cron.refresh_schedules()
    planned_runs = _forecast(cron, rules, now, until, task)
    active = (
        planned
        for planned in islice(planned_runs, MAX_FORECAST_SLOTS)
        if not _is_paused(cron, rules, planned)
    )
    chosen = list(islice(active, limit))
    is_complete = next(active, None) is None and next(planned_runs, None) is None
    return [_slot_data(cron, planned) for planned in chosen], is_complete


def _is_paused(cron: CronApp, rules: Sequence[PauseRule], planned: PlannedRun) -> bool:
    """Return whether a slot is left out, as its task or its schedule is paused then."""
    command = cron.task_registry.by_name[planned.task].command
    name, schedule = planned.task, planned.schedule
    return active_pause(name, planned.slot, rules, schedule, command=command) is not None


def _forecast(
    cron: CronApp,
    rules: Sequence[PauseRule],
    now: datetime,
    until: datetime,
    task: str | None,
) -> Iterator[PlannedRun]:
    registry, book = cron.task_registry, cron.schedule_book
    if task is None:
        calendar = active_calendar(registry.tasks, registry.calendar, rules, now)
        return forecast(registry.tasks, calendar, now, until, book)
    return forecast_task(registry.by_name[task], book.entries(), now, until)


def _slot_data(cron: CronApp, planned: PlannedRun) -> JSONObject:
    """Return a slot with the schedule that has it, in plain English, and its zone."""
    task = cron.task_registry.by_name[planned.task]
    entry = None if planned.schedule is None else cron.schedule_book.get(planned.schedule)
    schedules, offset = (
        (task.schedules, task.offset) if entry is None else (entry.schedules, entry.offset)
    )
    return {
        "slot": format_instant(planned.slot),
        "task": planned.task,
        "schedule": planned.schedule,
        "description": describe_schedules(schedules, offset),
        "timezone": task.timezone if entry is None else entry.timezone,
    }
