"""What Prometheus is told, from the store: the same whichever process and host is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .due.health import Health, HealthState
from .health import assess_record
from .run import RunState
from .state import Cronwork
from .store.overview import Overview, overview

PREFIX = "pyramid_cron_"
EXPECTED = (RunState.SUCCEEDED.value, RunState.FAILED.value)
"""States that are told of from the start, so that the first run in them is seen as an increase."""


class ExtraMissingError(Exception):
    """What is needed for this is not installed; the message names the extra."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is told: names of registered tasks, what is on record, and how things are by that."""

    tasks: tuple[str, ...]
    record: Overview
    health: Health


def exposition(cron: Cronwork, accept: str, now: datetime) -> tuple[bytes, str]:
    """Return the metrics at a moment (aware, UTC), in the format asked for, and its content type.

    Raises ExtraMissingError without prometheus_client, StoreError if the store can't be read.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
    except ImportError:
        raise ExtraMissingError(
            "metrics need prometheus_client: install pyramid_cron[prometheus]"
        ) from None
    record = overview(cron.store, cron.tasks.roster)
    health = assess_record(cron, record, now)
    registry = CollectorRegistry()
    registry.register(_Collector(Snapshot(tuple(cron.tasks.by_name), record, health)))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector:
    """Gives prometheus_client what there is to tell."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Any]:
        """Return nothing: what is told takes no names from anything else in the registry."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        yield from _counters(self._snapshot)
        yield from _summaries(self._snapshot)
        yield from _of_tasks(self._snapshot)
        yield from _of_all(self._snapshot)


def _counters(snapshot: Snapshot) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily

    runs: dict[tuple[str, str], int] = {
        (task, state): 0 for task in snapshot.tasks for state in EXPECTED
    }
    skipped: dict[tuple[str, str], int] = {}
    for total in snapshot.record.totals:
        key = total.task, total.state
        runs[key] = runs.get(key, 0) + total.count
        if total.skipped:
            skipped[total.task, total.reason] = total.count
    by_state = CounterMetricFamily(
        f"{PREFIX}runs", "Runs that are over, and slots skipped.", labels=("task", "state")
    )
    yield _filled(by_state, runs)
    by_reason = CounterMetricFamily(
        f"{PREFIX}skipped_slots", "Slots that did not run.", labels=("task", "reason")
    )
    yield _filled(by_reason, skipped)
    yield CounterMetricFamily(f"{PREFIX}ticks", "Ticks.", value=snapshot.record.ticks)


def _summaries(snapshot: Snapshot) -> Iterator[Any]:
    from prometheus_client.core import SummaryMetricFamily

    durations: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    lateness: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for total in snapshot.record.totals:
        for sums, count, seconds in (
            (durations, total.timed, total.duration),
            (lateness, total.begun, total.lateness),
        ):
            if count:
                known = sums[total.task]
                sums[total.task] = [known[0] + count, known[1] + seconds]
    for name, help_text, sums in (
        ("duration", "What runs took, from start to finish.", durations),
        ("lateness", "How long after their slots runs began, retries left out.", lateness),
    ):
        family = SummaryMetricFamily(f"{PREFIX}run_{name}_seconds", help_text, labels=("task",))
        for task, (number, in_all) in sums.items():
            family.add_metric((task,), count_value=int(number), sum_value=in_all)
        yield family


def _of_tasks(snapshot: Snapshot) -> Iterator[Any]:
    record = snapshot.record
    success = {
        (total.task,): total.finished.timestamp()
        for total in record.totals
        if total.state == RunState.SUCCEEDED.value and total.finished is not None
    }
    running: dict[tuple[str, ...], int] = dict.fromkeys(((task,) for task in snapshot.tasks), 0)
    waiting = dict(running)
    for active in record.active:
        running[active.run.task,] = running.get((active.run.task,), 0) + 1
    for queue in record.queues:
        waiting[queue.task,] = waiting.get((queue.task,), 0) + queue.count
    states = {
        (task.name, state.value): int(task.state is state)
        for task in snapshot.health.tasks
        for state in HealthState
    }
    yield _gauge("last_success_timestamp_seconds", "When the last success ended.", success)
    yield _gauge("running_runs", "Runs that are claimed and not over.", running)
    yield _gauge("waiting_slots", "Slots that wait for a later tick.", waiting)
    yield _gauge("task_state", "1 for the state that a task is in.", states, ("task", "state"))


def _of_all(snapshot: Snapshot) -> Iterator[Any]:
    health = snapshot.health
    yield _gauge("healthy", "1 if all is well, else 0.", {(): int(health.healthy)}, ())
    if health.last_tick is not None and health.since_last_tick is not None:
        age, moment = {(): health.since_last_tick}, {(): health.last_tick.timestamp()}
        yield _gauge("last_tick_age_seconds", "Seconds since the last tick.", age, ())
        yield _gauge("last_tick_timestamp_seconds", "When the last tick came.", moment, ())


def _gauge(
    name: str, help_text: str, values: dict[Any, Any], labels: tuple[str, ...] = ("task",)
) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"{PREFIX}{name}", help_text, labels=labels), values)


def _filled(family: Any, values: dict[Any, Any]) -> Any:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
