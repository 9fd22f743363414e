"""What would run over a span of time, in the order in which ticks would run it."""

from __future__ import annotations

from typing import Any

from pyramid_cron.planning.forecast import PlannedRun, active_calendar, forecast, forecast_task
from pyramid_cron.planning.schedule_book import BookEntry
from pyramid_cron.planning.snapshot import PauseRule
from pyramid_cron.schedule import At, Cron, Every
from pyramid_cron.task import Task

from .builders import at, calendar, show, task


def foretell(*tasks: Task, since: str, until: str) -> list[str]:
    """Return what would run, such as ``"12:05 a"``."""
    entries = forecast(tasks, calendar(*tasks), at(since), at(until))
    return [f"{show(entry.slot)} {entry.task}" for entry in entries]


def test_the_forecast_has_every_slot_of_the_span_with_its_task() -> None:
    tasks = (task("a", Cron("*/20 * * * *")),)
    assert list(forecast(tasks, calendar(*tasks), at("12:00"), at("12:40"))) == [
        PlannedRun(at("12:20"), "a"),
        PlannedRun(at("12:40"), "a"),
    ]


def test_slots_of_several_tasks_come_in_the_order_of_time() -> None:
    tasks = [
        task("every", Every("7m")),
        task("cron", Cron("*/10 * * * *")),
        task("once", At(at("12:03"))),
        task("demand", None),
    ]
    assert foretell(*tasks, since="12:00", until="12:15") == [
        "12:02 every",
        "12:03 once",
        "12:09 every",
        "12:10 cron",
    ]


def test_slots_of_one_moment_come_as_the_tasks_were_registered() -> None:
    tasks = [task(name) for name in ("c", "a", "b")]
    assert foretell(*tasks, since="12:00", until="12:01") == ["12:01 c", "12:01 a", "12:01 b"]


def test_a_higher_priority_comes_first() -> None:
    tasks = [task("low", priority=-1), task("plain"), task("high", priority=1)]
    assert foretell(*tasks, since="12:00", until="12:02") == [
        "12:01 high",
        "12:01 plain",
        "12:01 low",
        "12:02 high",
        "12:02 plain",
        "12:02 low",
    ]


def test_idle_tasks_come_last_whatever_their_priority() -> None:
    tasks = [task("idle", idle=True, priority=9), task("plain"), task("idler", idle=True)]
    assert foretell(*tasks, since="12:00", until="12:01") == [
        "12:01 plain",
        "12:01 idle",
        "12:01 idler",
    ]


def test_time_counts_for_more_than_priority() -> None:
    tasks = [task("early", Cron("1 * * * *")), task("high", Cron("2 * * * *"), priority=5)]
    assert foretell(*tasks, since="12:00", until="12:02") == ["12:01 early", "12:02 high"]


def test_a_span_of_days_has_each_slot_once() -> None:
    assert foretell(task("a", Cron("0 */3 * * *")), since="00:00", until="2026-06-17 00:00") == [
        *(f"{hour:02}:00 a" for hour in range(3, 24, 3)),
        *(f"2026-06-16 {hour:02}:00 a" for hour in range(0, 24, 3)),
        "2026-06-17 00:00 a",
    ]


def test_slots_just_around_a_multiple_of_six_hours_are_not_lost() -> None:
    policy = task("a", Cron("59,0,1 0,6,5 * * *"))
    assert foretell(policy, since="00:00", until="06:01") == [
        "00:01 a",
        "00:59 a",
        "05:00 a",
        "05:01 a",
        "05:59 a",
        "06:00 a",
        "06:01 a",
    ]


def test_an_offset_is_part_of_the_forecast() -> None:
    assert foretell(task(offset=30), since="12:00", until="12:01") == ["12:00:30 a"]


def test_an_empty_span_or_one_that_ends_before_it_begins_has_nothing() -> None:
    assert foretell(task(), since="12:00", until="12:00") == []
    assert foretell(task(), since="12:05", until="12:00") == []


def test_no_tasks_have_no_forecast() -> None:
    assert foretell(since="12:00", until="2026-06-20 12:00") == []


def test_a_forecast_is_made_as_it_is_read() -> None:
    tasks = (task(),)
    entries = forecast(tasks, calendar(*tasks), at("12:00"), at("2090-01-01 00:00"))
    assert next(entries) == PlannedRun(at("12:01"), "a")


def rule(pattern: str, **changes: Any) -> PauseRule:
    return PauseRule(at("10:00"), True, pattern, **changes)


def test_the_calendar_of_tasks_leaves_out_those_paused_for_good() -> None:
    tasks = (task("a"), task("b"), task("c"))
    rules = [rule("b"), rule("c", until=at("12:30"))]
    active = active_calendar(tasks, calendar(*tasks), rules, at("12:00"))
    planned = forecast(tasks, active, at("12:00"), at("12:01"))
    assert [entry.task for entry in planned] == ["a", "c"]


def test_the_calendar_of_tasks_is_that_of_all_where_none_is_paused_for_good() -> None:
    tasks = (task("a"), task("b"))
    everything = calendar(*tasks)
    rules = [rule("b", until=at("12:30"))]
    assert active_calendar(tasks, everything, rules, at("12:00")) is everything


def entry(name: str, task: str) -> BookEntry:
    return BookEntry(name, task, (Every("30s"),), 0, "UTC", at("12:00"), 1)


def test_the_forecast_of_a_task_has_its_own_slots_and_those_of_its_schedules() -> None:
    entries = [entry("ann", "a"), entry("bob", "b")]
    planned = list(forecast_task(task("a"), entries, at("12:00"), at("12:01")))
    assert [(show(run.slot), run.task, run.schedule) for run in planned] == [
        ("12:00:30", "a", "ann"),
        ("12:01", "a", None),
        ("12:01", "a", "ann"),
    ]
    assert list(forecast_task(task("a", None), entries[1:], at("12:00"), at("12:01"))) == []
