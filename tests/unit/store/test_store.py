"""The durable record, the same in every database: claimed once, and kept as it was told."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from pyramid_cron.planning.catch_up import SkippedSlots
from pyramid_cron.planning.snapshot import ActiveRun, PauseRule
from pyramid_cron.run import (
    BACKFILL_ORIGIN,
    PARALLEL_BACKFILL_ORIGIN,
    Progress,
    Run,
    RunReason,
    RunState,
    Trigger,
)
from pyramid_cron.store.results import Outcome, WriteBatch
from pyramid_cron.store.ticks import TickRecord
from pyramid_cron.store.waiting import SlotRange, add_backfill
from pyramid_cron.text import MAX_RUN_TEXT_BYTES, make_storable
from tests.apps import NOON
from tests.records import MINUTE, SECOND, claim, ended, failing, slot, wait, write

ALIKE = ["task", "Task", "täsk", "ta\u0308sk", "task ", " task", "task\u00a0", "taſk", "t\u0430sk"]
"""Names that one collation or another takes for the same."""


class TestClaiming:
    def test_a_slot_is_claimed_once(self, store):
        assert [run.task for run in claim(store, slot("a"), slot("b"))] == ["a", "b"]
        assert [run.task for run in claim(store, slot("b"), slot("c"))] == ["c"]
        assert sorted(run.task for run in store.history()) == ["a", "b", "c"]

    def test_another_slot_of_the_same_task_is_free(self, store):
        assert claim(store, slot("a"))
        assert claim(store, slot("a", NOON + timedelta(microseconds=1)))

    def test_another_attempt_at_the_same_slot_is_free_once(self, store):
        assert claim(store, slot())
        assert claim(store, slot(attempt=2))
        assert not claim(store, slot(attempt=2))

    def test_what_was_asked_for_by_hand_competes_with_nobody(self, store):
        by_hand = [slot(origin=origin, trigger=Trigger.MANUAL) for origin in ("adhoc:1", "adhoc:2")]
        assert len(claim(store, slot(), *by_hand)) == 3

    def test_names_that_look_alike_are_different_tasks(self, store):
        assert [run.task for run in claim(store, *map(slot, ALIKE))] == ALIKE
        for name in ALIKE:
            assert [run.task for run in store.history(name)] == [name]

    def test_the_longest_name_there_may_be_is_kept(self, store):
        names = ["\U0001f570" * 200, "\U0001f570" * 199 + "a"]
        assert [run.task for run in claim(store, *map(slot, names))] == names
        assert {run.task for run in store.history()} == set(names)

    def test_nothing_to_claim_is_nothing_claimed(self, store):
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            assert claims.claim([]) == ([], [])

    def test_what_fails_in_mid_claim_is_not_claimed(self, store):
        def fail():
            with store.claim_transaction(NOON, NOON + MINUTE) as claims:
                claims.claim([slot()])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert store.history() == []
        assert claim(store)

    def test_more_than_a_thousand_at_once_are_claimed_and_held(self, store):
        claimed = claim(store, *(slot(f"task {number}") for number in range(1500)))
        assert len(claimed) == 1500
        ids = {run.id for run in claimed}
        assert store.renew_leases(ids, NOON + 5 * MINUTE) == ids
        with store.claim_transaction(NOON + 2 * MINUTE, NOON + 3 * MINUTE) as claims:
            assert claims.expire_leases(Outcome, [run.task for run in claimed]) == []

    def test_threads_that_claim_the_same_slots_share_them(self, store):
        won = []
        barrier = threading.Barrier(4)

        def claim_them():
            barrier.wait()
            for minute in range(5):
                won.extend(claim(store, *(slot(name, NOON + minute * MINUTE) for name in "abc")))

        threads = [threading.Thread(target=claim_them) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted((run.slot, run.task) for run in won) == [
            (NOON + minute * MINUTE, name) for minute in range(5) for name in "abc"
        ]


class TestKeeping:
    def test_a_run_is_kept_as_it_was_claimed(self, store):
        [run] = claim(store, slot(payload={"x": [1, None, "\0"]}, attempt=3, origin="adhoc:7"))
        assert store.get_run(run.id) == run
        assert run.payload == {"x": [1, None, "\0"]}
        assert (run.host, run.pid) == (store.owner.host, store.owner.pid)

    def test_what_became_of_a_run_is_kept_whole(self, store):
        [run] = claim(store)
        done = replace(
            run,
            state=RunState.FAILED,
            started=NOON + timedelta(microseconds=1),
            finished=NOON + timedelta(microseconds=999_999),
            error="naïve \U0001f4a5 error",
            traceback="Traceback\n  \\'\"`%s %(a)s ? :b \U0001f4a5",
            log="line \r\n\t\U0001f600 ",
            progress=Progress(1.5, 2, "half \U0001f600"),
            exit_status=-9,
        )
        write(store, done)
        assert store.get_run(run.id) == done
        assert store.history("a") == [done]

    def test_what_a_program_wrote_is_kept_apart_from_what_was_logged(self, store):
        runs = claim(store, slot("a"), slot("b"), slot("c"))
        huge = "\\xff\U0001f600" * 40_000
        done = [
            ended(runs[0], stdout=huge, stderr=huge),
            ended(runs[1], stderr="only this", log="logged"),
            ended(runs[2]),
        ]
        write(store, *done)
        assert [store.get_run(run.id) for run in runs] == done

    def test_long_texts_are_kept(self, store):
        texts = [
            make_storable(text * MAX_RUN_TEXT_BYTES)
            for text in ("a", "é", "\U0001f600", "\0", "\ud800", "'")
        ]
        assert min(len(text.encode()) for text in texts) > MAX_RUN_TEXT_BYTES - 4
        runs = claim(store, *(slot(str(number)) for number in range(len(texts))))
        for run, text in zip(runs, texts, strict=True):
            done = ended(run, RunState.FAILED, error=text, traceback=text, log=text)
            write(store, done)
            assert store.get_run(run.id) == done

    def test_payloads_are_kept(self, store):
        payloads = [None, False, 0, 1.5, "", [], {"": None}, "\U0001f600" * 50_000]
        slots = [slot(str(number), payload=payload) for number, payload in enumerate(payloads)]
        kept = [store.get_run(run.id).payload for run in claim(store, *slots)]
        assert kept == payloads

    def test_progress_is_kept_while_a_run_goes_on(self, store):
        [run] = claim(store)
        for progress in (Progress(0), Progress(10**15, 0.1, ""), Progress(-1, 5, "\U0001f600")):
            write(store, replace(run, state=RunState.RUNNING, started=NOON, progress=progress))
            assert store.get_run(run.id).progress == progress
        assert [run.state for run in store.active_runs("a")] == ["running"]

    def test_any_moment_is_kept_to_the_microsecond(self, store):
        years = (1, 1901, 1970, 2026, 9999)
        moments = [NOON.replace(year=year, microsecond=123_457) for year in years]
        kept = [
            store.get_run(run.id).slot for run in claim(store, *(slot("a", m) for m in moments))
        ]
        assert kept == moments

    def test_an_unknown_run_is_none(self, store):
        assert store.get_run("0" * 26) is None

    @pytest.mark.parametrize("what", ["no such run", "a\0", "\ud800", "é" * 26, 5, ["a"]])
    def test_what_can_be_no_run_or_task_is_an_unknown_one(self, store, what):
        assert store.get_run(what) is None
        assert store.history(what) == []

    def test_a_skipped_slot_keeps_its_reason_and_count(self, store):
        skips = [
            SkippedSlots("a", NOON, 9999, RunReason.SUPERSEDED),
            SkippedSlots("b", NOON, 1, RunReason.OVERLAP, "still going on: \U0001f600"),
        ]
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            _, skipped = claims.claim([], skips)
        newest, oldest = store.history(states=[RunState.SKIPPED])
        assert skipped == [oldest, newest]
        assert (oldest.reason, oldest.count, oldest.trigger) == ("superseded", 9999, "catch_up")
        assert (newest.reason, newest.error) == ("overlap", "still going on: \U0001f600")

    def test_history_is_the_newest_first_of_a_task_a_state_or_all(self, store):
        runs = [
            *claim(store, slot("a"), slot("b"), now=NOON),
            *claim(store, slot("a", NOON + MINUTE), now=NOON + MINUTE),
        ]
        write(store, ended(runs[0]), failing(runs[1]))
        assert [run.id for run in store.history()] == [run.id for run in reversed(runs)]
        assert [run.id for run in store.history(limit=1)] == [runs[2].id]
        assert [run.id for run in store.history("a")] == [runs[2].id, runs[0].id]
        assert [run.id for run in store.history(states=[RunState.FAILED])] == [runs[1].id]
        assert store.history("a", [RunState.FAILED]) == []

    def test_durations_are_those_of_the_newest_successes(self, store):
        for number, state in enumerate(["succeeded", "failed", "succeeded", "succeeded"]):
            moment = NOON + number * MINUTE
            [run] = claim(store, slot(moment=moment), now=moment)
            write(store, ended(run, RunState(state), after=number * SECOND))
        assert store.recent_durations("a", 2) == [3.0, 2.0]

    def test_the_newest_attempt_at_a_slot_that_does_not_wait_is_known(self, store):
        [first, *_] = claim(
            store, slot(), slot(attempt=2), slot("b", attempt=5), slot(origin="adhoc:1")
        )
        wait(store, [slot(attempt=3)])
        assert store.newest_ended_attempt(first) == 2
        assert store.newest_ended_attempt(replace(first, task="never")) == 0

    def test_slots_that_ran_or_wait_are_not_filled_in(self, store):
        moments = [NOON + number * MINUTE for number in range(5)]
        claim(store, *(slot("a", moment) for moment in moments[1:3]), slot("b", moments[3]))
        wait(store, [slot("a", moments[4]), slot("a", NOON + SECOND, origin="adhoc:7")])
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            claims.claim([], [SkippedSlots("a", moments[3], 1, RunReason.MISSED)])
        assert (
            add_backfill(store, SlotRange("a", NOON - MINUTE, moments[4], moments), BACKFILL_ORIGIN)
            == 2
        )
        assert (
            add_backfill(
                store, SlotRange("a", NOON - MINUTE, moments[4], moments), PARALLEL_BACKFILL_ORIGIN
            )
            == 0
        )
        with store.claim_transaction(moments[4], moments[4] + MINUTE) as claims:
            waiting = claims.snapshot().waiting
        filled_in = [each.slot for each in waiting if each.trigger is Trigger.BACKFILL]
        assert sorted(filled_in) == [moments[0], moments[3]]

    @pytest.mark.parametrize("origin", [BACKFILL_ORIGIN, PARALLEL_BACKFILL_ORIGIN])
    def test_slots_that_were_skipped_while_they_were_filled_in_are_free_and_stay_on_record(
        self, store, origin
    ):
        one, two = slot(origin=origin), slot(moment=NOON + MINUTE, origin=origin)
        span = SlotRange("a", NOON - SECOND, NOON + MINUTE)
        for _ in range(2):
            with store.claim_transaction(NOON, NOON + MINUTE) as claims:
                skips = [SkippedSlots("a", NOON, 1, RunReason.CONDITION, waiting_run=one)]
                assert len(claims.claim([], skips)[1]) == 1
            add_backfill(store, span, origin)
        claim(store, two)
        add_backfill(store, span, origin)
        assert [run.slot for run in claim(store, one, two)] == [NOON]
        assert len(store.history("a", [RunState.SKIPPED])) == 2


class TestWaiting:
    def test_what_waits_is_kept_once_until_it_is_dropped(self, store):
        kept = slot("a", payload=[1])
        wait(store, [kept, slot("b")])
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            claims.enqueue([kept])
            waiting = sorted(claims.snapshot().waiting, key=lambda each: each.task)
            assert waiting == [kept, slot("b")]
            assert waiting[0].payload == [1]
        assert (store.count_waiting(), store.count_waiting("a")) == (2, 1)
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            claims.dequeue(waiting[:1])
            claims.dequeue([])
        assert (store.count_waiting(), store.count_waiting("a")) == (1, 0)

    def test_what_is_hastened_waits_no_longer_and_no_longer_than_before(self, store):
        wait(store, [slot("a", not_before=NOON + MINUTE), slot("b", not_before=NOON)])
        for name in "abc":
            store.enqueue_or_advance(slot(name, not_before=NOON + SECOND))
        assert self.ripe(store, NOON) == ["b"]
        assert self.ripe(store, NOON + SECOND) == ["a", "b", "c"]

    def test_only_what_is_ripe_is_told(self, store):
        wait(store, [slot("a", not_before=NOON + SECOND), slot("b")])
        assert self.ripe(store, NOON) == ["b"]
        assert self.ripe(store, NOON + SECOND) == ["a", "b"]

    def ripe(self, store, now):
        with store.claim_transaction(now, now + MINUTE) as claims:
            return sorted(each.task for each in claims.snapshot().waiting)

    def test_what_waits_of_the_schedules_of_tasks_is_told(self, store):
        asked = slot("b", trigger=Trigger.DEFERRED, origin="adhoc:7")
        wait(store, [slot("a"), slot("b", NOON + MINUTE), asked, slot("c")])
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            told = claims.snapshot(fixed_delay_names={"b", "c", "d"}).fixed_delay_waiting
            assert told == {"b": [slot("b", NOON + MINUTE)], "c": [slot("c")]}
            assert not claims.snapshot().fixed_delay_waiting

    def test_more_than_a_thousand_tasks_are_asked_for_at_once(self, store):
        names = [f"t{number}" for number in range(1100)]
        wait(store, [slot(name) for name in names])
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            assert claims.snapshot(fixed_delay_names=names).fixed_delay_waiting.keys() == set(names)

    def test_names_that_look_alike_wait_apart(self, store):
        wait(store, [slot(name) for name in ALIKE])
        assert self.ripe(store, NOON) == sorted(ALIKE)
        assert store.count_waiting("task") == 1


class TestWhatGoesOn:
    def test_it_is_told_with_its_lease(self, store):
        [first, second] = claim(store, slot("a"), slot("b"))
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            assert claims.snapshot().active == {
                "a": [ActiveRun(first, NOON + MINUTE)],
                "b": [ActiveRun(second, NOON + MINUTE)],
            }
            assert claims.active_runs().active == claims.snapshot().active
        assert store.active_runs("a") == [first]

    def test_it_is_over_once_that_is_written(self, store):
        [run] = claim(store)
        write(store, ended(run))
        assert store.active_runs("a") == []
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            assert claims.snapshot().active == {}

    def test_its_owner_learns_that_somebody_asked_for_its_end(self, store):
        [first, second, third] = claim(store, slot("a"), slot("b"), slot("c"))
        assert store.cancel_requests() == set()
        store.request_cancel(first.id)
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            claims.request_cancels([second.id])
            claims.request_cancels([])
        assert store.cancel_requests() == {first.id, second.id}
        write(store, ended(first), ended(second), ended(third))
        store.request_cancel(third.id)
        assert store.cancel_requests() == set()

    def test_a_glance_tells_whether_something_waits_or_may_be_lost(self, store):
        assert store.peek(NOON).has_work is False
        wait(store, [slot(not_before=NOON)])
        assert store.peek(NOON - SECOND).has_work is False
        assert store.peek(NOON).has_work is True
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            claims.claim(claims.snapshot().waiting)
        assert store.peek(NOON + MINUTE).has_work is False
        assert store.peek(NOON + MINUTE + SECOND).has_work is True


def tick(store, moment, roster="r", names=("b", "a")):
    made = TickRecord(f"{roster}{moment.timestamp()}", moment, roster, "h", 1)
    store.write_batch(WriteBatch(ticks=[(made, names)]))


class TestRosters:
    def test_the_last_tick_of_each_is_told_at_a_glance(self, store):
        assert store.peek(NOON).window_ends == {}
        tick(store, NOON)
        tick(store, NOON + MINUTE, "s", ["\U0001f600"])
        assert store.peek(NOON).window_ends == {"r": NOON, "s": NOON + MINUTE}
        [roster] = store.task_sets(["s", "unknown"])
        assert (roster.id, roster.task_names) == ("s", {"\U0001f600"})
        assert roster.window_end == NOON + MINUTE

    def test_a_last_tick_never_goes_back_by_what_clocks_differ(self, store):
        for moment in (NOON, NOON + MINUTE, NOON + MINUTE / 2):
            tick(store, moment)
        assert store.peek(NOON).window_ends == {"r": NOON + MINUTE}

    def test_a_last_tick_of_a_clock_that_was_wrong_is_put_right(self, store):
        for moment in (NOON + 60 * MINUTE, NOON):
            tick(store, moment)
        assert store.peek(NOON).window_ends == {"r": NOON}

    def test_ticks_written_together_leave_the_newest(self, store):
        ticks = [
            (TickRecord(f"{number}", NOON + number * SECOND, "r", "h", 1), ["a"])
            for number in (0, 2, 1)
        ]
        store.write_batch(WriteBatch(ticks=ticks))
        assert store.peek(NOON).window_ends == {"r": NOON + 2 * SECOND}

    def test_a_tick_is_written_once_however_often_it_is_tried(self, store):
        tick(store, NOON)
        tick(store, NOON)
        assert store.peek(NOON).window_ends == {"r": NOON}

    def test_a_claim_transaction_records_the_tick_of_a_task_set(self, store):
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            claims.record_tick(TickRecord("t", NOON, "r", "h", 1), ["a"])
        assert store.peek(NOON).window_ends == {"r": NOON}


class TestWords:
    def test_they_are_kept_in_the_order_they_were_said_in(self, store):
        words = [
            PauseRule(NOON, True, "a*", NOON + MINUTE, "naïve \U0001f600"),
            PauseRule(NOON, False, "A*"),
            PauseRule(NOON - SECOND, True, "re:" + "x" * 5000),
        ]
        for word in words:
            store.add_pause_rule(word)
        assert store.pause_rules() == words
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            assert claims.snapshot().pause_rules == words

    def test_any_reason_can_be_given(self, store):
        store.add_pause_rule(PauseRule(NOON, True, "*", reason="nul \0, half \ud83d"))
        assert store.pause_rules()[0].reason == "nul \\x00, half \\ud83d"


def test_two_stores_in_one_database_do_not_meet(shared, make_store):
    apart = replace(shared, prefix=f"o{shared.prefix}")
    one, two = make_store(shared), make_store(apart)
    try:
        assert claim(one)
        assert claim(two)
        assert len(one.history()) == 1
    finally:
        apart.drop()


def test_stores_of_several_processes_share_what_is_on_record(shared, make_store):
    one, two = make_store(shared), make_store(shared)
    [run] = claim(one)
    assert not claim(two)
    assert isinstance(two.get_run(run.id), Run)
    two.request_cancel(run.id)
    assert (one.cancel_requests(), two.cancel_requests()) == ({run.id}, set())
