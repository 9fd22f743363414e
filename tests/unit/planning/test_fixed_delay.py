"""Tasks with fixed delay: ``every`` with ``overlap="delay"`` counts from the end of a run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pyramid_cron.planning.followups import max_wait, next_waiting
from pyramid_cron.planning.tick_plan import TickPlan
from pyramid_cron.run import BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN, RunState, Trigger
from pyramid_cron.schedule import Every
from pyramid_cron.task import Retry, Task

from .builders import (
    BY_HAND,
    HOUR,
    MINUTE,
    Timeline,
    active,
    at,
    due,
    moments,
    pause,
    plan_at,
    resume,
    show,
    skipped_runs,
    skips,
    slots,
    task,
    waiting,
)


def poll(
    every: str = "5m",
    *,
    catch_up: str = "once",
    grace: timedelta | None = HOUR,
    retry: int = 1,
    idle: bool = False,
    executor: str = "request",
) -> Task:
    """Return a task with fixed delay."""
    return task(
        "a",
        Every(every),
        overlap="delay",
        catch_up=catch_up,
        grace=grace,
        retry=Retry(attempts=retry),
        idle=idle,
        executor=executor,
    )


def triggers(plan: TickPlan) -> list[Trigger]:
    """Return why the slots run that a plan begins with at once."""
    return [slot.trigger for slot in plan.run_now]


class TestFirstSlot:
    def test_its_schedule_gives_the_first_slot(self) -> None:
        plan = plan_at("12:05", due(poll(), "12:05"), last_tick="12:04")
        assert slots(plan.run_now) == ["a 12:05"]
        assert triggers(plan) == [Trigger.SCHEDULE]
        assert (plan.enqueue, plan.dequeue, plan.skipped) == ([], [], [])

    def test_the_schedule_counts_no_more_while_a_slot_waits(self) -> None:
        plan = plan_at(
            "12:05", due(poll(), "12:05"), stored=[waiting("a", "12:08")], last_tick="12:04"
        )
        assert plan == TickPlan()

    def test_the_schedule_counts_no_more_while_a_run_is_active(self) -> None:
        plan = plan_at("12:05", due(poll(), "12:05"), running=[active("a")], last_tick="12:04")
        assert plan == TickPlan()

    @pytest.mark.parametrize("origin", [BY_HAND, BACKFILL_ORIGIN])
    def test_a_run_by_hand_does_not_take_the_place_of_a_slot(self, origin: str) -> None:
        running = [active("a", origin=origin)]
        plan = plan_at("12:05", due(poll(), "12:05"), running=running, last_tick="12:04")
        assert slots(plan.enqueue) == ["a 12:05"]
        assert plan.run_now == []

    def test_a_parallel_backfill_does_not_delay_it(self) -> None:
        running = [active("a", origin=PARALLEL_BACKFILL_ORIGIN)]
        plan = plan_at("12:05", due(poll(), "12:05"), running=running, last_tick="12:04")
        assert slots(plan.run_now) == ["a 12:05"]

    def test_a_deferred_run_does_not_take_the_place_of_a_slot(self) -> None:
        stored = [waiting("a", "12:08", Trigger.DEFERRED, origin=BY_HAND)]
        plan = plan_at("12:05", due(poll(), "12:05"), stored=stored, last_tick="12:04")
        assert slots(plan.run_now) == ["a 12:05"]
        assert plan.dequeue == []

    def test_a_retry_that_waits_takes_the_place_of_a_slot(self) -> None:
        stored = [waiting("a", "12:00", Trigger.RETRY, since="12:06", attempt=2)]
        plan = plan_at("12:05", due(poll(retry=2), "12:05"), stored=stored, last_tick="12:04")
        assert plan == TickPlan()

    def test_several_slots_of_its_schedule_are_one_run(self) -> None:
        plan = plan_at("12:21", due(poll(), "12:05", "12:10", "12:15", "12:20"))
        assert slots(plan.run_now) == ["a 12:20"]
        assert skips(plan) == ["a 12:15 superseded 3"]


class TestNextSlot:
    def test_the_slot_that_follows_a_run_runs_when_it_is_due(self) -> None:
        plan = plan_at("12:08", due(poll()), stored=[waiting("a", "12:08")], last_tick="12:07")
        assert plan == TickPlan(run_now=[waiting("a", "12:08")])
        assert plan.run_now[0].id == waiting("a", "12:08").id

    def test_it_is_on_time_within_a_minute(self) -> None:
        plan = plan_at("12:08:59", due(poll()), stored=[waiting("a", "12:08")], last_tick="12:07")
        assert triggers(plan) == [Trigger.SCHEDULE]

    def test_a_slot_that_no_tick_came_for_in_time_runs_to_catch_up(self) -> None:
        plan = plan_at("12:20", due(poll()), stored=[waiting("a", "12:08")], last_tick="12:07")
        assert slots(plan.run_now) == ["a 12:08"]
        assert triggers(plan) == [Trigger.CATCH_UP]
        assert plan.run_now[0].id == waiting("a", "12:08").id
        assert (plan.enqueue, plan.dequeue, plan.skipped) == ([], [], [])

    def test_a_slot_older_than_the_grace_is_missed(self) -> None:
        plan = plan_at("14:00", due(poll()), stored=[waiting("a", "12:08")], last_tick="12:07")
        assert skips(plan) == ["a 12:08 missed 1"]
        assert skipped_runs(plan) == [waiting("a", "12:08")]
        assert (plan.run_now, plan.enqueue, plan.dequeue) == ([], [], [])

    def test_a_task_that_catches_up_with_nothing_misses_it(self) -> None:
        plan = plan_at(
            "12:20",
            due(poll(catch_up="none")),
            stored=[waiting("a", "12:08")],
            last_tick="12:07",
        )
        assert skips(plan) == ["a 12:08 missed 1"]

    def test_the_newest_slot_of_the_schedule_replaces_a_missed_one(self) -> None:
        plan = plan_at(
            "14:01",
            due(poll(), "13:50", "13:55", "14:00"),
            stored=[waiting("a", "12:08")],
            last_tick="12:07",
        )
        assert slots(plan.run_now) == ["a 14:00"]
        assert skips(plan) == ["a 12:08 missed 1"]

    def test_a_slot_of_the_schedule_beyond_its_grace_is_not_missed_too(self) -> None:
        plan = plan_at(
            "14:02",
            due(poll(catch_up="none"), "13:55", "14:00"),
            stored=[waiting("a", "12:08")],
            last_tick="12:07",
        )
        assert plan.run_now == []
        assert skips(plan) == ["a 12:08 missed 1"]

    def test_a_slot_that_a_tick_postponed_is_not_missed(self) -> None:
        plan = plan_at(
            "12:20",
            due(poll(catch_up="none")),
            stored=[waiting("a", "12:08")],
            last_tick="12:10",
        )
        assert slots(plan.run_now) == ["a 12:08"]
        assert (plan.skipped, triggers(plan)) == ([], [Trigger.SCHEDULE])

    def test_a_slot_that_a_tick_at_its_very_moment_postponed_is_not_missed(self) -> None:
        plan = plan_at(
            "12:20",
            due(poll(catch_up="none")),
            stored=[waiting("a", "12:08")],
            last_tick="12:08",
        )
        assert slots(plan.run_now) == ["a 12:08"]

    def test_without_a_known_last_tick_a_late_slot_is_missed(self) -> None:
        plan = plan_at("12:20", due(poll(catch_up="none")), stored=[waiting("a", "12:08")])
        assert skips(plan) == ["a 12:08 missed 1"]

    def test_a_slot_blocked_by_another_run_goes_on_waiting(self) -> None:
        plan = plan_at(
            "12:08",
            due(poll()),
            stored=[waiting("a", "12:08")],
            running=[active("a", origin=BY_HAND)],
            last_tick="12:07",
        )
        assert plan == TickPlan()

    def test_a_late_slot_blocked_by_another_run_waits_to_catch_up(self) -> None:
        plan = plan_at(
            "12:20",
            due(poll()),
            stored=[waiting("a", "12:08")],
            running=[active("a", origin=BY_HAND)],
            last_tick="12:07",
        )
        assert slots(plan.enqueue) == ["a 12:08"]
        [late] = plan.enqueue
        assert (late.id, late.trigger) == (waiting("a", "12:08").id, Trigger.CATCH_UP)
        assert (plan.run_now, plan.dequeue, plan.skipped) == ([], [], [])

    def test_a_slot_that_waits_to_catch_up_is_never_missed(self) -> None:
        stored = [waiting("a", "10:00", Trigger.CATCH_UP)]
        plan = plan_at("12:20", due(poll(catch_up="none")), stored=stored)
        assert slots(plan.run_now) == ["a 10:00"]
        assert plan.skipped == []

    def test_a_retry_is_never_missed(self) -> None:
        retry = waiting("a", "10:00", Trigger.RETRY, attempt=2)
        plan = plan_at("12:20", due(poll(catch_up="none", retry=2)), stored=[retry])
        assert plan == TickPlan(run_now=[retry])

    def test_an_idle_slot_waits_for_time(self) -> None:
        plan = plan_at(
            "12:08", due(poll(idle=True)), stored=[waiting("a", "12:08")], last_tick="12:07"
        )
        assert slots(plan.idle) == ["a 12:08"]
        assert (plan.enqueue, plan.dequeue) == ([], [])

    def test_a_background_slot_takes_its_turn(self) -> None:
        policy = due(poll(executor="thread"))
        stored = [waiting("a", "12:08")]
        plan = plan_at("12:08", policy, stored=stored, last_tick="12:07", capacity=1)
        assert plan == TickPlan(background=stored)

    def test_a_late_background_slot_goes_on_waiting_where_there_is_no_room(self) -> None:
        stored = [waiting("a", "12:08")]
        plan = plan_at("12:20", due(poll(executor="thread")), stored=stored, last_tick="12:07")
        assert slots(plan.over_capacity) == ["a 12:08"]
        assert (plan.background, plan.dequeue, plan.skipped) == ([], [], [])


class TestOneNextSlot:
    def test_a_second_slot_that_is_still_to_come_is_dropped(self) -> None:
        stored = [waiting("a", "12:07"), waiting("a", "12:08")]
        plan = plan_at("12:06", due(poll(), "12:05"), stored=stored, last_tick="12:05")
        assert slots(plan.dequeue) == ["a 12:08"]
        assert (plan.run_now, plan.skipped) == ([], [])

    def test_a_slot_still_to_come_is_dropped_where_another_is_due(self) -> None:
        stored = [waiting("a", "12:06"), waiting("a", "12:08")]
        plan = plan_at("12:06", due(poll()), stored=stored, last_tick="12:05")
        assert (plan.run_now, plan.dequeue) == (stored[:1], stored[1:])
        assert (plan.enqueue, plan.skipped) == ([], [])

    def test_two_due_slots_are_one_run(self) -> None:
        stored = [waiting("a", "12:05:30"), waiting("a", "12:06")]
        plan = plan_at("12:06", due(poll()), stored=stored, last_tick="12:05")
        assert slots(plan.run_now) == ["a 12:06"]
        assert skips(plan) == ["a 12:05:30 superseded 1"]
        assert (skipped_runs(plan), plan.dequeue) == (stored[:1], [])

    def test_of_two_due_slots_the_newest_waits_in_the_place_of_the_older(
        self,
    ) -> None:
        plan = plan_at(
            "12:06",
            due(poll()),
            stored=[waiting("a", "12:05:30"), waiting("a", "12:06")],
            running=[active("a", origin=BY_HAND)],
            last_tick="12:05",
        )
        assert plan.enqueue == [waiting("a", "12:06", since="12:05:30")]
        assert plan.enqueue[0].id == waiting("a", "12:06").id
        assert skipped_runs(plan) == [waiting("a", "12:05:30")]
        assert (plan.run_now, plan.dequeue) == ([], [])

    def test_a_slot_is_dropped_that_would_come_after_a_retry(self) -> None:
        retry = waiting("a", "12:00", Trigger.RETRY, since="12:07", attempt=2)
        plan = plan_at(
            "12:06", due(poll(retry=2)), stored=[retry, waiting("a", "12:08")], last_tick="12:05"
        )
        assert slots(plan.dequeue) == ["a 12:08"]

    def test_a_retry_is_not_dropped_for_a_slot_that_comes_first(self) -> None:
        retry = waiting("a", "12:00", Trigger.RETRY, since="12:08", attempt=2)
        stored = [retry, waiting("a", "12:06")]
        plan = plan_at("12:06", due(poll(retry=2)), stored=stored, last_tick="12:05")
        assert plan == TickPlan(run_now=[waiting("a", "12:06")])

    def test_a_stale_slot_is_dropped_and_the_schedule_counts_again(self) -> None:
        plan = plan_at(
            "12:05",
            due(poll(), "12:05"),
            stored=[waiting("a", "2027-06-15 12:00")],
            last_tick="12:04",
        )
        assert slots(plan.run_now) == ["a 12:05"]
        assert slots(plan.dequeue) == ["a 2027-06-15 12:00"]
        assert plan.skipped == []

    def test_a_late_slot_that_still_runs_keeps_the_schedule_out(self) -> None:
        plan = plan_at(
            "12:20",
            due(poll(), "12:10", "12:15", "12:20"),
            stored=[waiting("a", "12:08")],
            last_tick="12:07",
        )
        assert slots(plan.run_now) == ["a 12:08"]
        assert plan.skipped == []

    def test_a_slot_still_to_come_is_dropped_where_a_late_one_runs(self) -> None:
        stored = [waiting("a", "12:08"), waiting("a", "12:22")]
        plan = plan_at("12:20", due(poll()), stored=stored, last_tick="12:07")
        assert slots(plan.run_now) == ["a 12:08"]
        assert (plan.dequeue, plan.enqueue, plan.skipped) == (stored[1:], [], [])

    def test_a_slot_still_to_come_goes_on_waiting_where_a_late_one_is_missed(self) -> None:
        stored = [waiting("a", "12:08"), waiting("a", "12:22")]
        plan = plan_at("12:20", due(poll(catch_up="none")), stored=stored, last_tick="12:07")
        assert skipped_runs(plan) == stored[:1]
        assert (plan.run_now, plan.dequeue, plan.enqueue) == ([], [], [])


class TestPause:
    def test_a_slot_of_the_time_of_a_pause_waits_for_its_end(self) -> None:
        plan = plan_at(
            "12:08",
            due(poll()),
            stored=[waiting("a", "12:08")],
            pauses=[pause(reason="moving")],
            last_tick="12:07",
        )
        assert plan == TickPlan()

    def test_it_goes_on_waiting_at_the_ticks_that_follow(self) -> None:
        plan = plan_at(
            "12:09",
            due(poll()),
            stored=[waiting("a", "12:08")],
            pauses=[pause()],
            last_tick="12:08",
        )
        assert plan == TickPlan()

    def test_a_stale_slot_is_dropped_during_a_pause_too(self) -> None:
        stored = [waiting("a", "2027-06-15 12:00")]
        plan = plan_at("12:09", due(poll()), stored=stored, pauses=[pause()], last_tick="12:08")
        assert plan == TickPlan(dequeue=stored)

    def test_after_a_pause_that_no_tick_saw_its_slot_is_skipped(self) -> None:
        plan = plan_at(
            "12:20",
            due(poll(), "12:10", "12:15", "12:20"),
            stored=[waiting("a", "12:08")],
            pauses=[pause("*", "12:00"), resume("*", "12:10")],
            last_tick="12:00",
        )
        assert skips(plan) == ["a 12:08 paused 1"]
        assert skipped_runs(plan) == [waiting("a", "12:08")]
        assert slots(plan.run_now) == ["a 12:20"]
        assert (plan.enqueue, plan.dequeue) == ([], [])

    def test_after_a_pause_the_slot_that_waited_for_its_end_is_skipped(self) -> None:
        plan = plan_at(
            "12:10",
            due(poll()),
            stored=[waiting("a", "12:08")],
            pauses=[pause("*", "12:00", reason="moving"), resume("*", "12:10")],
            last_tick="12:09",
        )
        assert skips(plan) == ["a 12:08 paused 1"]
        assert plan.skipped[0].detail == "moving"
        assert skipped_runs(plan) == [waiting("a", "12:08")]
        assert (plan.run_now, plan.enqueue, plan.dequeue) == ([], [], [])

    def test_after_a_pause_a_slot_of_the_schedule_in_its_time_does_not_count(self) -> None:
        plan = plan_at(
            "12:11",
            due(poll(), "12:05", "12:10"),
            stored=[waiting("a", "12:08")],
            pauses=[pause("*", "12:00"), resume("*", "12:10:30")],
            last_tick="12:00",
        )
        assert (plan.run_now, skips(plan)) == ([], ["a 12:08 paused 1"])

    def test_a_slot_from_before_a_pause_waits_for_its_end(self) -> None:
        plan = plan_at(
            "12:08",
            due(poll(catch_up="none")),
            stored=[waiting("a", "12:03")],
            pauses=[pause("*", "12:05")],
            last_tick="12:02",
        )
        assert plan == TickPlan()

    def test_while_it_is_paused_its_schedule_is_skipped_where_nothing_waits(self) -> None:
        plan = plan_at("12:05", due(poll(), "12:05"), pauses=[pause()], last_tick="12:04")
        assert skips(plan) == ["a 12:05 paused 1"]
        assert plan.run_now == []

    def test_over_a_pause_nothing_is_made_up(self) -> None:
        timeline = Timeline([poll("1h")])
        timeline.ticks("12:00", "12:00")
        assert timeline.tick(at("13:07")) == ["a 13:00"]
        timeline.pauses.append(pause("*", "13:30", reason="the warehouse moves"))
        assert timeline.ticks("13:31", "16:09") == []
        timeline.pauses.append(resume("*", "16:10"))
        assert timeline.ticks("16:11", "18:04") == ["a 17:00", "a 18:00"]
        assert timeline.skips() == ["a 14:07 paused 1"]

    def test_over_a_pause_without_ticks_nothing_is_made_up_either(self) -> None:
        timeline = Timeline([poll("1h")])
        timeline.ticks("12:00", "12:00")
        assert timeline.tick(at("13:07")) == ["a 13:00"]
        timeline.pauses += [pause("*", "13:30"), resume("*", "16:10")]
        assert timeline.ticks("16:11", "18:04") == ["a 17:00", "a 18:00"]
        assert timeline.skips() == ["a 14:07 paused 1"]


class TestNextWaiting:
    def test_a_follow_up_is_no_further_ahead_than_the_interval_and_a_minute(self) -> None:
        assert max_wait(task("a", Every("5m"), overlap="delay")) == 6 * MINUTE

    def test_a_longer_wait_for_a_retry_counts(self) -> None:
        policy = task("a", Every("5m"), overlap="delay", retry=Retry(attempts=3, delay=600))
        assert max_wait(policy) == timedelta(minutes=21)

    def test_a_task_without_fixed_delay_waits_two_minutes_at_most(self) -> None:
        assert max_wait(task()) == 2 * MINUTE

    def test_the_next_run_is_the_one_that_may_run_first(self) -> None:
        policy = task("a", Every("5m"), overlap="delay")
        stored = [waiting("a", "12:04"), waiting("a", "12:02"), waiting("a", "12:03")]
        assert next_waiting(policy, stored, at("12:00")) == stored[1]

    def test_the_next_run_may_be_a_retry_of_an_older_slot(self) -> None:
        policy = task("a", Every("5m"), overlap="delay")
        retry = waiting("a", "11:00", Trigger.RETRY, since="12:03", attempt=2)
        stored = [waiting("a", "12:04"), retry]
        assert next_waiting(policy, stored, at("12:00")) == retry

    def test_a_run_further_ahead_does_not_count(self) -> None:
        policy = task("a", Every("5m"), overlap="delay")
        assert next_waiting(policy, [waiting("a", "12:06")], at("12:00")) == waiting("a", "12:06")
        assert next_waiting(policy, [waiting("a", "12:06:01")], at("12:00")) is None

    def test_a_retry_counts_however_far_ahead_it_is(self) -> None:
        policy = task("a", Every("5m"), overlap="delay")
        retry = waiting("a", "12:00", Trigger.RETRY, since="18:00", attempt=2)
        assert next_waiting(policy, [retry], at("12:00")) == retry

    def test_there_is_no_next_run_where_nothing_waits(self) -> None:
        assert next_waiting(task("a", Every("5m"), overlap="delay"), [], at("12:00")) is None


class TestOverManyTicks:
    def test_it_runs_once_each_interval(self) -> None:
        timeline = Timeline([poll()])
        assert timeline.ticks("12:00", "12:11") == ["a 12:00", "a 12:05", "a 12:10"]
        assert timeline.tick(at("12:18")) == ["a 12:15"]
        assert timeline.ticks("12:19", "12:29") == ["a 12:23", "a 12:28"]
        assert timeline.skips() == []

    def test_a_run_that_takes_longer_delays_the_next(self) -> None:
        timeline = Timeline([poll()], duration=3 * MINUTE)
        assert timeline.ticks("12:00", "12:20") == ["a 12:00", "a 12:08", "a 12:16"]

    def test_ticks_that_come_late_by_milliseconds_cost_no_minute(self) -> None:
        timeline = Timeline([poll("1m")], duration=timedelta(milliseconds=20))
        late_ticks = [at("12:00") + n * timedelta(seconds=60, milliseconds=7) for n in range(5)]
        assert [timeline.tick(moment) for moment in late_ticks] == [
            [f"a 12:0{n}"] for n in range(5)
        ]

    @pytest.mark.parametrize(
        ("policy", "later", "runs", "missed"),
        [
            (poll("30m", grace=5 * MINUTE), "20:00", ["20:00", "20:30"], ["12:30"]),
            (poll("30m", grace=5 * MINUTE), "20:10", ["20:30"], ["12:30"]),
            (poll("30m", catch_up="none"), "20:10", ["20:30"], ["12:30"]),
            (poll("30m"), "20:10", ["20:00", "20:40"], ["12:30"]),
            (poll("30m", grace=24 * HOUR), "20:10", ["12:30", "20:40"], []),
            (poll("30m", grace=None, catch_up="all"), "20:10", ["12:30", "20:40"], []),
        ],
    )
    def test_a_follow_up_is_missed_as_any_slot_is(
        self, policy: Task, later: str, runs: list[str], missed: list[str]
    ) -> None:
        timeline = Timeline([policy])
        assert timeline.ticks("12:00", "12:00") == ["a 12:00"]
        end = at(later) + 39 * MINUTE
        assert timeline.ticks(later, show(end)) == [f"a {slot}" for slot in runs]
        assert timeline.skips() == [f"a {slot} missed 1" for slot in missed]
        caught_up = runs[0] != later and runs[0] <= "20:00"
        assert timeline.runs[1].trigger is (Trigger.CATCH_UP if caught_up else Trigger.SCHEDULE)

    def test_a_shorter_interval_begins_at_its_next_slot(self) -> None:
        timeline = Timeline([poll("1d")])
        timeline.ticks("00:00", "00:00")
        timeline = Timeline([poll("1h")], stored=timeline.stored, last_tick=timeline.last_tick)
        assert timeline.ticks("00:10", "05:50", 10 * MINUTE) == [
            f"a 0{hour}:00" for hour in range(1, 6)
        ]

    def test_a_longer_interval_counts_from_the_end_of_the_next_run(self) -> None:
        timeline = Timeline([poll("1h")])
        timeline.ticks("12:00", "12:00")
        timeline = Timeline([poll("3h")], stored=timeline.stored, last_tick=timeline.last_tick)
        assert timeline.ticks("13:00", "21:00", HOUR) == ["a 13:00", "a 16:00", "a 19:00"]

    def test_a_deferred_run_does_not_delay_it(self) -> None:
        deferred = waiting("a", "14:30", Trigger.DEFERRED, origin=BY_HAND)
        timeline = Timeline([poll("1h")], stored=[deferred])
        assert timeline.ticks("11:50", "14:50", 10 * MINUTE) == [
            "a 12:00",
            "a 13:00",
            "a 14:00",
            "a 14:30",
        ]

    def test_a_retry_of_an_old_slot_does_not_double_the_pace(self) -> None:
        timeline = Timeline([poll()])
        timeline.ticks("12:00", "12:01")
        timeline.stored.append(waiting("a", "12:00", Trigger.RETRY, since="12:02", attempt=2))
        assert timeline.ticks("12:02", "12:14") == ["a 12:00", "a 12:07", "a 12:12"]

    def test_a_failure_is_retried_before_the_next_slot(self) -> None:
        timeline = Timeline([poll(retry=2)], state=RunState.FAILED)
        assert timeline.ticks("12:00", "12:07") == ["a 12:00", "a 12:00", "a 12:06", "a 12:06"]
        assert [slot.attempt for slot in timeline.runs] == [1, 2, 1, 2]

    def test_a_clock_that_jumps_ahead_and_back_does_not_stop_it(self) -> None:
        timeline = Timeline([poll()])
        timeline.tick(at("2026-07-15 12:00"))
        assert timeline.ticks("12:00", "12:11") == ["a 12:00", "a 12:05", "a 12:10"]
        assert slots(timeline.stored) == ["a 12:15"]

    def test_a_retry_by_a_clock_that_was_ahead_does_not_stop_it_either(self) -> None:
        timeline = Timeline([poll(retry=2)], state=RunState.FAILED)
        timeline.tick(at("2026-07-15 12:00"))
        assert timeline.ticks("12:00", "12:06") == ["a 12:00", "a 12:00", "a 12:06"]

    def test_an_idle_task_has_one_slot_waiting_however_long_there_is_no_time(self) -> None:
        timeline = Timeline([poll(idle=True)])
        timeline.ticks("12:00", "12:00")
        timeline.spare = 0
        assert timeline.ticks("12:01", "12:30") == []
        assert slots(timeline.stored) == ["a 12:05"]
        timeline.spare = 1
        assert timeline.ticks("12:31", "12:37") == ["a 12:05", "a 12:36"]


def test_the_times_of_a_late_slot_stay_as_they_were() -> None:
    plan = plan_at("12:20", due(poll()), stored=[waiting("a", "12:08", payload="x")])
    [slot] = plan.run_now
    assert [slot.slot, slot.not_before] == moments("12:08", "12:08")
    assert slot.payload == "x"
