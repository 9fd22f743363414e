"""A few slots stand for many, and the same is decided about them as about all."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_cron.planning.catch_up import condense
from pyramid_cron.planning.snapshot import PauseRule, Snapshot, WaitingRun, list_pause_changes
from pyramid_cron.planning.tick_plan import DueTask, plan_tick
from pyramid_cron.run import BACKFILL_ORIGIN, Trigger
from pyramid_cron.schedule import Cron, Every
from pyramid_cron.task import CatchUp, Overlap, Task

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 6, 10, 12, tzinfo=timezone.utc)


def task_of(schedule, **policy) -> Task:
    return Task("a", print, (schedule,), "UTC", **policy)


def test_a_month_of_minutes_takes_a_few_slots() -> None:
    task = task_of(Cron("* * * * *"), grace=timedelta(hours=1))
    slots = task.between(NOON - timedelta(days=30), NOON)
    few, counts = condense(task, slots, NOON, [])
    assert len(few) < 10
    assert (few[0], few[-1]) == (slots[0], slots[-1])
    assert sum(counts.get(slot, 1) for slot in few) == 30 * 1440


def test_the_slots_to_run_are_all_there() -> None:
    task = task_of(Cron("* * * * *"), grace=timedelta(hours=1), catch_up=CatchUp.ALL)
    slots = task.between(NOON - timedelta(days=30), NOON)
    few, counts = condense(task, slots, NOON, [])
    assert few[-61:] == slots[-61:]
    assert not counts.keys() & set(few[-61:])


def test_a_condensed_task_has_all_its_slots_in_full() -> None:
    task = task_of(Every("7m"), grace=timedelta(hours=1), offset=11)
    slots = task.between(NOON - timedelta(days=3), NOON)
    due = DueTask(task, 0, *condense(task, slots, NOON, []))
    assert due.in_full().slots == slots
    since = slots[40] + MINUTE
    assert due.after(since) == [slot for slot in slots if slot > since]


moments = st.integers(-400, 1).map(lambda minutes: NOON + minutes * MINUTE)
half = MINUTE / 2


@given(
    every=st.sampled_from(["20s", "30s", "1m", "7m"]),
    catch_up=st.sampled_from(CatchUp),
    overlap=st.sampled_from(Overlap),
    grace=st.sampled_from([None, 0, 1, 15, 60, 500]),
    pauses=st.lists(st.tuples(moments, st.booleans(), st.none() | moments, st.booleans())),
    filled_in=st.lists(moments, max_size=3),
    waits=st.lists(moments, max_size=2, unique=True),
    since=moments,
    late=st.sampled_from([0, 20, 59]),
)
@settings(max_examples=150, deadline=None)
def test_the_plan_is_the_same(
    every, catch_up, overlap, grace, pauses, filled_in, waits, since, late
) -> None:
    now = NOON + timedelta(seconds=late)
    grace = None if grace is None else grace * MINUTE
    task = task_of(Every(every), grace=grace, catch_up=catch_up, overlap=overlap)
    slots = task.between(since, now)
    if not slots:
        return
    rules = [
        PauseRule(moment + shifted * half, pauses, "*", until)
        for moment, pauses, until, shifted in sorted(pauses, key=lambda pause: pause[0])
    ]
    backfill = [
        WaitingRun("a", slot, Trigger.BACKFILL, slot, origin=BACKFILL_ORIGIN) for slot in filled_in
    ]
    waiting = [
        WaitingRun("a", slot, Trigger.SCHEDULE, slot, id=str(number))
        for number, slot in enumerate(waits)
    ]
    snapshot = Snapshot(pause_rules=rules, waiting=[*backfill, *waiting])
    few = DueTask(task, 0, *condense(task, slots, now, list_pause_changes(rules)))
    assert plan_tick([few], snapshot, now) == plan_tick([DueTask(task, 0, slots)], snapshot, now)
