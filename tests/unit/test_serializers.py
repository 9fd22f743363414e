"""Runs, tasks and reports as JSON values."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from pyramid_cron.planning.health import Health, HealthState, TaskHealth
from pyramid_cron.planning.snapshot import PauseRule, TickReport, WaitingRun, as_run
from pyramid_cron.run import Progress, Run, RunReason, RunState, Trigger
from pyramid_cron.schedule import Cron
from pyramid_cron.serializers import (
    health_data,
    pause_data,
    run_data,
    run_detail,
    task_data,
    tick_report_data,
    tick_summary,
    waiting_run_data,
)
from pyramid_cron.task import Task
from pyramid_cron.text import format_instant

NOON = datetime(2026, 6, 15, 12, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)

FAILED = Run(
    id="0" * 26,
    task="a",
    slot=NOON,
    attempt=2,
    trigger=Trigger.RETRY,
    state=RunState.FAILED,
    host="h",
    pid=7,
    started=NOON,
    finished=NOON + 2 * SECOND,
    error="ValueError: no\nway",
    traceback="T",
    log="line\n",
    progress=Progress(1, 3, "half"),
    payload={"order": 7},
)
FAILED_DATA = {
    "run": "0" * 26,
    "task": "a",
    "schedule": None,
    "slot": "2026-06-15T12:00:00Z",
    "attempt": 2,
    "trigger": "retry",
    "state": "failed",
    "reason": None,
    "count": 1,
    "not_before": None,
    "why": None,
    "key": None,
    "started": "2026-06-15T12:00:00Z",
    "finished": "2026-06-15T12:00:02Z",
    "duration": 2.0,
    "error": "ValueError: no\nway",
    "exit_status": None,
    "progress": {"done": 1, "total": 3, "message": "half"},
    "host": "h",
    "pid": 7,
}
SKIPPED = Run(
    "1" * 26,
    "b",
    NOON,
    1,
    Trigger.SCHEDULE,
    RunState.SKIPPED,
    "h",
    7,
    reason=RunReason.PAUSED,
    count=3,
)
WAITING = WaitingRun("c", NOON, Trigger.DEFERRED, NOON + SECOND)


def task(name: str = "a") -> Task:
    return Task(
        name, print, (Cron("0 7 * * *", timezone="Europe/Berlin"),), timezone="Europe/Berlin"
    )


def test_a_moment_is_iso_8601_in_utc() -> None:
    assert format_instant(NOON + timedelta(microseconds=1)) == "2026-06-15T12:00:00.000001Z"


def test_a_run() -> None:
    assert json.loads(json.dumps(run_data(FAILED))) == FAILED_DATA


def test_a_run_with_its_texts() -> None:
    more = {
        "cancel_requested": False,
        "payload": {"order": 7},
        "traceback": "T",
        "output": "line\n",
        "log": "line\n",
        "stdout": None,
        "stderr": None,
    }
    assert run_detail(FAILED) == FAILED_DATA | more


def test_a_waiting_run() -> None:
    run = as_run(replace(WAITING, id="2" * 26, key="order 7", payload={"order": 7}))
    data = waiting_run_data(run)
    assert data == {
        "run": "2" * 26,
        "task": "c",
        "schedule": None,
        "slot": "2026-06-15T12:00:00Z",
        "attempt": 1,
        "trigger": "deferred",
        "state": "waiting",
        "not_before": "2026-06-15T12:00:01Z",
        "why": "later",
        "key": "order 7",
        "payload": {"order": 7},
    }
    whole = run_data(run)
    assert {key: whole[key] for key in data if key != "payload"} | {
        "payload": data["payload"]
    } == data
    assert (whole["host"], whole["pid"]) == (None, None)


def test_a_pause() -> None:
    rule = PauseRule(NOON, True, "*", reason="moving")
    assert pause_data(rule) == {"since": "2026-06-15T12:00:00Z", "until": None, "reason": "moving"}
    assert pause_data(None) is None


def test_a_task() -> None:
    slot = task().following(NOON)
    health = TaskHealth("a", HealthState.FAILING, "no way", slot, FAILED)
    data = task_data(health, task(), running=[], waiting=2, pause=None)
    assert data == {
        "task": "a",
        "description": task().description,
        "labels": {},
        "schedule": task().describe(),
        "timezone": "Europe/Berlin",
        "state": "failing",
        "detail": "no way",
        "next": "2026-06-16T05:00:00Z",
        "last": FAILED_DATA,
        "running": [],
        "waiting": 2,
        "paused": None,
    }


def test_a_task_that_is_not_registered_has_no_schedule_and_no_next_slot() -> None:
    health = TaskHealth("gone", HealthState.ORPHANED)
    data = task_data(health, None, running=[FAILED], waiting=0, pause=None)
    assert (data["task"], data["schedule"], data["timezone"], data["next"]) == (
        "gone",
        None,
        None,
        None,
    )
    assert data["running"] == [FAILED_DATA]


def test_a_tick() -> None:
    data = tick_report_data(TickReport("t", NOON, (FAILED,), (SKIPPED,), (WAITING,)))
    assert data["runs"] == [FAILED_DATA]
    assert (data["tick"], data["now"]) == ("t", "2026-06-15T12:00:00Z")
    assert data["skipped"] == [run_data(SKIPPED)]
    assert data["waiting"] == [{"task": "c", "slot": "2026-06-15T12:00:00Z"}]


def test_who_triggers_a_tick_sees_no_errors_and_no_hosts() -> None:
    data = tick_summary(TickReport("t", NOON, (FAILED,), (SKIPPED,), (WAITING,)))
    slot = "2026-06-15T12:00:00Z"
    assert data == {
        "tick": "t",
        "now": slot,
        "runs": [{"task": "a", "run": "0" * 26, "slot": slot, "state": "failed", "duration": 2.0}],
        "skipped": [{"task": "b", "slot": slot, "reason": "paused", "count": 3}],
        "waiting": [{"task": "c", "slot": slot}],
    }


def test_health() -> None:
    failing = TaskHealth("a", HealthState.FAILING, "run failed", NOON + SECOND, FAILED)
    health = Health(False, (failing, TaskHealth("b", HealthState.OK)), NOON, 1.0)
    assert json.loads(json.dumps(health_data(health))) == {
        "healthy": False,
        "last_tick": "2026-06-15T12:00:00Z",
        "since_last_tick": 1.0,
        "tasks": [
            {
                "task": "a",
                "state": "failing",
                "detail": "run failed",
                "next": "2026-06-15T12:00:01Z",
                "last": {
                    "run": "0" * 26,
                    "slot": "2026-06-15T12:00:00Z",
                    "state": "failed",
                    "finished": "2026-06-15T12:00:02Z",
                    "duration": 2.0,
                    "error": "ValueError: no\nway",
                },
            },
            {"task": "b", "state": "ok", "detail": None, "next": None, "last": None},
        ],
        "schedules": [],
    }


def test_health_before_the_first_tick() -> None:
    assert health_data(Health(False, (), None, None)) == {
        "healthy": False,
        "last_tick": None,
        "since_last_tick": None,
        "tasks": [],
        "schedules": [],
    }
