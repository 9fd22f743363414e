"""Which slots run that no tick came for in time, and what becomes of the others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pyramid_cron.planning.catch_up import SkippedSlots, catch_up, is_on_time
from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import RunReason, Trigger
from pyramid_cron.task import Task

from .builders import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Timeline,
    at,
    due,
    moments,
    plan_at,
    show,
    skipped_runs,
    skips,
    slots,
    task,
    waiting,
)

HALF_HOURS = ("12:30", "13:00", "13:30", "14:00", "14:30", "15:00")
"""The slots of a task that is due each half hour, when no tick came for three hours."""


def runs_of(policy: Task, *texts: str, now: str) -> list[str]:
    """Return the slots that run, each with its trigger."""
    run, _ = catch_up(policy, moments(*texts), at(now))
    return [f"{show(slot.slot)} {slot.trigger}" for slot in run]


def skips_of(policy: Task, *texts: str, now: str) -> list[str]:
    """Return the slots that are skipped: the newest, why, and how many."""
    _, skipped = catch_up(policy, moments(*texts), at(now))
    return [f"{show(skip.newest)} {skip.reason} {skip.count}" for skip in skipped]


class TestOnce:
    def test_the_newest_slot_runs_and_stands_for_the_others(self) -> None:
        policy = task(grace=DAY)
        assert runs_of(policy, *HALF_HOURS, now="15:10") == ["15:00 catch_up"]
        assert skips_of(policy, *HALF_HOURS, now="15:10") == ["14:30 superseded 5"]

    def test_slots_older_than_the_grace_are_missed_and_not_superseded(self) -> None:
        assert runs_of(task(), *HALF_HOURS, now="15:10") == ["15:00 catch_up"]
        assert skips_of(task(), *HALF_HOURS, now="15:10") == [
            "14:00 missed 4",
            "14:30 superseded 1",
        ]

    def test_nothing_runs_where_all_is_older_than_the_grace(self) -> None:
        assert runs_of(task(), *HALF_HOURS, now="16:01") == []
        assert skips_of(task(), *HALF_HOURS, now="16:01") == ["15:00 missed 6"]

    def test_a_single_slot_supersedes_nothing(self) -> None:
        assert skips_of(task(), "12:00", now="12:10") == []

    def test_several_slots_within_a_minute_are_one_run(self) -> None:
        assert runs_of(task(), "12:00", "12:00:20", now="12:00:40") == ["12:00:20 schedule"]
        assert skips_of(task(), "12:00", "12:00:20", now="12:00:40") == ["12:00 superseded 1"]


class TestAll:
    def test_every_slot_runs_oldest_first(self) -> None:
        policy = task(catch_up="all", grace=None)
        assert runs_of(policy, *HALF_HOURS, now="15:10") == [
            f"{slot} catch_up" for slot in HALF_HOURS
        ]
        assert skips_of(policy, *HALF_HOURS, now="15:10") == []

    def test_those_older_than_the_grace_are_missed_all_the_same(self) -> None:
        policy = task(catch_up="all")
        assert runs_of(policy, *HALF_HOURS, now="15:10") == ["14:30 catch_up", "15:00 catch_up"]
        assert skips_of(policy, *HALF_HOURS, now="15:10") == ["14:00 missed 4"]

    def test_one_that_is_on_time_is_not_said_to_catch_up(self) -> None:
        policy = task(catch_up="all")
        assert runs_of(policy, "14:30", "15:00", now="15:00") == [
            "14:30 catch_up",
            "15:00 schedule",
        ]


class TestNone:
    def test_nothing_late_runs(self) -> None:
        policy = task(catch_up="none")
        assert runs_of(policy, *HALF_HOURS, now="15:10") == []
        assert skips_of(policy, *HALF_HOURS, now="15:10") == ["15:00 missed 6"]

    def test_a_slot_on_time_runs(self) -> None:
        policy = task(catch_up="none")
        assert runs_of(policy, *HALF_HOURS, now="15:00:59") == ["15:00 schedule"]
        assert skips_of(policy, *HALF_HOURS, now="15:00:59") == ["14:30 missed 5"]

    def test_a_slot_on_time_that_is_not_the_newest_is_superseded(self) -> None:
        policy = task(catch_up="none")
        assert runs_of(policy, "11:00", "12:00", "12:00:20", now="12:00:40") == [
            "12:00:20 schedule"
        ]
        assert skips_of(policy, "11:00", "12:00", "12:00:20", now="12:00:40") == [
            "11:00 missed 1",
            "12:00 superseded 1",
        ]

    def test_late_slots_are_missed_once_however_old_they_are(self) -> None:
        policy = task(catch_up="none", grace=HOUR)
        assert skips_of(policy, "11:00", "14:55", now="15:00") == ["14:55 missed 2"]

    def test_without_a_grace_it_catches_up_with_nothing_either(self) -> None:
        assert runs_of(task(catch_up="none", grace=None), "12:00", now="12:01") == []


class TestGrace:
    @pytest.mark.parametrize("policy", ["once", "all"])
    def test_a_slot_exactly_as_old_as_the_grace_runs(self, policy: str) -> None:
        assert runs_of(task(catch_up=policy), "12:00", now="13:00") == ["12:00 catch_up"]

    @pytest.mark.parametrize("policy", ["once", "all", "none"])
    def test_a_slot_a_second_older_than_the_grace_is_missed(self, policy: str) -> None:
        assert runs_of(task(catch_up=policy), "12:00", now="13:00:01") == []
        assert skips_of(task(catch_up=policy), "12:00", now="13:00:01") == ["12:00 missed 1"]

    def test_without_a_grace_nothing_is_too_old(self) -> None:
        policy = task(grace=None)
        assert runs_of(policy, "2025-01-01 12:00", now="12:00") == ["2025-01-01 12:00 catch_up"]

    def test_a_short_grace_makes_a_slot_missed_that_would_be_on_time(self) -> None:
        policy = task(grace=30 * SECOND)
        assert runs_of(policy, "12:00", now="12:00:30") == ["12:00 schedule"]
        assert skips_of(policy, "12:00", now="12:00:31") == ["12:00 missed 1"]


class TestOnTime:
    @pytest.mark.parametrize(
        ("now", "trigger"),
        [("12:00", "schedule"), ("12:00:59.999999", "schedule"), ("12:01", "catch_up")],
    )
    def test_a_slot_is_late_after_a_minute(self, now: str, trigger: str) -> None:
        assert runs_of(task(), "12:00", now=now) == [f"12:00 {trigger}"]

    def test_a_slot_that_is_still_to_come_is_not_late(self) -> None:
        assert is_on_time(at("12:01"), at("12:00"))


@pytest.mark.parametrize("policy", ["once", "all", "none"])
def test_no_slots_make_no_runs_and_no_skips(policy: str) -> None:
    assert catch_up(task(catch_up=policy), [], at("12:00")) == ([], [])


def test_runs_and_skips_have_their_moments_in_utc() -> None:
    run, skipped = catch_up(task(), moments("12:00", "12:10"), at("12:20"))
    assert run == [WaitingRun("a", at("12:10"), Trigger.CATCH_UP, at("12:10"))]
    assert skipped == [SkippedSlots("a", at("12:00"), 1, RunReason.SUPERSEDED)]


class TestInAPlan:
    def test_the_newest_missed_slot_runs_to_catch_up(self) -> None:
        plan = plan_at("15:10", due(task(grace=DAY), *HALF_HOURS))
        assert slots(plan.run_now) == ["a 15:00"]
        assert plan.run_now[0].trigger is Trigger.CATCH_UP
        assert plan.run_now[0].not_before == at("15:00")
        assert skips(plan) == ["a 14:30 superseded 5"]
        assert (plan.backlog, plan.enqueue, plan.dequeue) == ([], [], [])

    def test_a_late_slot_of_a_task_that_catches_up_with_nothing_is_skipped(self) -> None:
        plan = plan_at("12:01", due(task(catch_up="none"), "12:00"))
        assert slots(plan.run_now) == []
        assert skips(plan) == ["a 12:00 missed 1"]

    def test_a_slot_on_time_but_older_than_a_short_grace_is_skipped(self) -> None:
        plan = plan_at("12:00:31", due(task(grace=30 * SECOND), "12:00"))
        assert slots(plan.run_now) == []
        assert skips(plan) == ["a 12:00 missed 1"]

    def test_a_slot_of_a_task_without_a_grace_runs_as_any_other(self) -> None:
        assert slots(plan_at("12:00", due(task(grace=None), "12:00")).run_now) == ["a 12:00"]

    def test_the_oldest_slot_runs_in_any_case_and_the_backlog_while_there_is_time(self) -> None:
        plan = plan_at("12:04", due(task(catch_up="all"), "12:01", "12:02", "12:03", "12:04"))
        assert slots(plan.run_now) == ["a 12:01"]
        assert slots(plan.backlog) == ["a 12:02", "a 12:03", "a 12:04"]
        assert plan.enqueue == plan.backlog
        assert plan.dequeue == []

    def test_the_oldest_slot_of_a_waiting_backlog_runs_and_the_others_if_there_is_time(
        self,
    ) -> None:
        stored = [waiting("a", "12:02"), waiting("a", "12:03")]
        plan = plan_at("12:06", due(task(catch_up="all")), stored=stored)
        assert (plan.run_now, plan.backlog) == (stored[:1], stored[1:])
        assert (plan.enqueue, plan.dequeue, plan.skipped) == ([], [], [])

    def test_a_new_slot_joins_the_end_of_a_backlog(self) -> None:
        stored = [waiting("a", "12:02"), waiting("a", "12:03")]
        plan = plan_at("12:04", due(task(catch_up="all"), "12:04"), stored=stored)
        assert slots(plan.run_now) == ["a 12:02"]
        assert slots(plan.backlog) == ["a 12:03", "a 12:04"]
        assert slots(plan.enqueue) == ["a 12:04"]

    def test_a_new_slot_older_than_the_backlog_runs_first(self) -> None:
        plan = plan_at("12:04", due(task(catch_up="all"), "12:01"), stored=[waiting("a", "12:03")])
        assert slots(plan.run_now) == ["a 12:01"]
        assert slots(plan.backlog) == ["a 12:03"]
        assert (plan.enqueue, plan.dequeue) == ([], [])

    def test_with_catch_up_all_slots_on_time_run_at_once(self) -> None:
        plan = plan_at("12:00:40", due(task(catch_up="all"), "12:00", "12:00:20"))
        assert slots(plan.run_now) == ["a 12:00", "a 12:00:20"]
        assert (plan.backlog, plan.enqueue) == ([], [])

    def test_one_slot_that_is_late_makes_the_others_wait_for_time(self) -> None:
        plan = plan_at("12:00:40", due(task(catch_up="all"), "11:59:30", "12:00:20"))
        assert slots(plan.run_now) == ["a 11:59:30"]
        assert slots(plan.backlog) == ["a 12:00:20"]

    def test_with_catch_up_once_slots_on_time_are_no_backlog(self) -> None:
        plan = plan_at("12:10", due(task(), "12:05"))
        assert slots(plan.run_now) == ["a 12:05"]
        assert plan.backlog == []

    def test_a_newer_slot_supersedes_an_older_waiting_one(self) -> None:
        plan = plan_at("12:05", due(task(), "12:05"), stored=[waiting("a", "12:03")])
        assert slots(plan.run_now) == ["a 12:05"]
        assert skips(plan) == ["a 12:03 superseded 1"]
        assert skipped_runs(plan) == [waiting("a", "12:03")]
        assert (plan.enqueue, plan.dequeue) == ([], [])

    def test_of_several_waiting_slots_the_newest_supersedes_the_others(self) -> None:
        stored = [waiting("a", "12:02"), waiting("a", "12:04"), waiting("a", "12:03")]
        plan = plan_at("12:05", due(task()), stored=stored)
        assert slots(plan.run_now) == ["a 12:04"]
        assert skips(plan) == ["a 12:03 superseded 1", "a 12:02 superseded 1"]
        assert skipped_runs(plan) == [stored[2], stored[0]]
        assert (plan.enqueue, plan.dequeue) == ([], [])

    def test_new_slots_are_superseded_together_and_each_waiting_one_by_itself(self) -> None:
        stored = [waiting("a", "12:01"), waiting("a", "12:02")]
        plan = plan_at("12:05", due(task(), "12:03", "12:04", "12:05"), stored=stored)
        assert slots(plan.run_now) == ["a 12:05"]
        assert skips(plan) == [
            "a 12:04 superseded 2",
            "a 12:02 superseded 1",
            "a 12:01 superseded 1",
        ]
        assert [skip.waiting_run for skip in plan.skipped] == [None, stored[1], stored[0]]

    def test_a_newer_waiting_slot_supersedes_a_new_one(self) -> None:
        plan = plan_at("12:05", due(task(), "12:03"), stored=[waiting("a", "12:04")])
        assert slots(plan.run_now) == ["a 12:04"]
        assert skips(plan) == ["a 12:03 superseded 1"]
        assert (skipped_runs(plan), plan.enqueue, plan.dequeue) == ([], [], [])

    def test_the_newest_slot_inherits_the_place_of_the_superseded(self) -> None:
        plan = plan_at("12:05", due(task(), "12:05"), stored=[waiting("a", "12:03")])
        assert (plan.run_now[0].slot, plan.run_now[0].not_before) == (at("12:05"), at("12:03"))

    def test_a_place_in_the_order_is_inherited_again_and_again(self) -> None:
        stored = [waiting("a", "12:05", since="12:01")]
        plan = plan_at("12:06", due(task(), "12:06"), stored=stored)
        assert plan.run_now[0].not_before == at("12:01")

    def test_with_catch_up_all_no_slot_is_superseded(self) -> None:
        plan = plan_at(
            "12:05", due(task(catch_up="all"), "12:05"), stored=[waiting("a", "12:04:30")]
        )
        assert slots(plan.run_now) == ["a 12:04:30", "a 12:05"]
        assert skips(plan) == []

    def test_a_retry_is_not_superseded(self) -> None:
        retry = waiting("a", "12:03", Trigger.RETRY, attempt=2)
        plan = plan_at("12:05", due(task(), "12:05"), stored=[retry])
        assert slots(plan.run_now) == ["a 12:03", "a 12:05"]
        assert skips(plan) == []


class TestOverManyTicks:
    def test_a_backlog_goes_on_at_later_ticks_where_there_was_no_time(self) -> None:
        timeline = Timeline([task(catch_up="all")], spare=0)
        timeline.ticks("12:00", "12:00")
        assert timeline.tick(at("12:03")) == ["a 12:01"]
        timeline.spare = 10
        assert timeline.tick(at("12:04")) == ["a 12:02", "a 12:03", "a 12:04"]
        assert timeline.stored == []

    def test_one_slot_of_a_backlog_runs_at_every_tick_though_no_time_is_left(self) -> None:
        tasks = [
            task("plain"),
            task("important", catch_up="all", priority=100),
            task("unimportant", catch_up="all", priority=-1),
        ]
        timeline = Timeline(tasks, spare=0)
        timeline.ticks("12:00", "12:00")
        assert timeline.ticks("12:02", "12:04") == [
            *("important 12:01", "plain 12:02", "unimportant 12:01"),
            *("important 12:02", "plain 12:03", "unimportant 12:02"),
            *("important 12:03", "plain 12:04", "unimportant 12:03"),
        ]
        assert sorted(slots(timeline.stored)) == ["important 12:04", "unimportant 12:04"]

    def test_three_days_without_a_tick_make_one_run_and_two_records_of_skips(self) -> None:
        timeline = Timeline([task()])
        timeline.ticks("12:00", "12:00")
        assert timeline.tick(at("2026-06-18 12:00")) == ["a 2026-06-18 12:00"]
        assert timeline.skips() == [
            "a 2026-06-18 10:59 missed 4259",
            "a 2026-06-18 11:59 superseded 60",
        ]

    def test_a_clock_that_jumps_ahead_and_back_strands_nothing(self) -> None:
        timeline = Timeline([task()])
        timeline.ticks("12:00", "12:00")
        assert timeline.tick(at("2026-07-15 12:00")) == ["a 2026-07-15 12:00"]
        assert timeline.ticks("12:01", "12:02") == ["a 12:01", "a 12:02"]

    @pytest.mark.parametrize("step", [MINUTE, timedelta(minutes=3, seconds=20)])
    @pytest.mark.parametrize("executor", ["request", "thread"])
    @pytest.mark.parametrize("idle", [False, True])
    @pytest.mark.parametrize("policy", ["once", "all", "none"])
    @pytest.mark.parametrize("overlap", ["skip", "delay", "allow", "restart"])
    def test_every_slot_runs_waits_or_is_skipped_once(
        self, overlap: str, policy: str, idle: bool, executor: str, step: timedelta
    ) -> None:
        policies = task(
            overlap=overlap, catch_up=policy, idle=idle, executor=executor, grace=5 * MINUTE
        )
        timeline = Timeline([policies], duration=3 * MINUTE, spare=1, capacity=2)
        timeline.ticks("12:00", "12:20", step)
        assert timeline.last_tick is not None
        count = 1 + (timeline.last_tick - at("12:00")) // MINUTE
        assert len(timeline.runs) + len(timeline.stored) + timeline.skip_count() == count
        assert len(timeline.runs) > 1
