"""Which background runs begin, what waits for room, and what has waited for too long."""

from __future__ import annotations

import pytest

from pyramid_cron.planning.capacity import Allocation, Candidate, allocate
from pyramid_cron.run import BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN, SCHEDULE_ORIGIN, Trigger
from pyramid_cron.task import Task

from .builders import BY_HAND, HOUR, MINUTE, at, slots, task, waiting


def background(
    name: str = "a",
    weight: int = 1,
    *,
    slot: str = "12:00",
    trigger: Trigger = Trigger.SCHEDULE,
    origin: str = SCHEDULE_ORIGIN,
    overlap: str = "skip",
    catch_up: str = "once",
    idle: bool = False,
    long_grace: bool = False,
) -> Candidate:
    """Return a slot of a background task that could begin; its grace is an hour, or none."""
    policy: Task = task(
        name,
        executor="thread",
        weight=weight,
        overlap=overlap,
        catch_up=catch_up,
        idle=idle,
        grace=None if long_grace else HOUR,
    )
    return Candidate(policy, waiting(name, slot, trigger, origin=origin))


def shares(*candidates: Candidate, room: int, now: str = "12:00") -> Allocation:
    """Return who gets a share of the room."""
    return allocate(candidates, room, at(now))


class TestRoom:
    def test_as_many_begin_as_there_is_room_for(self) -> None:
        allocation = shares(background("a", 2), background("b"), background("c"), room=3)
        assert slots(allocation.start) == ["a 12:00", "b 12:00"]
        assert slots(allocation.wait) == ["c 12:00"]
        assert allocation.expired == []

    def test_a_run_that_takes_all_the_room_begins(self) -> None:
        assert slots(shares(background("a", 3), room=3).start) == ["a 12:00"]

    def test_no_candidate_overtakes_a_heavy_one_that_does_not_fit(self) -> None:
        allocation = shares(background("a"), background("b", 3), background("c"), room=3)
        assert slots(allocation.start) == ["a 12:00"]
        assert slots(allocation.wait) == ["b 12:00", "c 12:00"]

    @pytest.mark.parametrize("room", [0, -2])
    def test_nothing_begins_where_there_is_no_room(self, room: int) -> None:
        allocation = shares(background("a"), room=room)
        assert (slots(allocation.start), slots(allocation.wait)) == ([], ["a 12:00"])

    def test_no_candidates_have_no_allocation(self) -> None:
        assert shares(room=8) == Allocation()


class TestOneAtATime:
    @pytest.mark.parametrize("overlap", ["skip", "delay", "restart"])
    def test_two_slots_of_a_task_begin_one_after_the_other(self, overlap: str) -> None:
        two = [background("a", slot=slot, overlap=overlap) for slot in ("11:59", "12:00")]
        allocation = shares(*two, background("b"), room=8)
        assert slots(allocation.start) == ["a 11:59", "b 12:00"]
        assert slots(allocation.wait) == ["a 12:00"]

    def test_a_run_that_waits_for_its_own_task_takes_no_room(self) -> None:
        two = [background("a", slot=slot) for slot in ("11:59", "12:00")]
        assert slots(shares(*two, background("b"), room=2).start) == ["a 11:59", "b 12:00"]

    def test_they_begin_side_by_side_where_the_task_allows_it(self) -> None:
        two = [background("a", slot=slot, overlap="allow") for slot in ("11:59", "12:00")]
        assert len(shares(*two, room=8).start) == 2
        assert len(shares(*two, room=1).start) == 1

    def test_parallel_backfill_slots_wait_for_no_run(self) -> None:
        candidates = [
            background("a"),
            background(
                "a", slot="10:00", trigger=Trigger.BACKFILL, origin=PARALLEL_BACKFILL_ORIGIN
            ),
            background(
                "a", slot="10:01", trigger=Trigger.BACKFILL, origin=PARALLEL_BACKFILL_ORIGIN
            ),
        ]
        assert len(shares(*candidates, room=8).start) == 3

    def test_a_slot_waits_for_no_parallel_backfill(self) -> None:
        beside = background(
            "a", slot="10:00", trigger=Trigger.BACKFILL, origin=PARALLEL_BACKFILL_ORIGIN
        )
        assert len(shares(beside, background("a"), room=8).start) == 2

    def test_slots_of_another_backfill_begin_one_after_the_other(self) -> None:
        two = [
            background("a", slot=slot, trigger=Trigger.BACKFILL, origin=BACKFILL_ORIGIN)
            for slot in ("10:00", "10:01")
        ]
        assert slots(shares(*two, room=8).start) == ["a 10:00"]

    def test_a_run_by_hand_begins_after_the_slot_of_its_task(self) -> None:
        deferred = background("a", slot="11:00", trigger=Trigger.DEFERRED, origin=BY_HAND)
        assert slots(shares(background("a"), deferred, room=8).wait) == ["a 11:00"]


class TestLocks:
    def test_runs_of_one_lock_begin_one_after_the_other(self) -> None:
        allocation = shares(*self.candidates("disk", "mail", "disk", None, None), room=9)
        assert slots(allocation.start) == ["a 12:00", "b 12:00", "d 12:00", "e 12:00"]
        assert slots(allocation.wait) == ["c 12:00"]

    def test_nothing_begins_whose_lock_is_held(self) -> None:
        candidates = self.candidates("disk", None)
        allocation = allocate(candidates, 9, at("12:00"), held_locks={"disk", None})
        assert slots(allocation.start) == ["b 12:00"]

    def candidates(self, *locks: str | None) -> list[Candidate]:
        return [
            Candidate(task(name, executor="thread", lock=lock), waiting(name))
            for name, lock in zip("abcdefgh", locks, strict=False)
        ]


class TestGrace:
    @pytest.mark.parametrize("trigger", [Trigger.SCHEDULE, Trigger.CATCH_UP])
    @pytest.mark.parametrize("room", [0, 8])
    def test_a_slot_that_waited_longer_than_its_grace_does_not_run_any_more(
        self, trigger: Trigger, room: int
    ) -> None:
        allocation = shares(background("a", trigger=trigger), room=room, now="13:00:01")
        assert slots(allocation.expired) == ["a 12:00"]
        assert (allocation.start, allocation.wait) == ([], [])

    def test_a_run_that_waited_for_just_its_grace_begins_or_waits(self) -> None:
        assert slots(shares(background("a"), room=1, now="13:00").start) == ["a 12:00"]
        assert slots(shares(background("a"), room=0, now="13:00").wait) == ["a 12:00"]

    def test_without_a_grace_it_waits_for_ever(self) -> None:
        old = background("a", long_grace=True)
        assert slots(shares(old, room=0, now="2027-01-01 12:00").wait) == ["a 12:00"]

    @pytest.mark.parametrize(
        "trigger", [Trigger.RETRY, Trigger.DEFERRED, Trigger.MANUAL, Trigger.BACKFILL]
    )
    def test_a_requested_run_waits_for_ever(self, trigger: Trigger) -> None:
        old = background("a", trigger=trigger)
        assert slots(shares(old, room=0, now="23:00").wait) == ["a 12:00"]
        assert slots(shares(old, room=1, now="23:00").start) == ["a 12:00"]

    @pytest.mark.parametrize(("overlap", "catch_up"), [("delay", "once"), ("skip", "all")])
    def test_a_slot_that_may_have_waited_for_its_own_task_begins_once_there_is_room(
        self, overlap: str, catch_up: str
    ) -> None:
        old = background("a", 2, overlap=overlap, catch_up=catch_up)
        assert slots(shares(old, room=2, now="13:00:01").start) == ["a 12:00"]
        assert slots(shares(old, room=1, now="13:00:01").expired) == ["a 12:00"]

    def test_a_run_that_expires_keeps_no_other_waiting(self) -> None:
        allocation = shares(background("a", 9), background("b", slot="13:00"), room=1, now="13:01")
        assert slots(allocation.expired) == ["a 12:00"]
        assert slots(allocation.start) == ["b 13:00"]

    def test_a_run_that_expires_lets_a_newer_slot_of_its_task_begin(self) -> None:
        two = [background("a"), background("a", slot="13:00")]
        allocation = shares(*two, room=1, now="13:01")
        assert slots(allocation.expired) == ["a 12:00"]
        assert slots(allocation.start) == ["a 13:00"]

    def test_a_run_behind_one_that_does_not_fit_expires_as_well(self) -> None:
        heavy = background("a", 9, slot="13:00")
        delayed = background("b", slot="12:00", overlap="delay")
        allocation = shares(heavy, delayed, room=1, now="13:01")
        assert slots(allocation.wait) == ["a 13:00"]
        assert slots(allocation.expired) == ["b 12:00"]


class TestCandidate:
    def test_idle_tasks_and_backfills_begin_last(self) -> None:
        assert background(idle=True).is_last
        assert background(trigger=Trigger.BACKFILL).is_last
        assert not background(trigger=Trigger.CATCH_UP).is_last

    def test_a_run_is_exclusive_unless_its_task_allows_overlap(self) -> None:
        assert background().is_exclusive
        assert background(origin=BACKFILL_ORIGIN).is_exclusive
        assert not background(overlap="allow").is_exclusive
        assert not background(origin=PARALLEL_BACKFILL_ORIGIN).is_exclusive


def test_a_grace_counts_from_the_slot_and_not_from_when_it_was_put_on_record() -> None:
    heir = waiting("a", "12:00", since="10:00")
    candidate = Candidate(task(executor="thread"), heir)
    assert allocate([candidate], 1, at("12:30") + 30 * MINUTE).start == [heir]
