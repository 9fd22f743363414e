"""What a tick does: which runs begin, in what order, which wait, and what overlaps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from pyramid_cron.planning.catch_up import SkippedSlots
from pyramid_cron.planning.snapshot import Snapshot, WaitingRun
from pyramid_cron.planning.tick_plan import (
    DueTask,
    TickPlan,
    blocking_runs,
    median_duration,
    plan_tick,
    skipped_for_overlap,
)
from pyramid_cron.registry import TaskRegistry
from pyramid_cron.run import (
    BACKFILL_ORIGIN,
    PARALLEL_BACKFILL_ORIGIN,
    RunReason,
    RunState,
    Trigger,
    WaitReason,
)
from pyramid_cron.schedule import Every

from .builders import (
    BY_HAND,
    HOUR,
    MINUTE,
    Timeline,
    active,
    at,
    due,
    moments,
    on_record,
    pause,
    plan_at,
    skipped_runs,
    skips,
    slots,
    snapshot,
    task,
    waiting,
)

NOTHING = TickPlan()

WAITED = [Trigger.RETRY, Trigger.DEFERRED, Trigger.MANUAL]
"""Triggers of waiting runs that are no slots of a schedule."""


class TestOrder:
    def test_a_slot_on_time_runs_and_nothing_else_is_done(self) -> None:
        plan = plan_at("12:00", due(task(), "12:00"))
        slot = WaitingRun("a", at("12:00"), Trigger.SCHEDULE, at("12:00"))
        assert plan == TickPlan(run_now=[slot])

    def test_nothing_due_is_nothing_done(self) -> None:
        assert plan_at("12:00") == NOTHING

    def test_a_task_without_slots_is_left_alone(self) -> None:
        assert plan_at("12:00", due(task())) == NOTHING

    def test_tasks_of_one_moment_run_as_they_were_registered(self) -> None:
        tasks = [
            due(task("c"), "12:00", position=2),
            due(task("a"), "12:00", position=0),
            due(task("b"), "12:00", position=1),
        ]
        assert slots(plan_at("12:00", *tasks).run_now) == ["a 12:00", "b 12:00", "c 12:00"]

    def test_a_higher_priority_runs_first(self) -> None:
        tasks = [
            due(task("low", priority=-1), "12:00", position=0),
            due(task("plain"), "12:00", position=1),
            due(task("high", priority=5), "12:00", position=2),
        ]
        assert slots(plan_at("12:00", *tasks).run_now) == ["high 12:00", "plain 12:00", "low 12:00"]

    def test_an_older_slot_runs_before_a_newer_one_of_the_same_priority(self) -> None:
        tasks = [
            due(task("a"), "12:05", position=0),
            due(task("b"), "12:03", position=1),
        ]
        assert slots(plan_at("12:05", *tasks).run_now) == ["b 12:03", "a 12:05"]

    def test_priority_counts_for_more_than_age(self) -> None:
        tasks = [
            due(task("old"), "11:30", position=0),
            due(task("high", priority=1), "12:00", position=1),
        ]
        assert slots(plan_at("12:00", *tasks).run_now) == ["high 12:00", "old 11:30"]

    def test_a_slot_that_supersedes_an_older_one_has_its_place(self) -> None:
        tasks = [due(task("b"), "12:03", position=0), due(task("a"), "12:05", position=1)]
        plan = plan_at("12:05", *tasks, stored=[waiting("a", "12:01")])
        assert slots(plan.run_now) == ["a 12:05", "b 12:03"]

    def test_a_retry_has_the_place_of_its_slot_and_not_of_when_it_may_run(self) -> None:
        retry = waiting("a", "12:00", Trigger.RETRY, since="12:04", attempt=2)
        tasks = [due(task("b"), "12:03", position=0), due(task("a"), position=1)]
        assert slots(plan_at("12:05", *tasks, stored=[retry]).run_now) == ["a 12:00", "b 12:03"]

    def test_backlogs_are_in_order_too(self) -> None:
        tasks = [
            due(task("a", catch_up="all"), "12:01", "12:03", position=0),
            due(task("b", catch_up="all"), "12:01", "12:02", position=1),
            due(task("c", catch_up="all", priority=1), "12:01", "12:04", position=2),
        ]
        assert slots(plan_at("12:05", *tasks).backlog) == ["c 12:04", "b 12:02", "a 12:03"]

    def test_idle_tasks_are_in_order_too(self) -> None:
        tasks = [
            due(task("a", idle=True), "12:05", position=0),
            due(task("b", idle=True), "12:04", position=1),
            due(task("c", idle=True, priority=1), "12:05", position=2),
        ]
        assert slots(plan_at("12:05", *tasks).idle) == ["c 12:05", "b 12:04", "a 12:05"]

    def test_restarts_are_in_order_too(self) -> None:
        tasks = [
            due(task("a", overlap="restart"), "12:05", position=1),
            due(task("b", overlap="restart"), "12:05", position=0),
        ]
        plan = plan_at("12:05", *tasks, running=[active("a"), active("b")])
        assert slots(plan.restarts) == ["b 12:05", "a 12:05"]

    def test_a_waiting_run_counts_for_its_own_task_only(self) -> None:
        plan = plan_at("12:05", due(task("a"), "12:05"), stored=[waiting("b", "12:04")])
        assert slots(plan.run_now) == ["a 12:05"]
        assert (plan.dequeue, plan.skipped) == ([], [])

    def test_a_run_of_another_task_blocks_nothing(self) -> None:
        plan = plan_at("12:05", due(task("a"), "12:05"), running=[active("b")])
        assert slots(plan.run_now) == ["a 12:05"]


class TestWaiting:
    def test_a_waiting_slot_runs_as_the_run_that_it_is_on_record(self) -> None:
        stored = [waiting("a", "12:04")]
        plan = plan_at("12:05", due(task()), stored=stored)
        assert plan == TickPlan(run_now=stored)
        assert plan.run_now[0].id == stored[0].id

    @pytest.mark.parametrize("trigger", WAITED)
    def test_a_requested_run_runs_with_what_it_has_on_record(self, trigger: Trigger) -> None:
        request = waiting("a", "12:04", trigger, origin=BY_HAND, payload="x")
        stored = [replace(request, key="order 7")]
        plan = plan_at("12:05", due(task()), stored=stored)
        assert plan == TickPlan(run_now=stored)
        [run] = plan.run_now
        assert (run.id, run.payload, run.key) == (request.id, "x", "order 7")

    def test_a_new_slot_has_no_id_yet(self) -> None:
        assert plan_at("12:05", due(task(), "12:05")).run_now[0].id is None

    @pytest.mark.parametrize("trigger", WAITED)
    def test_a_requested_run_runs_however_old_it_is(self, trigger: Trigger) -> None:
        stored = [waiting("a", "2026-06-01 12:00", trigger)]
        assert plan_at("12:05", due(task(catch_up="none")), stored=stored).run_now == stored

    def test_a_requested_run_runs_beside_a_slot_of_the_schedule(self) -> None:
        stored = [waiting("a", "12:04", Trigger.DEFERRED, origin=BY_HAND)]
        plan = plan_at("12:05", due(task(), "12:05"), stored=stored)
        assert slots(plan.run_now) == ["a 12:04", "a 12:05"]
        assert skips(plan) == []

    @pytest.mark.parametrize("trigger", [*WAITED, Trigger.BACKFILL])
    @pytest.mark.parametrize("overlap", ["skip", "delay", "restart"])
    def test_a_requested_run_waits_while_another_is_active(
        self, trigger: Trigger, overlap: str
    ) -> None:
        stored = [waiting("a", "12:04", trigger, origin=BACKFILL_ORIGIN)]
        plan = plan_at("12:05", due(task(overlap=overlap)), stored=stored, running=[active()])
        assert plan == NOTHING

    @pytest.mark.parametrize("trigger", WAITED)
    def test_a_requested_run_waits_for_no_run_where_overlap_is_allowed(
        self, trigger: Trigger
    ) -> None:
        stored = [waiting("a", "12:04", trigger)]
        plan = plan_at("12:05", due(task(overlap="allow")), stored=stored, running=[active()])
        assert plan.run_now == stored

    def test_a_retry_waits_beside_a_slot_that_restarts_its_task(self) -> None:
        retry = waiting("a", "12:04", Trigger.RETRY, attempt=2)
        plan = plan_at(
            "12:05", due(task(overlap="restart"), "12:05"), stored=[retry], running=[active()]
        )
        assert slots(plan.restarts) == ["a 12:05"]
        assert (plan.run_now, plan.dequeue) == ([], [])


class TestDueAgain:
    """A slot that waits may be due again, where the clock was set back."""

    STORED = (waiting("a", "12:03"),)

    @pytest.mark.parametrize("policy", ["once", "all", "none"])
    def test_it_runs_as_the_run_that_waits(self, policy: str) -> None:
        plan = plan_at("12:03", due(task(catch_up=policy), "12:03"), stored=self.STORED)
        assert plan == TickPlan(run_now=list(self.STORED))
        assert plan.run_now[0].id == self.STORED[0].id

    @pytest.mark.parametrize("policy", ["once", "all"])
    def test_it_goes_on_waiting_for_time_or_room(self, policy: str) -> None:
        idle = due(task(idle=True, catch_up=policy), "12:03")
        assert plan_at("12:03", idle, stored=self.STORED) == TickPlan(idle=list(self.STORED))
        thread = due(task(executor="thread", catch_up=policy), "12:03")
        plan = plan_at("12:03", thread, stored=self.STORED)
        assert plan == TickPlan(over_capacity=list(self.STORED))

    @pytest.mark.parametrize("overlap", ["skip", "delay"])
    def test_it_goes_on_waiting_for_another_run(self, overlap: str) -> None:
        policy = due(task(overlap=overlap), "12:03")
        plan = plan_at("12:03", policy, stored=self.STORED, running=[active("a", "12:02")])
        assert plan == NOTHING

    def test_it_goes_on_waiting_while_its_task_is_paused(self) -> None:
        plan = plan_at("12:03", due(task(), "12:03"), stored=self.STORED, pauses=[pause()])
        assert plan == NOTHING

    def test_it_supersedes_older_ones_as_before(self) -> None:
        stored = [waiting("a", "12:01"), *self.STORED]
        plan = plan_at("12:03", due(task(), "12:02", "12:03"), stored=stored)
        assert plan.run_now == [waiting("a", "12:03", since="12:01")]
        assert skips(plan) == ["a 12:02 superseded 1", "a 12:01 superseded 1"]
        assert skipped_runs(plan) == stored[:1]

    def test_a_slot_whose_retry_waits_has_run_already(self) -> None:
        retry = waiting("a", "12:03", Trigger.RETRY, attempt=2)
        plan = plan_at("12:03:30", due(task(), "12:03"), stored=[retry])
        assert plan == TickPlan(run_now=[retry])

    def test_what_was_deferred_to_its_moment_is_another_run(self) -> None:
        stored = [waiting("a", "12:03", Trigger.DEFERRED, origin=BY_HAND)]
        plan = plan_at("12:03", due(task(), "12:03"), stored=stored)
        assert len(plan.run_now) == 2


class TestIdle:
    def test_an_idle_slot_is_put_on_record_and_runs_if_there_is_time(self) -> None:
        plan = plan_at("12:00", due(task(idle=True), "12:00"))
        assert slots(plan.idle) == slots(plan.enqueue) == ["a 12:00"]
        assert (plan.run_now, plan.dequeue) == ([], [])

    def test_an_idle_slot_that_waits_stays_on_record_until_it_runs(self) -> None:
        plan = plan_at("12:05", due(task(idle=True)), stored=[waiting("a", "12:00")])
        assert slots(plan.idle) == ["a 12:00"]
        assert (plan.enqueue, plan.dequeue) == ([], [])

    @pytest.mark.parametrize("trigger", [*WAITED, Trigger.BACKFILL])
    def test_a_requested_run_of_an_idle_task_is_idle_too(self, trigger: Trigger) -> None:
        stored = [waiting("a", "12:00", trigger, origin=BY_HAND)]
        plan = plan_at("12:05", due(task(idle=True)), stored=stored)
        assert plan.idle == stored
        assert (plan.run_now, plan.backlog, plan.dequeue) == ([], [], [])

    def test_a_newer_idle_slot_supersedes_one_that_waits_for_time(self) -> None:
        plan = plan_at("12:05", due(task(idle=True), "12:05"), stored=[waiting("a", "12:00")])
        assert slots(plan.idle) == slots(plan.enqueue) == ["a 12:05"]
        assert skips(plan) == ["a 12:00 superseded 1"]
        assert (skipped_runs(plan), plan.dequeue) == ([waiting("a", "12:00")], [])
        assert plan.enqueue[0].not_before == at("12:00")

    def test_all_slots_of_an_idle_task_wait_for_time_even_the_oldest(self) -> None:
        tasks = due(task(idle=True, catch_up="all"), "12:03", "12:04")
        plan = plan_at("12:05", tasks, stored=[waiting("a", "12:02")])
        assert slots(plan.idle) == ["a 12:02", "a 12:03", "a 12:04"]
        assert slots(plan.enqueue) == ["a 12:03", "a 12:04"]
        assert (plan.run_now, plan.backlog) == ([], [])

    def test_an_idle_slot_is_skipped_while_its_task_runs(self) -> None:
        plan = plan_at("12:05", due(task(idle=True), "12:05"), running=[active()])
        assert skips(plan) == ["a 12:05 overlap 1"]
        assert (plan.idle, plan.enqueue) == ([], [])

    def test_an_idle_task_has_one_slot_waiting_however_long_no_tick_has_time(self) -> None:
        timeline = Timeline([task(idle=True)], spare=0)
        assert timeline.ticks("12:00", "12:05") == []
        assert [(slot.slot, slot.not_before) for slot in timeline.stored] == [
            (at("12:05"), at("12:00"))
        ]
        timeline.spare = 1
        assert timeline.tick(at("12:06")) == ["a 12:06"]
        assert timeline.stored == []


class TestSkip:
    def test_a_slot_is_skipped_while_a_run_is_active_and_names_it(self) -> None:
        ongoing = active("a", "12:00", lease="12:02")
        plan = plan_at("12:01", due(task(), "12:01"), running=[ongoing])
        assert skips(plan) == ["a 12:01 overlap 1"]
        assert plan.skipped[0].detail == (
            f"still going on: run {ongoing.run.id} on web1 (pid 4711),"
            " lease until 2026-06-15T12:02:00+00:00"
        )
        assert (plan.run_now, plan.enqueue, plan.cancel_ids) == ([], [], [])

    def test_of_several_runs_the_last_is_named(self) -> None:
        running = [active("a", "11:58"), active("a", "11:59")]
        plan = plan_at("12:01", due(task(), "12:01"), running=running)
        detail = plan.skipped[0].detail
        assert detail is not None
        assert f"run {running[1].run.id} " in detail

    def test_several_slots_are_skipped_together(self) -> None:
        plan = plan_at(
            "12:03", due(task(catch_up="all"), "12:01", "12:02", "12:03"), running=[active()]
        )
        assert skips(plan) == ["a 12:03 overlap 3"]

    def test_a_claimed_run_blocks_a_slot_too(self) -> None:
        running = [active(state=RunState.CLAIMED)]
        assert skips(plan_at("12:01", due(task(), "12:01"), running=running)) == [
            "a 12:01 overlap 1"
        ]

    def test_a_waiting_slot_is_not_skipped_but_goes_on_waiting(self) -> None:
        plan = plan_at("12:01", due(task()), stored=[waiting("a", "11:59")], running=[active()])
        assert plan == NOTHING

    def test_a_slot_that_runs_already_is_neither_run_nor_skipped(self) -> None:
        plan = plan_at("12:00:30", due(task(), "12:00"), running=[active("a", "12:00")])
        assert plan == NOTHING

    def test_a_slot_that_runs_already_is_not_run_again_where_overlap_is_allowed(self) -> None:
        tasks = due(task(overlap="allow"), "12:00")
        assert plan_at("12:00:30", tasks, running=[active("a", "12:00")]) == NOTHING

    def test_the_task_runs_again_once_the_run_is_over(self) -> None:
        timeline = Timeline([task()], duration=150 * MINUTE / 60)
        assert timeline.ticks("12:00", "12:06") == ["a 12:00", "a 12:03", "a 12:06"]
        assert timeline.skips() == [f"a 12:0{minute} overlap 1" for minute in (1, 2, 4, 5)]


class TestFreshClaim:
    """A run that was claimed a moment ago begins now, or is released: a slot waits to know."""

    CLAIM = active("a", "12:00", RunState.CLAIMED)
    """A claim of 12:00 sharp."""

    def test_a_slot_waits_while_the_run_that_blocks_it_is_about_to_begin(self) -> None:
        plan = plan_at("12:00:01", due(task(), "12:00:01"), running=[self.CLAIM])
        assert slots(plan.enqueue) == ["a 12:00:01"]
        assert plan == TickPlan(enqueue=plan.enqueue)

    def test_it_is_skipped_two_seconds_after_the_claim(self) -> None:
        plan = plan_at("12:00:02", due(task(), "12:00:02"), running=[self.CLAIM])
        assert skips(plan) == ["a 12:00:02 overlap 1"]
        assert plan.enqueue == []

    def test_it_is_skipped_beside_a_run_that_has_begun(self) -> None:
        plan = plan_at("12:00:01", due(task(), "12:00:01"), running=[active("a", "12:00")])
        assert skips(plan) == ["a 12:00:01 overlap 1"]
        running = [active("a", "11:59"), self.CLAIM]
        plan = plan_at("12:00:01", due(task(), "12:00:01"), running=running)
        assert skips(plan) == ["a 12:00:01 overlap 1"]

    def test_a_slot_that_waited_is_skipped_itself_once_that_run_goes_on(self) -> None:
        stored = [replace(waiting("a", "12:00:01"), why=WaitReason.OVERLAP)]
        plan = plan_at("12:01", due(task()), stored=stored, running=[active("a", "12:00")])
        assert skips(plan) == ["a 12:00:01 overlap 1"]
        assert skipped_runs(plan) == stored
        assert plan.skipped[0].detail == f"still going on: {active('a', '12:00')}"
        assert plan == TickPlan(skipped=plan.skipped)

    def test_it_goes_on_waiting_while_that_run_is_about_to_begin(self) -> None:
        stored = [replace(waiting("a", "12:00:00.500"), why=WaitReason.OVERLAP)]
        plan = plan_at("12:00:01", due(task()), stored=stored, running=[self.CLAIM])
        assert plan == NOTHING

    def test_it_runs_once_that_run_is_over(self) -> None:
        stored = [replace(waiting("a", "12:00:01"), why=WaitReason.OVERLAP)]
        assert plan_at("12:01", due(task()), stored=stored) == TickPlan(run_now=stored)

    @pytest.mark.parametrize("why", [WaitReason.TIME, WaitReason.ROOM, WaitReason.LATER])
    def test_a_slot_that_waits_for_something_else_is_not_skipped(self, why: WaitReason) -> None:
        stored = [replace(waiting("a", "11:59"), why=why)]
        plan = plan_at("12:01", due(task()), stored=stored, running=[active("a", "12:00")])
        assert plan == NOTHING

    def test_a_slot_that_waits_for_a_backfill_goes_on_waiting(self) -> None:
        stored = [replace(waiting("a", "11:59"), why=WaitReason.OVERLAP)]
        running = [active("a", "10:00", origin=BACKFILL_ORIGIN)]
        assert plan_at("12:01", due(task()), stored=stored, running=running) == NOTHING

    def test_a_restart_does_not_wait_for_it(self) -> None:
        policy = due(task(overlap="restart"), "12:00:01")
        plan = plan_at("12:00:01", policy, running=[self.CLAIM])
        assert (slots(plan.restarts), plan.cancel_ids) == (["a 12:00:01"], [self.CLAIM.run.id])


class TestDelay:
    def test_a_slot_waits_while_a_run_is_active(self) -> None:
        plan = plan_at("12:01", due(task(overlap="delay"), "12:01"), running=[active()])
        assert slots(plan.enqueue) == ["a 12:01"]
        assert (plan.run_now, plan.skipped, plan.cancel_ids) == ([], [], [])

    def test_a_newer_slot_supersedes_a_waiting_one(self) -> None:
        plan = plan_at(
            "12:02",
            due(task(overlap="delay"), "12:02"),
            stored=[waiting("a", "12:01")],
            running=[active()],
        )
        assert slots(plan.enqueue) == ["a 12:02"]
        assert plan.enqueue[0].not_before == at("12:01")
        assert skips(plan) == ["a 12:01 superseded 1"]
        assert (skipped_runs(plan), plan.dequeue) == ([waiting("a", "12:01")], [])

    def test_with_catch_up_all_every_slot_waits(self) -> None:
        plan = plan_at(
            "12:02",
            due(task(overlap="delay", catch_up="all"), "12:02"),
            stored=[waiting("a", "12:01")],
            running=[active()],
        )
        assert slots(plan.enqueue) == ["a 12:02"]
        assert (plan.dequeue, plan.skipped) == ([], [])

    def test_it_runs_once_after_the_active_run(self) -> None:
        timeline = Timeline([task(overlap="delay")], duration=150 * MINUTE / 60)
        assert timeline.ticks("12:00", "12:06") == ["a 12:00", "a 12:03", "a 12:06"]
        assert timeline.skips() == [f"a 12:0{minute} superseded 1" for minute in (1, 2, 4, 5)]
        assert timeline.stored == []


class TestAllow:
    def test_a_slot_runs_beside_another(self) -> None:
        plan = plan_at("12:01", due(task(overlap="allow"), "12:01"), running=[active()])
        assert slots(plan.run_now) == ["a 12:01"]
        assert plan.skipped == []

    def test_a_waiting_slot_runs_beside_another(self) -> None:
        plan = plan_at(
            "12:02",
            due(task(overlap="allow")),
            stored=[waiting("a", "12:01")],
            running=[active()],
        )
        assert plan == TickPlan(run_now=[waiting("a", "12:01")])


class TestRestart:
    def test_the_active_run_is_cancelled_and_the_slot_waits_for_its_end(self) -> None:
        ongoing = active()
        plan = plan_at("12:01", due(task(overlap="restart"), "12:01"), running=[ongoing])
        assert slots(plan.restarts) == slots(plan.enqueue) == ["a 12:01"]
        assert plan.cancel_ids == [ongoing.run.id]
        assert (plan.run_now, plan.skipped, plan.idle_restart_ids) == ([], [], {})

    def test_all_runs_of_the_task_are_cancelled(self) -> None:
        running = [active("a", "11:58"), active("a", "11:59"), active("b", "11:59")]
        plan = plan_at("12:01", due(task(overlap="restart"), "12:01"), running=running)
        assert plan.cancel_ids == [running[0].run.id, running[1].run.id]

    def test_without_a_run_it_is_a_slot_as_any_other(self) -> None:
        plan = plan_at("12:01", due(task(overlap="restart"), "12:01"))
        assert slots(plan.run_now) == ["a 12:01"]
        assert (plan.restarts, plan.enqueue) == ([], [])

    def test_a_slot_whose_turn_did_not_come_restarts_the_task_at_the_next_tick(self) -> None:
        ongoing = active()
        plan = plan_at(
            "12:02",
            due(task(overlap="restart")),
            stored=[waiting("a", "12:01")],
            running=[ongoing],
        )
        assert slots(plan.restarts) == ["a 12:01"]
        assert plan.cancel_ids == [ongoing.run.id]
        assert (plan.enqueue, plan.dequeue) == ([], [])

    def test_a_newer_slot_supersedes_one_whose_turn_did_not_come(self) -> None:
        plan = plan_at(
            "12:02",
            due(task(overlap="restart"), "12:02"),
            stored=[waiting("a", "12:01")],
            running=[active()],
        )
        assert slots(plan.restarts) == slots(plan.enqueue) == ["a 12:02"]
        assert skips(plan) == ["a 12:01 superseded 1"]
        assert (skipped_runs(plan), plan.dequeue) == ([waiting("a", "12:01")], [])

    def test_a_task_with_nothing_due_cancels_nothing(self) -> None:
        retry = waiting("a", "12:01", Trigger.RETRY, attempt=2)
        plan = plan_at("12:02", due(task(overlap="restart")), stored=[retry], running=[active()])
        assert plan == NOTHING

    def test_the_slot_that_runs_is_not_restarted_by_itself(self) -> None:
        tasks = due(task(overlap="restart"), "12:00")
        assert plan_at("12:00:30", tasks, running=[active("a", "12:00")]) == NOTHING

    def test_the_slots_of_a_backlog_do_not_cancel_one_another(self) -> None:
        stored = [waiting("a", "12:01"), waiting("a", "12:02")]
        plan = plan_at(
            "12:03",
            due(task(overlap="restart", catch_up="all")),
            stored=stored,
            running=[active()],
        )
        assert plan == NOTHING

    def test_a_slot_of_a_backlog_whose_turn_did_not_come_goes_on_waiting(self) -> None:
        tasks = due(task(overlap="restart", catch_up="all"), "12:01")
        [slot] = plan_at("12:01", tasks, running=[active()]).restarts
        stored = [on_record(slot)]
        assert stored[0].why is WaitReason.OVERLAP
        tasks = due(task(overlap="restart", catch_up="all"))
        assert plan_at("12:02", tasks, stored=stored, running=[active()]) == NOTHING

    def test_a_new_slot_restarts_a_task_with_a_backlog(self) -> None:
        ongoing = active()
        plan = plan_at(
            "12:03",
            due(task(overlap="restart", catch_up="all"), "12:03"),
            stored=[waiting("a", "12:02")],
            running=[ongoing],
        )
        assert plan.cancel_ids == [ongoing.run.id]
        assert slots(plan.restarts) == ["a 12:02", "a 12:03"]
        assert slots(plan.enqueue) == ["a 12:03"]

    def test_an_idle_slot_cancels_only_if_there_is_time_for_it(self) -> None:
        ongoing = active()
        plan = plan_at("12:01", due(task(overlap="restart", idle=True), "12:01"), running=[ongoing])
        assert slots(plan.idle) == slots(plan.enqueue) == ["a 12:01"]
        assert plan.idle_restart_ids == {"a": [ongoing.run.id]}
        assert (plan.restarts, plan.cancel_ids) == ([], [])

    def test_a_waiting_idle_slot_cancels_only_if_there_is_time_for_it(self) -> None:
        plan = plan_at(
            "12:02",
            due(task(overlap="restart", idle=True)),
            stored=[waiting("a", "12:01")],
            running=[active()],
        )
        assert slots(plan.idle) == ["a 12:01"]
        assert list(plan.idle_restart_ids) == ["a"]
        assert plan.enqueue == []

    def test_an_idle_slot_outside_the_request_takes_none_of_its_time(self) -> None:
        ongoing = active()
        tasks = due(task(overlap="restart", idle=True, executor="thread"), "12:01")
        plan = plan_at("12:01", tasks, running=[ongoing], capacity=8)
        assert slots(plan.restarts) == ["a 12:01"]
        assert plan.cancel_ids == [ongoing.run.id]
        assert (plan.idle, plan.idle_restart_ids) == ([], {})

    def test_each_slot_ends_the_run_before_it(self) -> None:
        timeline = Timeline([task(overlap="restart")], duration=HOUR)
        assert timeline.ticks("12:00", "12:02") == ["a 12:00", "a 12:01", "a 12:02"]
        assert [len(plan.cancel_ids) for plan in timeline.plans] == [0, 1, 1]


class TestSuperseded:
    """A waiting run that supersedes older ones has their place in the order from then on."""

    TWO = (waiting("a", "12:01"), waiting("a", "12:03"))

    def assert_takes_the_earlier_place(self, plan: TickPlan) -> None:
        [heir] = plan.enqueue
        assert heir == waiting("a", "12:03", since="12:01")
        assert (heir.id, heir.not_before) == (self.TWO[1].id, at("12:01"))
        assert skips(plan) == ["a 12:01 superseded 1"]
        assert (skipped_runs(plan), plan.dequeue) == ([self.TWO[0]], [])

    @pytest.mark.parametrize("overlap", ["skip", "delay", "restart"])
    def test_it_takes_it_while_a_run_blocks_it(self, overlap: str) -> None:
        tasks = due(task(overlap=overlap))
        self.assert_takes_the_earlier_place(
            plan_at("12:04", tasks, stored=self.TWO, running=[active("a", "11:59")])
        )

    def test_it_takes_it_while_an_idle_task_waits_for_time(self) -> None:
        plan = plan_at("12:04", due(task(idle=True)), stored=self.TWO)
        self.assert_takes_the_earlier_place(plan)
        assert plan.idle == plan.enqueue

    @pytest.mark.parametrize("idle", [False, True])
    def test_it_takes_it_while_there_is_no_room(self, idle: bool) -> None:
        policy = task(executor="thread", idle=idle)
        plan = plan_at("12:04", due(policy), stored=self.TWO, capacity=0)
        self.assert_takes_the_earlier_place(plan)
        assert plan.over_capacity == plan.enqueue

    def test_it_takes_it_where_an_older_slot_is_due_after_the_clock_was_set_back(self) -> None:
        plan = plan_at(
            "12:04",
            due(task(overlap="delay"), "12:02"),
            stored=[waiting("a", "12:03")],
            running=[active("a", "11:59")],
        )
        assert plan.enqueue == [waiting("a", "12:03", since="12:02")]
        assert plan.enqueue[0].id == waiting("a", "12:03").id
        assert skips(plan) == ["a 12:02 superseded 1"]
        assert (skipped_runs(plan), plan.dequeue) == ([], [])

    def test_it_does_not_wait_any_more_once_it_runs(self) -> None:
        plan = plan_at("12:04", due(task()), stored=self.TWO)
        assert plan.run_now == [waiting("a", "12:03", since="12:01")]
        assert plan.run_now[0].id == self.TWO[1].id
        assert skipped_runs(plan) == [self.TWO[0]]
        assert (plan.enqueue, plan.dequeue) == ([], [])

    @pytest.mark.parametrize("idle", [False, True])
    def test_it_does_not_wait_any_more_once_it_runs_outside_the_request(self, idle: bool) -> None:
        policy = task(executor="thread", idle=idle)
        plan = plan_at("12:04", due(policy), stored=self.TWO, capacity=1)
        assert plan.background == [waiting("a", "12:03", since="12:01")]
        assert skipped_runs(plan) == [self.TWO[0]]
        assert (plan.enqueue, plan.dequeue) == ([], [])

    def test_one_that_has_the_place_already_does_not_take_it_again(self) -> None:
        stored = [waiting("a", "12:03", since="12:01")]
        tasks = due(task(overlap="delay"), "12:02")
        plan = plan_at("12:04", tasks, stored=stored, running=[active("a", "11:59")])
        assert (plan.enqueue, plan.dequeue) == ([], [])

    def test_its_place_is_the_same_at_the_ticks_that_follow(self) -> None:
        timeline = Timeline([task(idle=True), task("b", idle=True)], spare=0)
        timeline.stored = [*self.TWO, waiting("b", "12:02")]
        timeline.tick(at("12:03"))
        timeline.spare = 1
        timeline.last_tick = at("12:05")
        assert timeline.tick(at("12:05:30")) == ["a 12:03"]


class TestBackfill:
    def test_backfill_slots_run_while_there_is_time(self) -> None:
        stored = [waiting("a", "10:00", Trigger.BACKFILL, origin=BACKFILL_ORIGIN)]
        plan = plan_at("12:00", due(task()), stored=stored)
        assert plan.backlog == stored
        assert (plan.run_now, plan.enqueue, plan.dequeue) == ([], [], [])

    def test_old_backfill_slots_are_not_missed(self) -> None:
        stored = [waiting("a", "2026-01-01 10:00", Trigger.BACKFILL, origin=BACKFILL_ORIGIN)]
        plan = plan_at("12:00", due(task(catch_up="none")), stored=stored)
        assert slots(plan.backlog) == ["a 2026-01-01 10:00"]

    def test_backfill_slots_run_in_order(self) -> None:
        stored = [
            waiting("a", f"1{hour}:00", Trigger.BACKFILL, origin=BACKFILL_ORIGIN) for hour in (1, 0)
        ]
        plan = plan_at("12:00", due(task(), "12:00"), stored=stored)
        assert slots(plan.run_now) == ["a 12:00"]
        assert slots(plan.backlog) == ["a 10:00", "a 11:00"]

    @pytest.mark.parametrize("origin", [BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN])
    @pytest.mark.parametrize("policy", ["once", "all", "none"])
    def test_a_backfill_slot_is_not_run_by_the_schedule_too(self, origin: str, policy: str) -> None:
        stored = [waiting("a", "12:00", Trigger.BACKFILL, origin=origin)]
        plan = plan_at("12:00", due(task(catch_up=policy), "12:00"), stored=stored)
        assert slots(plan.backlog) == ["a 12:00"]
        assert (plan.run_now, plan.skipped) == ([], [])

    def test_a_requested_slot_does_not_replace_one_of_the_schedule(self) -> None:
        stored = [waiting("a", "12:00", Trigger.DEFERRED, origin=BY_HAND)]
        assert slots(plan_at("12:00", due(task(), "12:00"), stored=stored).run_now) == [
            "a 12:00",
            "a 12:00",
        ]

    def test_only_slots_outside_the_backfill_run_by_the_schedule(self) -> None:
        stored = [waiting("a", "12:01", Trigger.BACKFILL, origin=BACKFILL_ORIGIN)]
        plan = plan_at("12:02", due(task(), "12:01", "12:02"), stored=stored)
        assert slots(plan.run_now) == ["a 12:02"]
        assert plan.skipped == []

    @pytest.mark.parametrize("overlap", ["skip", "delay", "restart"])
    def test_a_slot_of_the_schedule_waits_while_a_backfill_runs(self, overlap: str) -> None:
        running = [active("a", "10:00", origin=BACKFILL_ORIGIN)]
        plan = plan_at("12:00", due(task(overlap=overlap), "12:00"), running=running)
        assert slots(plan.enqueue) == ["a 12:00"]
        assert (plan.run_now, plan.skipped, plan.cancel_ids, plan.restarts) == ([], [], [], [])

    def test_a_slot_of_the_schedule_is_skipped_while_one_of_the_schedule_runs_as_well(self) -> None:
        running = [active("a", "10:00", origin=BACKFILL_ORIGIN), active("a", "11:59")]
        plan = plan_at("12:00", due(task(), "12:00"), running=running)
        assert skips(plan) == ["a 12:00 overlap 1"]
        assert plan.enqueue == []

    def test_backfill_slots_wait_for_one_another(self) -> None:
        stored = [waiting("a", "11:00", Trigger.BACKFILL, origin=BACKFILL_ORIGIN)]
        running = [active("a", "10:00", origin=BACKFILL_ORIGIN)]
        assert plan_at("12:00", due(task()), stored=stored, running=running) == NOTHING

    def test_a_slot_of_the_schedule_runs_beside_a_parallel_backfill(self) -> None:
        running = [active("a", "10:00", origin=PARALLEL_BACKFILL_ORIGIN)]
        for overlap in ("skip", "delay", "restart"):
            plan = plan_at("12:00", due(task(overlap=overlap), "12:00"), running=running)
            assert slots(plan.run_now) == ["a 12:00"]
            assert plan.cancel_ids == []

    def test_a_parallel_backfill_runs_beside_any_other_run(self) -> None:
        stored = [
            waiting("a", "10:00", Trigger.BACKFILL, origin=PARALLEL_BACKFILL_ORIGIN),
            waiting("a", "10:30", Trigger.BACKFILL, origin=BACKFILL_ORIGIN),
        ]
        plan = plan_at("12:00", due(task()), stored=stored, running=[active("a", "11:59")])
        assert slots(plan.backlog) == ["a 10:00"]
        assert plan.dequeue == []

    def test_a_retry_of_a_parallel_backfill_runs_at_once(self) -> None:
        retry = waiting("a", "10:00", Trigger.RETRY, attempt=2, origin=PARALLEL_BACKFILL_ORIGIN)
        plan = plan_at("12:00", due(task()), stored=[retry], running=[active("a", "11:59")])
        assert plan == TickPlan(run_now=[retry])

    def test_a_restart_does_not_cancel_a_parallel_backfill(self) -> None:
        running = [active("a", "10:00", origin=PARALLEL_BACKFILL_ORIGIN), active("a", "11:59")]
        plan = plan_at("12:00", due(task(overlap="restart"), "12:00"), running=running)
        assert plan.cancel_ids == [running[1].run.id]


class TestBackground:
    def test_a_run_outside_the_request_begins_where_there_is_room(self) -> None:
        plan = plan_at("12:00", due(task(executor="thread"), "12:00"), capacity=1)
        assert slots(plan.background) == ["a 12:00"]
        assert (plan.run_now, plan.over_capacity, plan.enqueue) == ([], [], [])

    def test_it_waits_on_record_where_there_is_none(self) -> None:
        plan = plan_at("12:00", due(task(executor="thread"), "12:00"), capacity=0)
        assert slots(plan.over_capacity) == slots(plan.enqueue) == ["a 12:00"]
        assert (plan.run_now, plan.background, plan.dequeue) == ([], [], [])

    def test_there_is_no_room_without_capacity(self) -> None:
        plan = plan_tick([due(task(executor="thread"), "12:00")], Snapshot(), at("12:00"))
        assert slots(plan.over_capacity) == ["a 12:00"]

    def test_active_runs_of_every_host_take_room(self) -> None:
        tasks = due(task(executor="thread"), "12:00")
        running = [active("b", weight=2), active("c", weight=1)]
        assert slots(plan_at("12:00", tasks, running=running, capacity=3).over_capacity) == [
            "a 12:00"
        ]
        assert slots(plan_at("12:00", tasks, running=running, capacity=4).background) == ["a 12:00"]

    def test_a_run_in_the_request_needs_no_room(self) -> None:
        tasks = [
            due(task("a", executor="thread"), "12:00"),
            due(task("b"), "12:00", position=1),
        ]
        plan = plan_at("12:00", *tasks, capacity=0)
        assert slots(plan.run_now) == ["b 12:00"]
        assert slots(plan.over_capacity) == ["a 12:00"]

    def test_a_heavy_task_waits_and_no_other_overtakes_it(self) -> None:
        tasks = [
            due(task("a", executor="thread"), "12:00", position=0),
            due(task("heavy", executor="thread", weight=3), "12:00", position=1),
            due(task("light", executor="thread"), "12:00", position=2),
        ]
        plan = plan_at("12:00", *tasks, capacity=3)
        assert slots(plan.background) == ["a 12:00"]
        assert slots(plan.over_capacity) == slots(plan.enqueue) == ["heavy 12:00", "light 12:00"]

    def test_the_order_is_by_priority_then_age_then_registration(self) -> None:
        tasks = [
            due(task("new", executor="thread"), "12:00", position=0),
            due(task("old", executor="thread"), "11:59", position=2),
            due(task("other", executor="thread"), "12:00", position=1),
            due(task("high", executor="queue", priority=1), "12:00", position=3),
        ]
        plan = plan_at("12:00", *tasks, capacity=8)
        assert slots(plan.background) == ["high 12:00", "old 11:59", "new 12:00", "other 12:00"]

    def test_idle_runs_and_backfills_begin_last_whatever_their_priority(self) -> None:
        stored = [waiting("filled", "10:00", Trigger.BACKFILL, origin=BACKFILL_ORIGIN)]
        tasks = [
            due(task("idle", executor="thread", idle=True, priority=9), "12:00", position=0),
            due(task("filled", executor="thread", priority=5), position=1),
            due(task("plain", executor="thread", priority=-9), "12:00", position=2),
        ]
        plan = plan_at("12:00", *tasks, stored=stored, capacity=8)
        assert slots(plan.background) == ["plain 12:00", "idle 12:00", "filled 10:00"]
        assert (plan.idle, plan.backlog) == ([], [])

    def test_an_idle_run_that_begins_is_not_enqueued(self) -> None:
        tasks = due(task(executor="thread", idle=True), "12:00")
        assert plan_at("12:00", tasks, capacity=1).enqueue == []

    def test_an_idle_run_in_the_request_stays_on_record(self) -> None:
        tasks = [
            due(task("a", idle=True), "12:00", position=0),
            due(task("b", executor="thread"), "12:00", position=1),
        ]
        plan = plan_at("12:00", *tasks, capacity=1)
        assert slots(plan.idle) == slots(plan.enqueue) == ["a 12:00"]

    def test_a_backlog_begins_one_slot_at_a_time(self) -> None:
        tasks = due(task(executor="thread", catch_up="all"), "11:58", "11:59", "12:00")
        plan = plan_at("12:00", tasks, capacity=8)
        assert slots(plan.background) == ["a 11:58"]
        assert slots(plan.over_capacity) == slots(plan.enqueue) == ["a 11:59", "a 12:00"]
        assert plan.backlog == []

    def test_a_backlog_begins_at_once_where_overlap_is_allowed(self) -> None:
        tasks = due(task(executor="thread", catch_up="all", overlap="allow"), "11:59", "12:00")
        plan = plan_at("12:00", tasks, capacity=8)
        assert slots(plan.background) == ["a 11:59", "a 12:00"]
        assert plan.enqueue == []

    def test_a_waiting_run_stays_on_record_until_there_is_room(self) -> None:
        plan = plan_at("12:01", due(task(executor="thread")), stored=[waiting("a", "12:00")])
        assert plan == TickPlan(over_capacity=[waiting("a", "12:00")])

    def test_a_waiting_run_begins_as_the_run_that_it_is_on_record(self) -> None:
        stored = [waiting("a", "12:00")]
        plan = plan_at("12:01", due(task(executor="thread")), stored=stored, capacity=1)
        assert plan == TickPlan(background=stored)
        assert plan.background[0].id == stored[0].id

    def test_what_runs_in_the_request_or_waits_for_another_run_needs_no_room(self) -> None:
        tasks = [
            due(task("a"), position=0),
            due(task("b", overlap="delay"), "12:01", position=1),
            due(task("c", executor="thread"), "12:01", position=2),
        ]
        plan = plan_at(
            "12:01", *tasks, stored=[waiting("a", "12:00")], running=[active("b")], capacity=1
        )
        assert (slots(plan.run_now), slots(plan.background)) == (["a 12:00"], ["c 12:01"])
        assert slots(plan.enqueue) == ["b 12:01"]
        assert plan.dequeue == []

    def test_a_run_that_waited_longer_than_its_grace_is_skipped(self) -> None:
        stored = [waiting("a", "12:00")]
        plan = plan_at("13:00:01", due(task(executor="thread")), stored=stored, capacity=1)
        assert skips(plan) == ["a 12:00 capacity 1"]
        assert skipped_runs(plan) == stored
        assert plan == TickPlan(skipped=plan.skipped)

    def test_a_run_that_waited_for_just_its_grace_begins(self) -> None:
        stored = [waiting("a", "12:00")]
        plan = plan_at("13:00", due(task(executor="thread")), stored=stored, capacity=1)
        assert slots(plan.background) == ["a 12:00"]

    def test_an_idle_slot_that_waited_too_long_is_not_enqueued_again(self) -> None:
        tasks = due(task(executor="thread", idle=True, grace=HOUR), "13:30")
        stored = [waiting("a", "12:00", since="11:00")]
        plan = plan_at("13:30", tasks, stored=stored)
        assert slots(plan.over_capacity) == slots(plan.enqueue) == ["a 13:30"]
        assert skips(plan) == ["a 12:00 superseded 1"]
        assert (skipped_runs(plan), plan.dequeue) == ([waiting("a", "12:00", since="11:00")], [])

    def test_a_slot_is_skipped_while_a_background_run_is_active(self) -> None:
        tasks = due(task(executor="thread"), "12:01")
        plan = plan_at("12:01", tasks, running=[active(weight=1)], capacity=8)
        assert skips(plan) == ["a 12:01 overlap 1"]
        assert (plan.background, plan.over_capacity) == ([], [])

    def test_a_retry_takes_its_turn_in_the_background_too(self) -> None:
        retry = waiting("a", "11:00", Trigger.RETRY, attempt=2)
        plan = plan_at("12:01", due(task(executor="thread")), stored=[retry], capacity=1)
        assert plan == TickPlan(background=[retry])

    def test_freed_room_goes_to_the_slots_that_waited_longest(self) -> None:
        tasks = [task("a", executor="thread"), task("b", executor="thread")]
        timeline = Timeline(tasks, duration=90 * MINUTE / 60, capacity=1)
        assert timeline.ticks("12:00", "12:06") == ["a 12:00", "b 12:02", "a 12:04", "b 12:06"]


class TestWhyARunWaits:
    """What is put on record as waiting says why."""

    def reasons(self, plan: TickPlan) -> list[WaitReason]:
        assert all(run.id is None for run in plan.enqueue)
        return [run.why for run in plan.enqueue]

    def test_another_run_is_active(self) -> None:
        plan = plan_at("12:01", due(task(overlap="delay"), "12:01"), running=[active()])
        assert self.reasons(plan) == [WaitReason.OVERLAP]

    def test_a_backfill_is_active(self) -> None:
        running = [active("a", "10:00", origin=BACKFILL_ORIGIN)]
        plan = plan_at("12:01", due(task(), "12:01"), running=running)
        assert self.reasons(plan) == [WaitReason.OVERLAP]

    @pytest.mark.parametrize("idle", [False, True])
    def test_the_run_that_it_restarts_has_not_stopped(self, idle: bool) -> None:
        policy = task(overlap="restart", idle=idle)
        plan = plan_at("12:01", due(policy, "12:01"), running=[active()])
        assert self.reasons(plan) == [WaitReason.OVERLAP]
        assert [run.why for run in (*plan.restarts, *plan.idle)] == [WaitReason.OVERLAP]

    def test_an_idle_task_has_no_time(self) -> None:
        plan = plan_at("12:00", due(task(idle=True), "12:00"))
        assert self.reasons(plan) == [WaitReason.TIME]

    def test_a_backlog_has_no_time(self) -> None:
        plan = plan_at("12:03", due(task(catch_up="all"), "12:01", "12:02", "12:03"))
        assert self.reasons(plan) == [WaitReason.TIME, WaitReason.TIME]
        assert [run.why for run in plan.backlog] == [WaitReason.TIME, WaitReason.TIME]

    @pytest.mark.parametrize("idle", [False, True])
    def test_there_is_no_room(self, idle: bool) -> None:
        policy = task(executor="thread", idle=idle)
        plan = plan_at("12:00", due(policy, "12:00"), capacity=0)
        assert self.reasons(plan) == [WaitReason.ROOM]

    def test_a_backlog_outside_the_request_waits_for_room(self) -> None:
        policy = task(executor="thread", catch_up="all")
        plan = plan_at("12:02", due(policy, "12:00", "12:01", "12:02"), capacity=2)
        assert slots(plan.background) == ["a 12:00"]
        assert self.reasons(plan) == [WaitReason.ROOM, WaitReason.ROOM]

    def test_each_task_waits_for_its_own_reason(self) -> None:
        tasks = [
            due(task("idle", idle=True), "12:01", position=0),
            due(task("delayed", overlap="delay"), "12:01", position=1),
            due(task("thread", executor="thread"), "12:01", position=2),
        ]
        plan = plan_at("12:01", *tasks, running=[active("delayed")], capacity=0)
        assert {run.task: run.why.value for run in plan.enqueue} == {
            "idle": "time",
            "delayed": "overlap",
            "thread": "room",
        }

    def test_one_that_waits_already_keeps_its_reason_as_it_takes_an_earlier_place(self) -> None:
        newer = replace(waiting("a", "12:03"), why=WaitReason.TIME)
        stored = [waiting("a", "12:01"), newer]
        plan = plan_at("12:04", due(task(idle=True)), stored=stored)
        assert plan.enqueue == [replace(newer, not_before=at("12:01"))]
        assert plan.enqueue[0].why is WaitReason.TIME

    def test_why_a_run_waits_makes_no_other_run(self) -> None:
        assert replace(waiting(), why=WaitReason.ROOM) == waiting()


class TestPausedTask:
    def test_waiting_runs_of_a_paused_task_go_on_waiting(self) -> None:
        stored = [
            waiting("a", "11:59"),
            waiting("a", "11:58", Trigger.RETRY, attempt=2),
            waiting("a", "11:57", Trigger.BACKFILL, origin=BACKFILL_ORIGIN),
        ]
        assert plan_at("12:00", due(task()), stored=stored, pauses=[pause()]) == NOTHING

    def test_a_pause_cancels_nothing(self) -> None:
        tasks = due(task(overlap="restart"), "12:00")
        plan = plan_at("12:00", tasks, running=[active("a", "11:59")], pauses=[pause()])
        assert plan.cancel_ids == []
        assert skips(plan) == ["a 12:00 paused 1"]

    def test_a_pause_of_another_task_changes_nothing(self) -> None:
        plan = plan_at("12:00", due(task("a"), "12:00"), pauses=[pause("b")])
        assert slots(plan.run_now) == ["a 12:00"]
        assert plan.skipped == []


class TestBlockingRuns:
    def test_any_active_run_blocks_a_slot(self) -> None:
        running = [active("a", "11:58"), active("a", "11:59", origin=BY_HAND)]
        for overlap in ("skip", "delay", "restart"):
            assert blocking_runs(task(overlap=overlap), running) == running

    def test_nothing_blocks_a_slot_where_overlap_is_allowed(self) -> None:
        assert list(blocking_runs(task(overlap="allow"), [active()])) == []

    def test_nothing_blocks_a_parallel_backfill(self) -> None:
        assert list(blocking_runs(task(), [active()], PARALLEL_BACKFILL_ORIGIN)) == []

    def test_a_parallel_backfill_blocks_no_run(self) -> None:
        running = [active(origin=PARALLEL_BACKFILL_ORIGIN), active(origin=BACKFILL_ORIGIN)]
        assert blocking_runs(task(), running) == running[1:]
        assert blocking_runs(task(), running, BY_HAND) == running[1:]


class TestStuck:
    """A run was given up, and its thread still lives in this process."""

    def plan(self, *tasks: DueTask, stored: Iterable[WaitingRun] = ()) -> TickPlan:
        stuck = replace(snapshot(stored=stored), stuck_tasks={"a"})
        return plan_tick(tasks, stuck, at("12:00"), capacity=8)

    @pytest.mark.parametrize("executor", ["request", "thread"])
    @pytest.mark.parametrize("overlap", ["skip", "delay", "allow", "restart"])
    def test_its_task_has_no_other_run_here(self, overlap: str, executor: str) -> None:
        plan = self.plan(due(task(overlap=overlap, executor=executor), "12:00"))
        assert (plan.run_now, plan.background, plan.restarts, plan.enqueue) == ([], [], [], [])
        [skip] = plan.skipped
        assert (skip.reason, skip.detail) == (
            RunReason.OVERLAP,
            "a run was given up, and still has its thread here",
        )

    def test_other_tasks_run(self) -> None:
        assert slots(self.plan(due(task("b"), "12:00")).run_now) == ["b 12:00"]

    def test_what_waits_goes_on_waiting(self) -> None:
        plan = self.plan(due(task()), stored=[waiting("a", "11:59", Trigger.RETRY, attempt=2)])
        assert (plan.run_now, plan.skipped, plan.dequeue) == ([], [], [])

    def test_tasks_with_its_lock_have_no_run_here_either(self) -> None:
        tasks = [task("a", lock="disk"), task("b", lock="disk"), task("c", lock="mail"), task("d")]
        registry = TaskRegistry({task.name: task for task in tasks})
        assert set(registry.with_same_lock({"a"})) == {"a", "b"}
        assert set(registry.with_same_lock({"d", "gone"})) == {"d", "gone"}


class TestLock:
    """Runs of tasks with the same lock do not go on side by side."""

    HELD = active("backup", "11:59", lock="disk")

    @pytest.mark.parametrize("executor", ["request", "thread"])
    def test_a_slot_is_skipped_while_another_task_has_the_lock(self, executor: str) -> None:
        policy = task(lock="disk", executor=executor)
        plan = plan_at("12:00", due(policy, "12:00"), running=[self.HELD], capacity=8)
        assert (plan.run_now, plan.background, skips(plan)) == ([], [], ["a 12:00 overlap 1"])
        [skip] = plan.skipped
        assert str(skip.detail).startswith("still going on: backup, which has the same lock: run ")

    @pytest.mark.parametrize("lock", [None, "mail"])
    def test_a_task_with_another_lock_or_none_begins(self, lock: str | None) -> None:
        plan = plan_at("12:00", due(task(lock=lock), "12:00"), running=[self.HELD])
        assert slots(plan.run_now) == ["a 12:00"]

    def test_with_delay_the_slot_waits(self) -> None:
        policy = task(lock="disk", overlap="delay")
        plan = plan_at("12:00", due(policy, "12:00"), running=[self.HELD])
        assert [(run.task, run.why) for run in plan.enqueue] == [("a", WaitReason.OVERLAP)]
        assert (plan.run_now, plan.skipped) == ([], [])

    def test_with_restart_whoever_has_the_lock_is_cancelled(self) -> None:
        policy = task(lock="disk", overlap="restart")
        plan = plan_at("12:00", due(policy, "12:00"), running=[self.HELD])
        assert plan.cancel_ids == [self.HELD.run.id]
        assert slots(plan.restarts) == ["a 12:00"]

    def test_in_the_request_they_run_one_after_the_other(self) -> None:
        tasks = [due(task(name, lock="disk"), "12:00") for name in "ab"]
        assert slots(plan_at("12:00", *tasks).run_now) == ["a 12:00", "b 12:00"]

    def test_in_threads_one_waits(self) -> None:
        tasks = [due(task(name, lock="disk", executor="thread"), "12:00") for name in "ab"]
        plan = plan_at("12:00", *tasks, capacity=8)
        assert slots(plan.background) == ["a 12:00"]
        assert [(run.task, run.why) for run in plan.enqueue] == [("b", WaitReason.ROOM)]

    def test_a_thread_waits_for_what_runs_in_the_request(self) -> None:
        quick = task("b", lock="disk", executor="thread")
        plan = plan_at(
            "12:00", due(task("a", lock="disk"), "12:00"), due(quick, "12:00"), capacity=8
        )
        assert (slots(plan.run_now), plan.background) == (["a 12:00"], [])
        assert slots(plan.over_capacity) == ["b 12:00"]

    def test_a_slot_that_waits_for_the_lock_keeps_its_turn(self) -> None:
        plan = plan_at(
            "12:01",
            due(task(lock="disk"), "12:01"),
            stored=[replace(waiting("a", "12:00"), why=WaitReason.ROOM)],
            running=[self.HELD],
        )
        assert skips(plan) == ["a 12:01 overlap 1"]
        assert (plan.run_now, plan.enqueue, skipped_runs(plan)) == ([], [], [])

    def test_a_deferred_run_waits_for_the_lock(self) -> None:
        deferred = waiting("a", "12:00", Trigger.DEFERRED, origin=BY_HAND)
        plan = plan_at("12:00", due(task(lock="disk")), stored=[deferred], running=[self.HELD])
        assert (plan.run_now, plan.skipped) == ([], [])

    def test_a_parallel_backfill_from_before_there_was_a_lock_waits_as_well(self) -> None:
        slot = waiting("a", "10:00", Trigger.RETRY, origin=PARALLEL_BACKFILL_ORIGIN)
        plan = plan_at("12:00", due(task(lock="disk")), stored=[slot], running=[self.HELD])
        assert (plan.run_now, plan.backlog) == ([], [])


def test_slots_that_overlap_are_one_record_of_the_newest() -> None:
    ongoing = active()
    skip = skipped_for_overlap(task(), moments("12:01", "12:02"), [ongoing])
    assert skip == SkippedSlots(
        "a", at("12:02"), 2, RunReason.OVERLAP, f"still going on: {ongoing}", None
    )


@pytest.mark.parametrize(
    ("durations", "usual"),
    [([], 0.0), ([3.0], 3.0), ([9.0, 1.0, 2.0], 2.0), ([1.0, 4.0, 2.0, 3.0], 3.0)],
)
def test_the_usual_duration_is_the_median(durations: list[float], usual: float) -> None:
    assert median_duration(durations) == usual


def test_planning_changes_none_of_its_inputs() -> None:
    stored = (waiting("a", "11:58"), waiting("a", "11:59"))
    snapshot = Snapshot(waiting=stored, active={"b": (active("b"),)})
    tasks = (due(task(), "12:00"), due(task("b", overlap="restart"), "12:00", position=1))
    first = plan_tick(tasks, snapshot, at("12:00"))
    assert plan_tick(tasks, snapshot, at("12:00")) == first
    assert snapshot.waiting == stored


def test_a_task_due_at_an_interval_is_planned_as_any_other_if_it_does_not_delay() -> None:
    policy = task("a", Every("5m"))
    plan = plan_at("12:05", due(policy, "12:05"), stored=[replace(waiting(), slot=at("12:04"))])
    assert slots(plan.run_now) == ["a 12:05"]
    assert skips(plan) == ["a 12:04 superseded 1"]
