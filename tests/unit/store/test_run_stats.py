"""Totals, in every kind of database: they add up, and are still there when runs are forgotten."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pyramid_cron.errors import StoreError
from pyramid_cron.planning.catch_up import SkippedSlots
from pyramid_cron.run import RunReason, RunState, Trigger
from pyramid_cron.store.queries import read_overview
from pyramid_cron.store.results import Outcome, WriteBatch
from pyramid_cron.store.retention import prune
from pyramid_cron.store.ticks import TickRecord
from pyramid_cron.store.write_buffer import WriteBuffer
from tests.apps import NOON
from tests.records import MINUTE, SECOND, claim, ended, failing, slot, wait, write


def totals(store):
    found = read_overview(store, "r", NOON).run_stats
    return {(each.task, each.state, each.reason): each for each in found}


def test_outcomes_add_up_over_several_writes(store):
    slots = [slot("a", NOON + i * MINUTE) for i in range(3)]
    runs = claim(store, *slots, slot("b"), slot("A"))
    write(store, ended(runs[0]), ended(runs[1], after=3 * SECOND))
    write(store, ended(runs[2], after=5 * SECOND), failing(runs[3]), ended(runs[4]))
    found = totals(store)
    assert found.keys() == {
        ("a", "succeeded", ""),
        ("b", "failed", ""),
        ("A", "succeeded", ""),
    }
    a = found["a", "succeeded", ""]
    assert (a.count, a.duration_count, a.duration_sum, a.lateness_count, a.lateness_sum) == (
        3,
        3,
        9.0,
        3,
        0.0,
    )
    assert (a.newest_run, a.last_finished) == (runs[2].id, NOON + 2 * MINUTE + 5 * SECOND)


def test_the_latest_is_kept_whatever_the_order_they_are_written_in(store):
    first, second = claim(store, slot("a"), slot("a", NOON + MINUTE))
    write(store, ended(second))
    write(store, ended(first))
    [total] = totals(store).values()
    assert (total.newest_run, total.last_finished) == (second.id, NOON + MINUTE + SECOND)


def test_a_run_is_counted_once_however_often_it_is_written(store):
    [run] = claim(store)
    write(store, replace(run, state=RunState.RUNNING, started=NOON))
    write(store, ended(run))
    write(store, ended(run))
    assert [each.count for each in totals(store).values()] == [1]


def test_lateness_is_that_of_first_attempts_at_their_slots(store):
    punctual = slot("a")
    others = [
        slot("a", attempt=2, trigger=Trigger.RETRY),
        slot("a", origin="adhoc:5", trigger=Trigger.MANUAL),
        slot("a", origin="adhoc:1", trigger=Trigger.BACKFILL),
    ]
    runs = claim(store, punctual, *others)
    late = timedelta(seconds=7.5)
    write(store, *[replace(ended(run, after=20 * SECOND), started=NOON + late) for run in runs])
    [total] = totals(store).values()
    assert (total.duration_count, total.lateness_count, total.lateness_sum) == (4, 1, 7.5)


def test_each_skipped_slot_counts_once_among_hosts_that_skip_it_alike(store):
    skips = [
        SkippedSlots("a", NOON, 4, RunReason.MISSED),
        SkippedSlots("a", NOON - MINUTE, 2, RunReason.PAUSED),
    ]
    for _ in range(2):
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            claims.claim([], skips)
    counts = {reason: each.count for (_, _, reason), each in totals(store).items()}
    assert counts == {"missed": 4, "paused": 2}


def test_ticks_are_counted_and_none_is_forgotten(store):
    ticks = [TickRecord(f"{i:026}", NOON + i * MINUTE, "r", "host", 1) for i in range(3)]
    store.write_batch(WriteBatch(ticks=[(tick, ["a"]) for tick in ticks[:2]]))
    store.write_batch(WriteBatch(ticks=[(ticks[2], ["a"])]))
    assert read_overview(store, "r", NOON).tick_count == 3
    assert prune(store, NOON + timedelta(days=1), 10, (), NOON) == 3
    found = read_overview(store, "r", NOON)
    assert (found.tick_count, found.run_stats) == (3, [])
    assert found.last_ticks == {"r": NOON + 2 * MINUTE}


def test_what_was_written_counts_once_though_the_answer_was_lost(store):
    [run] = claim(store)
    write_buffer = WriteBuffer()
    for number in range(2):
        write_buffer.add_tick(
            TickRecord(f"{number:026}", NOON + number * MINUTE, "r", "host", 1), ["a"]
        )
    write_buffer.add_outcome(Outcome(ended(run)))

    def lose_the_answer():
        with write_buffer.drain() as batch:
            store.write_batch(batch)
            raise StoreError("the connection broke before the database had answered")

    with pytest.raises(StoreError):
        lose_the_answer()
    write_buffer.add_tick(TickRecord(f"{2:026}", NOON + 2 * MINUTE, "r", "host", 1), ["a"])
    with write_buffer.drain() as batch:
        store.write_batch(batch)
    [total] = totals(store).values()
    assert (read_overview(store, "r", NOON).tick_count, total.count) == (3, 1)


def test_a_tick_that_was_not_written_counts_once_it_is(store):
    write_buffer = WriteBuffer()
    write_buffer.add_tick(TickRecord(f"{0:026}", NOON, "r", "host", 1), ["a"])
    with pytest.raises(StoreError), write_buffer.drain():
        raise StoreError("the connection broke before anything was sent")
    with write_buffer.drain() as batch:
        store.write_batch(batch)
    assert read_overview(store, "r", NOON).tick_count == 1


def test_what_waits_is_counted_with_the_oldest(store):
    wait(store, [slot("a", NOON + i * MINUTE) for i in (3, 1, 2)])
    [queue] = read_overview(store, "r", NOON).waiting
    assert (queue.task, queue.trigger, queue.count) == ("a", "schedule", 3)
    assert queue.oldest == NOON + MINUTE
