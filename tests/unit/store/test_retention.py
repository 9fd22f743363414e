"""Forgetting what is old, in pieces, and nothing that still matters."""

import pytest
from sqlalchemy import func, select

from pyramid_cron.action_record import ActionKind, make_action
from pyramid_cron.planning.snapshot import PauseRule, active_pause
from pyramid_cron.run import RunState, Trigger, make_id_prefix, make_run_ids
from pyramid_cron.store.action_log import list_actions, record_action
from pyramid_cron.store.queries import read_overview
from pyramid_cron.store.results import DeferredRun, WriteBatch
from pyramid_cron.store.retention import forget_all, prune
from pyramid_cron.store.ticks import TickRecord
from pyramid_cron.store.waiting import defer_run, find_by_key
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


def prune_all(store, limit=10):
    """Prune what is older than ``BEFORE``, in an application that has the task."""
    return prune(store, BEFORE, limit, ["a"], BEFORE)


def tick(store, moment, roster="r"):
    store.write_batch(
        WriteBatch(ticks=[(TickRecord(make_id_prefix(moment), moment, roster, "h", 1), ["a"])])
    )


class TestRuns:
    def test_the_oldest_go_first_a_few_at_a_time_with_what_they_said(self, store):
        runs = [run_at(store, NOON + number * MINUTE) for number in range(5)]
        assert prune_all(store, 2) == 2
        assert [run.id for run in store.history()] == [run.id for run in reversed(runs[2:])]
        assert count(store, "run_outputs") == 3
        assert [prune_all(store, 2) for _ in range(3)] == [2, 1, 0]
        assert (count(store, "runs"), count(store, "run_outputs")) == (0, 0)

    def test_those_from_that_moment_on_stay(self, store):
        run_at(store, BEFORE - SECOND)
        run = run_at(store, BEFORE)
        assert prune_all(store, 10) == 1
        assert store.history() == [ended(run, log="text")]

    def test_those_that_go_on_stay(self, store):
        [going_on] = claim(store, slot("a"))
        run_at(store, NOON + MINUTE)
        assert prune_all(store, 1) == 1
        assert store.history() == [going_on]

    def test_what_waits_stays(self, store):
        wait(store, [slot()])
        prune_all(store, 10)
        assert store.count_waiting() == 1


class TestKeys:
    def deferred(self, moment, number):
        return slot(
            "a",
            moment,
            trigger=Trigger.DEFERRED,
            origin=f"adhoc:{number}",
            id=make_run_ids(moment, 1)[0],
            key=f"key {number}",
        )

    def test_they_go_with_the_runs_that_they_stand_for(self, store):
        runs = [self.deferred(NOON, 7), self.deferred(NOON + MINUTE, 8)]
        for run in runs:
            defer_run(store, DeferredRun(run))
        write(store, ended(claim(store, runs[0], now=NOON + MINUTE)[0]))
        assert prune_all(store) == 1
        assert find_by_key(store, "a", "key 7") is None
        assert find_by_key(store, "a", "key 8").state is RunState.WAITING

    def test_the_key_of_another_task_stays(self, store):
        defer_run(store, DeferredRun(self.deferred(NOON, 7)))
        write(store, ended(claim(store, slot("b", origin="adhoc:9"))[0]))
        assert prune_all(store) == 1
        assert find_by_key(store, "a", "key 7") is not None


class TestRemovedTasks:
    """What waits for a task that no version of the application has."""

    def test_it_is_cancelled_once_it_has_waited_for_longer_than_history_is_kept(self, store):
        wait(store, [slot("gone"), slot("gone", BEFORE), slot("a")])
        prune(store, BEFORE, 10, ["a"], BEFORE + MINUTE)
        [run] = store.history(states=[RunState.CANCELLED])
        assert (run.task, run.slot, run.finished) == ("gone", NOON, BEFORE + MINUTE)
        assert run.error == "its task was removed before it began"
        assert (store.count_waiting("gone"), store.count_waiting("a")) == (1, 1)
        assert [total.count for total in read_overview(store, "r", NOON).run_stats] == [1]

    def test_it_stays_while_another_version_has_the_task(self, store):
        tick(store, BEFORE)
        wait(store, [slot("a")])
        prune(store, BEFORE, 10, ["other"], BEFORE)
        assert store.count_waiting("a") == 1

    def test_it_never_runs(self, store):
        wait(store, [slot("gone")])
        prune(store, BEFORE, 10, [], BEFORE)
        with store.claim_transaction(BEFORE, BEFORE + MINUTE) as claims:
            assert claims.snapshot().waiting == []
        assert not claim(store, slot("gone"))

    def test_its_record_is_deleted_as_any_other(self, store):
        wait(store, [slot("gone")])
        prune(store, BEFORE, 10, [], BEFORE)
        assert prune(store, BEFORE + SECOND, 10, [], BEFORE + SECOND) == 1
        assert store.history() == []


class TestTicks:
    def test_the_oldest_go_first_a_few_at_a_time(self, store):
        for number in range(3):
            tick(store, NOON + number * MINUTE)
        tick(store, BEFORE)
        assert [prune_all(store, 2) for _ in range(3)] == [2, 1, 0]
        assert count(store, "ticks") == 1


class TestRosters:
    def test_versions_of_the_app_that_ticked_long_ago_go(self, store):
        tick(store, NOON, "old")
        tick(store, BEFORE, "new")
        prune_all(store, 10)
        assert store.peek(BEFORE).window_ends == {"new": BEFORE}

    def test_the_one_that_ticked_last_stays_however_long_ago(self, store):
        tick(store, NOON, "older")
        tick(store, NOON + MINUTE, "old")
        prune_all(store, 10)
        assert store.peek(BEFORE).window_ends == {"old": NOON + MINUTE}


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

        def pauses():
            rules = store.pause_rules()
            return [active_pause(name, BEFORE, rules, command=None) for name in names]

        before = pauses()
        prune_all(store, 10)
        assert store.pause_rules() == [said[number] for number in kept]
        assert pauses() == before

    def test_a_lasting_pause_stays_however_often_it_is_said(self, store):
        for number in range(20):
            store.add_pause_rule(pause("a", number))
            store.add_pause_rule(resume("b", number))
        prune_all(store, 10)
        assert store.pause_rules() == [pause("a", 19), resume("b", 19)]


def act(store, moment):
    with store.write_session() as session:
        record_action(session, make_action(ActionKind.RUN, moment, "ann", task="a"))


def test_old_actions_are_forgotten_in_pieces(store):
    for minute in range(4):
        act(store, NOON + minute * MINUTE)
    act(store, BEFORE)
    prune_all(store, limit=3)
    assert count(store, "actions") == 2
    prune_all(store, limit=3)
    assert count(store, "actions") == 1


def test_to_forget_all_is_an_action_on_record(store):
    act(store, NOON)
    forget_all(store, make_action(ActionKind.RESET, BEFORE, "ann"))
    with store.read_session() as session:
        [action] = list_actions(session, 10)
    assert (action.kind, action.who, action.at) == ("reset", "ann", BEFORE)
