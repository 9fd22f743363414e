"""The timeline: the runs of the last day, a lane for each task."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..run import Run
from ..store import queries
from ..text import format_instant
from .responses import check_parameters, page_view, respond
from .urls import linked_run

TIMELINE_SPAN = timedelta(hours=24)
MAX_TIMELINE_RUNS = 2000
"""Runs shown at most: the newest."""

MAX_TIMELINE_LANES = 40
"""Tasks shown at most: those with the longest running time."""

TIMELINE_WIDTH = 960


@page_view("GET", "HEAD")
def timeline_view(request: Request) -> Response:
    """Show the runs of the last 24 hours, a lane for each task."""
    check_parameters(request)
    cron = get_cron(request.registry)
    now = cron.clock()
    # One second more, for runs that start in this moment.
    runs = queries.runs_between(
        cron.store, now - TIMELINE_SPAN, now + timedelta(seconds=1), MAX_TIMELINE_RUNS
    )
    is_complete = len(runs) < MAX_TIMELINE_RUNS
    since = now - TIMELINE_SPAN
    if not is_complete:
        since = max(since, min(run.started for run in runs if run.started))
    lanes = timeline_lanes(runs, since, now)
    data = {
        "since": format_instant(since),
        "until": format_instant(now),
        "complete": is_complete,
        "runs": [linked_run(request, run) for run in runs],
    }
    return respond(
        request,
        "timeline.html",
        data,
        lanes=lanes[:MAX_TIMELINE_LANES],
        lanes_over_limit=max(0, len(lanes) - MAX_TIMELINE_LANES),
        hours=_hour_marks(since, now, ZoneInfo(cron.settings.timezone)),
        width=TIMELINE_WIDTH,
        title="Timeline",
    )


def timeline_lanes(runs: list[Run], since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Return a lane for each task, the longest running time first."""
    span = max((until - since).total_seconds(), 1.0)
    lanes: dict[str, dict[str, Any]] = {}
    for run in reversed(runs):
        if run.started is None:
            continue
        start, end = max(run.started, since), run.finished or until
        lane = lanes.setdefault(run.task, {"task": run.task, "seconds": 0.0, "bars": []})
        lane["seconds"] += (end - start).total_seconds()
        x = (start - since).total_seconds() / span * TIMELINE_WIDTH
        width = max(2.0, (end - start).total_seconds() / span * TIMELINE_WIDTH)
        lane["bars"].append({"run": run, "x": round(x, 2), "width": round(width, 2)})
    return sorted(lanes.values(), key=lambda lane: (-lane["seconds"], lane["task"]))


def _hour_marks(since: datetime, until: datetime, zone: ZoneInfo) -> list[tuple[float, str]]:
    """Return the positions of three marks between the edges, and their local times."""
    length = until - since
    marks = [since + length * part / 4 for part in range(1, 4)]
    return [
        (round((mark - since) / length * TIMELINE_WIDTH, 2), f"{mark.astimezone(zone):%H:%M}")
        for mark in marks
    ]
