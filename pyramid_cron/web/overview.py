"""The overview: what is wrong, what failed, what runs, what comes next and what waits."""

from __future__ import annotations

from datetime import timedelta

from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..health_report import HealthReport
from ..serializers import JSONObject, instant_or_none, schedule_health_data, task_health_data
from ..store import queries
from ..store.waiting import list_waiting
from ..text import format_instant
from . import responses, urls
from .responses import page_health_report, page_view, redirect, respond
from .waiting_page import upcoming_slots

FAILED_LOOK_BACK = timedelta(hours=24)
"""How long ago a run may have failed to be shown."""

SHOWN_FAILED_TASKS = 20
SHOWN_WAITING_RUNS = 10
NEXT_SLOTS = 10


@page_view("GET", "HEAD")
def front_view(request: Request) -> Response:
    """Lead to the overview."""
    responses.check_parameters(request)
    return redirect(urls.page_path(request, "overview"))


@page_view("GET", "HEAD")
def overview_view(request: Request) -> Response:
    """Show on one page what somebody has to look after, and what goes on."""
    responses.check_parameters(request)
    cron = get_cron(request.registry)
    report = page_health_report(request)
    upcoming, _ = upcoming_slots(cron, report.overview.pause_rules, report.now, NEXT_SLOTS)
    data = {
        **_state_data(request, report),
        "failed": _failed_data(request, cron, report),
        "running": _running_data(request, report),
        "upcoming": upcoming,
        "waiting": {
            "total": report.waiting_counts.total(),
            "runs": [
                urls.linked_waiting_run(request, run)
                for run in list_waiting(cron.store, None, SHOWN_WAITING_RUNS)
            ],
        },
    }
    return respond(request, "overview.html", data, title="Overview")


def _state_data(request: Request, report: HealthReport) -> JSONObject:
    """Return whether ticks come, and how the tasks are."""
    health = report.health
    return {
        "now": format_instant(report.now),
        "healthy": health.is_healthy,
        "ticking": health.is_ticking,
        "last_tick": instant_or_none(health.last_tick),
        "since_last_tick": health.since_last_tick,
        "crontab_line": None if health.is_ticking else urls.crontab_line(request),
        "states": {state.value: count for state, count in health.count_states().items()},
        "unhealthy": [
            {**task_health_data(task), "url": urls.task_path(request, task.name)}
            for task in health.unhealthy_tasks
        ],
        "schedules": [
            {
                **schedule_health_data(schedule),
                "url": urls.schedule_path(request, str(schedule.schedule)),
            }
            for schedule in health.schedules
        ],
    }


def _failed_data(request: Request, cron: CronApp, report: HealthReport) -> JSONObject:
    """Return the tasks of which runs failed, the newest failure first."""
    since = report.now.replace(second=0, microsecond=0) - FAILED_LOOK_BACK
    failures = queries.list_failures(cron.store, since)
    return {
        "since": format_instant(since),
        "total": sum(count for _, count in failures),
        "tasks": [
            {"task": run.task, "failures": count, "last": urls.linked_run(request, run)}
            for run, count in failures[:SHOWN_FAILED_TASKS]
        ],
    }


def _running_data(request: Request, report: HealthReport) -> list[JSONObject]:
    """Return the active runs, those that have run longest first."""
    runs = [active.run for active in report.overview.active_runs]
    return [{**urls.linked_run(request, run), "elapsed": run.elapsed(report.now)} for run in runs]
