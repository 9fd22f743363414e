"""The timeline: what ran beside what on one day, a lane for each task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..health_report import HealthReport
from ..planning.forecast import following_slots
from ..run import RunReason, RunState
from ..store import queries
from ..store.queries import RunSpan
from ..text import format_instant
from . import responses, urls
from .problems import HTTPProblem
from .responses import page_view, respond

PAST_HOURS, FUTURE_HOURS = 21, 3
"""Hours before and after the current one that are shown where no day is asked for."""

MAX_TIMELINE_RUNS = 20_000
"""Runs and skipped slots shown at most: the newest."""

MAX_TIMELINE_LANES = 40
"""Tasks shown at most: those in trouble, then those with the longest running time."""

MAX_FUTURE_SLOTS = 24
"""Slots to come that a lane shows at most."""

TIMELINE_WIDTH = 960
CELL_WIDTH = 6
"""Runs shorter than this, side by side, are one bar."""

KINDS = ("failed", "missed", "skipped", "running", "succeeded")
"""What may be shown of a run or slot, the worst first."""


@dataclass(frozen=True, slots=True)
class Span:
    """What the timeline shows: from ``since`` to ``until``, it is ``now`` (aware)."""

    since: datetime
    until: datetime
    now: datetime

    def x(self, moment: datetime) -> float:
        """Return the place of a moment between the edges."""
        share = (moment - self.since) / (self.until - self.since)
        return round(min(max(share, 0.0), 1.0) * TIMELINE_WIDTH, 1)

    def moment(self, x: float) -> datetime:
        """Return the moment at a place, on the whole second before it."""
        moment = self.since + (self.until - self.since) * (x / TIMELINE_WIDTH)
        return moment.replace(microsecond=0)


@dataclass(slots=True)
class Bar:
    """One run, or several short ones side by side."""

    x: float
    width: float
    #: A run of it.
    run: str
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def kind(self) -> str:
        """The worst of what it shows."""
        return next(kind for kind in KINDS if self.kinds[kind])


@dataclass(slots=True)
class Lane:
    """What is shown of one task."""

    task: str
    state: str | None = None
    #: By the cell they begin in, and how they are shown.
    bars: dict[tuple[int, bool], Bar] = field(default_factory=dict)
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    #: The places of slots to come.
    future: list[float] = field(default_factory=list)


@page_view("GET", "HEAD")
def timeline_view(request: Request) -> Response:
    """Show the runs of a ``day``, or of the last hours and the next, a lane for each task."""
    responses.check_parameters(request, "day")
    cron = get_cron(request.registry)
    zone = ZoneInfo(cron.settings.timezone)
    now, asked = cron.clock(), _query_day(request, zone)
    span = _recent_span(now) if asked is None else Span(*asked[1:], now)
    spans = queries.list_spans(cron.store, span.since, span.until, MAX_TIMELINE_RUNS)
    data = {
        "since": format_instant(span.since),
        "until": format_instant(span.until),
        "complete": len(spans) < MAX_TIMELINE_RUNS,
    }
    if not responses.wants_html(request):
        return responses.json_response(data | {"runs": [_run_data(request, one) for one in spans]})
    report = responses.page_health_report(request)
    lanes = make_lanes(spans, span)
    _add_future(cron, report, lanes, span)
    ordered = sort_lanes(lanes.values(), report)
    today = now.astimezone(zone).date()
    shown = today if asked is None else asked[0]
    return respond(
        request,
        "timeline.html",
        data,
        lanes=[_drawn(request, lane, span, zone) for lane in ordered[:MAX_TIMELINE_LANES]],
        lanes_over_limit=max(0, len(ordered) - MAX_TIMELINE_LANES),
        hours=_hour_marks(span, zone),
        now_x=span.x(span.now) if span.since < span.now < span.until else None,
        day=None if asked is None else shown.isoformat(),
        today=today.isoformat(),
        day_before=(shown - timedelta(days=1)).isoformat(),
        day_after=(shown + timedelta(days=1)).isoformat() if shown < today else None,
        width=TIMELINE_WIDTH,
        title="Timeline",
    )


def _query_day(request: Request, zone: ZoneInfo) -> tuple[date, datetime, datetime] | None:
    """Return the day that is asked for, its beginning and its end (aware, UTC); None without."""
    text = request.GET.get("day")
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        start, end = (
            datetime(at.year, at.month, at.day, tzinfo=zone).astimezone(timezone.utc)
            for at in (day, day + timedelta(days=1))
        )
        start - queries.RUNS_BETWEEN_LOOK_BACK, day - timedelta(days=1)  # there are such moments
    except (ValueError, OverflowError):
        message = f"day={text!r}: must be a date, as 2026-12-01"
        raise HTTPProblem(400, message, blamed="day") from None
    return day, start, end


def _recent_span(now: datetime) -> Span:
    hour = now.replace(minute=0, second=0, microsecond=0)
    return Span(hour - timedelta(hours=PAST_HOURS), hour + timedelta(hours=FUTURE_HOURS), now)


def make_lanes(spans: Iterable[RunSpan], span: Span) -> dict[str, Lane]:
    """Return a lane for each task, by its name."""
    lanes: dict[str, Lane] = {}
    for one in spans:
        lane = lanes.get(one.task)
        if lane is None:
            lane = lanes[one.task] = Lane(one.task)
        _add_to_lane(lane, one, span)
    return lanes


def _add_to_lane(lane: Lane, one: RunSpan, span: Span) -> None:
    kind = _kind_of(one)
    begin = one.started or one.slot
    end = begin if one.started is None else one.finished or span.now
    x = span.x(begin)
    width = max(span.x(end) - x, 2.0)
    x = min(x, TIMELINE_WIDTH - width)
    lane.kinds[kind] += 1
    lane.seconds += (end - begin).total_seconds()
    cell, is_long = int(x // CELL_WIDTH), width > CELL_WIDTH
    key = (len(lane.bars) + TIMELINE_WIDTH, True) if is_long else (cell, False)
    bar = lane.bars.get(key)
    if bar is None:
        bar = lane.bars[key] = Bar(x, width, one.id)
    else:
        right = max(bar.x + bar.width, x + width)
        bar.x = min(bar.x, x)
        bar.width = right - bar.x
        if KINDS.index(kind) < KINDS.index(bar.kind):
            bar.run = one.id
    bar.kinds[kind] += 1


def _kind_of(one: RunSpan) -> str:
    if one.state == RunState.SKIPPED:
        return "missed" if one.reason == RunReason.MISSED else "skipped"
    state = RunState(one.state)
    if state.is_active:
        return "running"
    return (
        "failed" if state.is_failure else "succeeded" if state is RunState.SUCCEEDED else "skipped"
    )


def _add_future(cron: CronApp, report: HealthReport, lanes: dict[str, Lane], span: Span) -> None:
    if span.until <= span.now:
        return
    for task in cron.task_registry.tasks:
        if report.pause(task.name) is not None:
            continue
        slots = following_slots(task, span.now)
        places: list[float] = []
        for slot in takewhile(lambda slot: slot < span.until, slots):
            x = span.x(slot)
            if not places or x - places[-1] >= CELL_WIDTH:
                places.append(x)
            if len(places) == MAX_FUTURE_SLOTS:
                break
        if places:
            lanes.setdefault(task.name, Lane(task.name)).future = places


def sort_lanes(lanes: Iterable[Lane], report: HealthReport) -> list[Lane]:
    """Return the lanes: of tasks in trouble first, then those with failures, the longest first."""
    unhealthy = {task.name: number for number, task in enumerate(report.health.unhealthy_tasks)}

    def key(lane: Lane) -> tuple[Any, ...]:
        trouble = lane.kinds["failed"] + lane.kinds["missed"]
        return unhealthy.get(lane.task, len(unhealthy)), not trouble, -lane.seconds, lane.task

    ordered = sorted(lanes, key=key)
    for lane in ordered:
        lane.state = report.task_health(lane.task).state.value if lane.task in unhealthy else None
    return ordered


def _drawn(request: Request, lane: Lane, span: Span, zone: ZoneInfo) -> dict[str, Any]:
    """Return what the template needs of a lane; links are made here, for there are many."""
    base = urls.page_path(request, "runs")
    return {
        "task": lane.task,
        "state": lane.state,
        "seconds": lane.seconds,
        "kinds": lane.kinds,
        "future": lane.future,
        "bars": [
            (
                f"{base}/{bar.run}"
                if bar.kinds.total() == 1
                else urls.page_path(
                    request,
                    "runs",
                    task=lane.task,
                    since=format_instant(span.moment(bar.x)),
                    until=format_instant(span.moment(bar.x + bar.width) + timedelta(seconds=1)),
                ),
                bar.kind,
                round(bar.x, 1),
                round(bar.width, 1),
                _label(bar.kinds, span.moment(bar.x), zone),
            )
            for bar in sorted(lane.bars.values(), key=lambda bar: bar.x)
        ],
    }


def _label(kinds: Mapping[str, int], since: datetime, zone: ZoneInfo) -> str:
    parts = [kind if kinds[kind] == 1 else f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind]]
    return f"{since.astimezone(zone):%H:%M}: {', '.join(parts)}"


def _hour_marks(span: Span, zone: ZoneInfo) -> list[tuple[float, str]]:
    """Return the places of full hours, and the local time at every third."""
    marks = []
    moment = span.since + timedelta(hours=1)
    while moment < span.until:
        local = moment.astimezone(zone)
        marks.append((span.x(moment), f"{local:%H:%M}" if local.hour % 3 == 0 else ""))
        moment += timedelta(hours=1)
    return marks


def _run_data(request: Request, one: RunSpan) -> dict[str, Any]:
    return {
        "run": one.id,
        "task": one.task,
        "slot": format_instant(one.slot),
        "state": one.state,
        "reason": one.reason,
        "started": one.started and format_instant(one.started),
        "finished": one.finished and format_instant(one.finished),
        "url": urls.run_path(request, one.id),
    }
