"""Forgetting what is old, in pieces, and nothing that still matters."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from pyramid_cron.planning.pauses import PauseRule, active_pause
from pyramid_cron.run import Trigger, make_id_prefix
from pyramid_cron.store.results import DeferredRun, WriteBatch
from pyramid_cron.store.retention import prune
from pyramid_cron.store.ticks import TickRecord
from tests.apps import NOON
from tests.records import MINUTE, SECOND, claim, ended, slot, wait, write

BEFORE = NOON + 60 * MINUTE


def count(store, kind):
    with store.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(getattr(store.tables, kind)))


def run_at(store, moment, name="a"):
    [run] = claim(store, slot(name, moment), now=moment)
    write(store, ended(run, log="text"))
    return run


def tick(store, moment, roster="r"):
    store.write_batch(
        WriteBatch(ticks=[(TickRecord(make_id_prefix(moment), moment, roster, "h", 1), ["a"])])
    )


class TestRuns:
    def test_the_oldest_go_first_a_few_at_a_time_with_what_they_said(self, store):
        runs = [run_at(store, NOON + number * MINUTE) for number in range(5)]
        assert prune(store, BEFORE, 2) == 2
        assert [run.id for run in store.history()] == [run.id for run in reversed(runs[2:])]
        assert count(store, "run_outputs") == 3
        assert [prune(store, BEFORE, 2) for _ in range(3)] == [2, 1, 0]
        assert (count(store, "runs"), count(store, "run_outputs")) == (0, 0)

    def test_those_from_that_moment_on_stay(self, store):
        run_at(store, BEFORE - SECOND)
        run = run_at(store, BEFORE)
        assert prune(store, BEFORE, 10) == 1
        assert store.history() == [ended(run, log="text")]

    def test_those_that_go_on_stay(self, store):
        [going_on] = claim(store, slot("a"))
        run_at(store, NOON + MINUTE)
        assert prune(store, BEFORE, 1) == 1
        assert store.history() == [going_on]

    def test_what_waits_stays(self, store):
        wait(store, [slot()])
        prune(store, BEFORE, 10)
        assert store.count_waiting() == 1


class TestKeys:
    def deferred(self, moment, number):
        pending = slot("a", moment, trigger=Trigger.DEFERRED, nonce=number)
        return DeferredRun(pending, f"key {number}")

    def test_they_go_with_the_runs_that_they_stand_for(self, store):
        both = [self.deferred(NOON, 7), self.deferred(NOON + MINUTE, 8)]
        store.write_batch(WriteBatch(deferred_runs=both))
        self.run(store, both[0])
        assert (prune(store, BEFORE, 10), count(store, "dedup_keys")) == (1, 1)
        self.run(store, both[1])
        assert (prune(store, BEFORE, 10), count(store, "dedup_keys")) == (1, 0)

    def test_one_stays_while_its_slot_is_tried_again(self, store):
        one = self.deferred(NOON, 7)
        store.write_batch(WriteBatch(deferred_runs=[one]))
        self.run(store, one)
        again = replace(one.waiting_run, attempt=2, trigger=Trigger.RETRY)
        wait(store, [again])
        assert (prune(store, BEFORE, 10), count(store, "dedup_keys")) == (1, 1)
        self.run(store, replace(one, waiting_run=again))
        assert (prune(store, BEFORE, 10), count(store, "dedup_keys")) == (1, 0)

    def test_the_slot_of_another_task_is_not_theirs(self, store):
        store.write_batch(WriteBatch(deferred_runs=[self.deferred(NOON, 7)]))
        write(store, ended(claim(store, slot("b", nonce=9))[0]))
        prune(store, BEFORE, 10)
        assert count(store, "dedup_keys") == 1

    def run(self, store, deferred):
        with store.claim_transaction(NOON + MINUTE, NOON + 2 * MINUTE) as claims:
            claims.dequeue([deferred.waiting_run])
            [run], _ = claims.claim([deferred.waiting_run])
        write(store, ended(run))


class TestTicks:
    def test_the_oldest_go_first_a_few_at_a_time(self, store):
        for number in range(3):
            tick(store, NOON + number * MINUTE)
        tick(store, BEFORE)
        assert [prune(store, BEFORE, 2) for _ in range(3)] == [2, 1, 0]
        assert count(store, "ticks") == 1


class TestRosters:
    def test_versions_of_the_app_that_ticked_long_ago_go(self, store):
        tick(store, NOON, "old")
        tick(store, BEFORE, "new")
        prune(store, BEFORE, 10)
        assert store.peek(BEFORE).last_ticks == {"new": BEFORE}

    def test_the_one_that_ticked_last_stays_however_long_ago(self, store):
        tick(store, NOON, "older")
        tick(store, NOON + MINUTE, "old")
        prune(store, BEFORE, 10)
        assert store.peek(BEFORE).last_ticks == {"old": NOON + MINUTE}


def pause(pattern, number=0, until=None):
    return PauseRule(NOON + number * SECOND, True, pattern, until)


def resume(pattern, number=0):
    return PauseRule(NOON + number * SECOND, False, pattern)


ENDED = NOON + MINUTE
NEVER_ENDS = pause("a*")


class TestWords:
    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            ([NEVER_ENDS], [0]),
            ([pause("a", until=BEFORE + SECOND)], [0]),
            ([pause("a", until=BEFORE)], []),
            ([resume("a")], []),
            ([pause("a"), resume("a")], []),
            ([pause("a"), pause("a")], [1]),
            ([pause("a"), pause("b"), resume("*")], []),
            ([NEVER_ENDS, resume("ab")], [0, 1]),
            ([NEVER_ENDS, pause("ab", until=ENDED)], [0, 1]),
            ([resume("ab"), NEVER_ENDS, resume("ab")], [1, 2]),
            ([resume("b"), NEVER_ENDS], [1]),
            ([pause("a"), resume("a", 60 * 60)], [0, 1]),
            ([], []),
        ],
    )
    def test_only_those_that_make_a_difference_stay(self, store, said, kept):
        for word in said:
            store.add_pause_rule(word)
        names = ["a", "ab", "b", "c"]
        before = [active_pause(name, BEFORE, store.pause_rules()) for name in names]
        prune(store, BEFORE, 10)
        assert store.pause_rules() == [said[number] for number in kept]
        assert [active_pause(name, BEFORE, store.pause_rules()) for name in names] == before

    def test_a_lasting_pause_stays_however_often_it_is_said(self, store):
        for number in range(20):
            store.add_pause_rule(pause("a", number))
            store.add_pause_rule(resume("b", number))
        prune(store, BEFORE, 10)
        assert store.pause_rules() == [pause("a", 19), resume("b", 19)]
