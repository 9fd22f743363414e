"""The metrics for Prometheus, from the store: the same from every process and host."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from .app import CronApp
from .errors import ExtraMissingError
from .health_report import assess_overview
from .planning.health import Health, HealthState
from .planning.snapshot import PauseRule, active_pause
from .run import RunReason, RunState
from .store.queries import Overview, read_overview
from .store.run_stats import RunStats
from .store.schema import BUCKET_BOUNDS_SECONDS
from .store.stored_schedules import count_schedules
from .task import Task

METRIC_PREFIX = "pyramid_cron_"

FINAL_STATES = tuple(state.value for state in RunState if state.is_final)
"""States that are reported from the start, as 0, so that the first run in them is an increase."""


@dataclass(frozen=True, slots=True)
class MetricsInput:
    """What the metrics are made of."""

    #: The registered tasks.
    tasks: tuple[Task, ...]
    overview: Overview
    health: Health
    #: The number of stored schedules in each state.
    schedules: Mapping[str, int]
    #: ``cron.capacity``.
    capacity: int

    @property
    def task_names(self) -> list[str]:
        """The names of the registered tasks."""
        return [task.name for task in self.tasks]


def render_metrics(cron: CronApp, accept: str, now: datetime) -> tuple[bytes, str]:
    """Return the metrics at a moment (aware, UTC), and their content type.

    ``accept`` is the request's ``Accept`` header, which chooses the format.

    Raises ExtraMissingError without prometheus_client, StoreError if the store can't be read.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
    except ImportError:
        raise ExtraMissingError(
            "metrics need prometheus_client: install pyramid_cron[prometheus]"
        ) from None
    overview = read_overview(cron.store, cron.task_registry.task_set_id, now)
    health = assess_overview(cron, overview, now)
    registry = CollectorRegistry()
    metrics_input = MetricsInput(
        cron.task_registry.tasks,
        overview,
        health,
        count_schedule_states(cron, overview.pause_rules, now),
        cron.settings.capacity,
    )
    registry.register(_Collector(metrics_input))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def count_schedule_states(
    cron: CronApp, pause_rules: Sequence[PauseRule], now: datetime
) -> Mapping[str, int]:
    """Return the number of stored schedules in each state. Raises StoreError."""
    cron.refresh_schedules()
    by_name = cron.task_registry.by_name
    with cron.store.read_session() as session:
        on_record = count_schedules(session)
    entries = [entry for entry in cron.schedule_book.entries() if entry.task in by_name]
    enabled = sum(count for task, is_on, count in on_record if is_on and task in by_name)
    paused = sum(
        active_pause(entry.task, now, pause_rules, entry.name, command=by_name[entry.task].command)
        is not None
        for entry in entries
        if pause_rules
    )
    return {
        "ok": len(entries) - paused,
        "paused": paused,
        "disabled": sum(count for task, is_on, count in on_record if not is_on and task in by_name),
        "orphaned": sum(count for task, _, count in on_record if task not in by_name),
        "broken": max(0, enabled - len(entries)),
    }


class _Collector:
    """Gives prometheus_client the metrics, as its protocol of a collector has it."""

    def __init__(self, metrics_input: MetricsInput) -> None:
        self._input = metrics_input

    def describe(self) -> Iterable[Any]:
        """Return nothing: no other collector of the registry can have the same names."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        yield from _collect_counters(self._input)
        yield from _collect_histograms(self._input)
        yield from _collect_task_gauges(self._input)
        yield from _collect_global_gauges(self._input)


def _collect_counters(metrics_input: MetricsInput) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily

    names = metrics_input.task_names
    runs = Counter({(task, state): 0 for task in names for state in FINAL_STATES})
    skipped = Counter({(task, reason.value): 0 for task in names for reason in RunReason})
    for stats in metrics_input.overview.run_stats:
        runs[stats.task, stats.state] += stats.count
        if stats.is_skipped:
            skipped[stats.task, stats.reason] += stats.count
    by_state = CounterMetricFamily(
        f"{METRIC_PREFIX}runs", "Runs that are over, and slots skipped.", labels=("task", "state")
    )
    yield _fill_family(by_state, runs)
    by_reason = CounterMetricFamily(
        f"{METRIC_PREFIX}skipped_slots", "Slots that did not run.", labels=("task", "reason")
    )
    yield _fill_family(by_reason, skipped)
    yield CounterMetricFamily(
        f"{METRIC_PREFIX}ticks", "Ticks.", value=metrics_input.overview.tick_count
    )


def _collect_histograms(metrics_input: MetricsInput) -> Iterator[Any]:
    from prometheus_client.core import HistogramMetricFamily

    by_task: dict[str, list[RunStats]] = {name: [] for name in metrics_input.task_names}
    for stats in metrics_input.overview.run_stats:
        by_task.setdefault(stats.task, []).append(stats)
    for name, help_text in (
        ("duration", "What runs took, from start to finish."),
        ("lateness", "How long after their slots runs began, retries left out."),
    ):
        family = HistogramMetricFamily(
            f"{METRIC_PREFIX}run_{name}_seconds", help_text, labels=("task",)
        )
        for task, rows in by_task.items():
            family.add_metric((task,), *_sum_buckets(name, rows))
        yield family


def _sum_buckets(name: str, rows: Iterable[RunStats]) -> tuple[list[tuple[str, int]], float]:
    """Return the buckets of some rows, each with those below it, and their sum in seconds."""
    counts = [0] * len(BUCKET_BOUNDS_SECONDS)
    total, seconds = 0, 0.0
    for stats in rows:
        buckets: tuple[int, ...] = getattr(stats, f"{name}_buckets")
        counts = [count + more for count, more in zip(counts, buckets, strict=True)]
        total += getattr(stats, f"{name}_count")
        seconds += getattr(stats, f"{name}_sum")
    bounds = [str(float(bound)) for bound in BUCKET_BOUNDS_SECONDS]
    return [*zip(bounds, accumulate(counts), strict=True), ("+Inf", total)], seconds


def _collect_task_gauges(metrics_input: MetricsInput) -> Iterator[Any]:
    overview = metrics_input.overview
    successes = {
        (stats.task,): stats.last_finished.timestamp()
        for stats in overview.run_stats
        if stats.state == RunState.SUCCEEDED.value and stats.last_finished is not None
    }
    running = Counter({(task,): 0 for task in metrics_input.task_names})
    waiting = running.copy()
    for active_run in overview.active_runs:
        running[active_run.run.task,] += 1
    for summary in overview.waiting:
        waiting[summary.task,] += summary.count
    states = {
        (task.name, state.value): int(task.state is state)
        for task in metrics_input.health.tasks
        for state in HealthState
    }
    upcoming = {
        (task.name,): task.next.timestamp()
        for task in metrics_input.health.tasks
        if task.next is not None
    }
    yield _make_info(metrics_input.tasks)
    yield _make_gauge("next_run_timestamp_seconds", "When the next slot is.", upcoming)
    yield _make_gauge("last_success_timestamp_seconds", "When the last success ended.", successes)
    yield _make_gauge("running_runs", "Runs that are claimed and not over.", running)
    yield _make_gauge("waiting_slots", "Slots that wait for a later tick.", waiting)
    yield _make_gauge("task_state", "1 for the state that a task is in.", states, ("task", "state"))


def _collect_global_gauges(metrics_input: MetricsInput) -> Iterator[Any]:
    health = metrics_input.health
    used = sum(active_run.weight for active_run in metrics_input.overview.active_runs)
    yield _make_gauge("capacity_used", "Weight of runs outside of requests.", {(): used}, ())
    limit = {(): metrics_input.capacity}
    yield _make_gauge("capacity_limit", "The most that it may be: cron.capacity.", limit, ())
    schedules = {(state,): count for state, count in metrics_input.schedules.items()}
    yield _make_gauge("schedules", "Stored schedules.", schedules, ("state",))
    yield _make_gauge("healthy", "1 if all is well, else 0.", {(): int(health.is_healthy)}, ())
    if health.last_tick is not None and health.since_last_tick is not None:
        age, moment = {(): health.since_last_tick}, {(): health.last_tick.timestamp()}
        yield _make_gauge("last_tick_age_seconds", "Seconds since the last tick.", age, ())
        yield _make_gauge("last_tick_timestamp_seconds", "When the last tick came.", moment, ())


def _make_info(tasks: Iterable[Task]) -> Any:
    """Return the metric with the tasks' labels, to join the others with: ``label_team``."""
    labels_by_task = {
        task.name: {_to_metric_label(name): text for name, text in task.labels.items()}
        for task in tasks
    }
    names = sorted({name for labels in labels_by_task.values() for name in labels})
    values = {
        (task, *(labels.get(name, "") for name in names)): 1
        for task, labels in labels_by_task.items()
    }
    return _make_gauge("task_info", "The labels of a task.", values, ("task", *names))


def _to_metric_label(name: str) -> str:
    return "label_" + re.sub("[^A-Za-z0-9_]", "_", name)


def _make_gauge(
    name: str, help_text: str, values: dict[Any, Any], labels: tuple[str, ...] = ("task",)
) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return _fill_family(
        GaugeMetricFamily(f"{METRIC_PREFIX}{name}", help_text, labels=labels), values
    )


def _fill_family(family: Any, values: dict[Any, Any]) -> Any:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
