"""What became of runs: told by who holds them, while they hold them, and what comes of it."""

from dataclasses import replace

import pytest

from pyramid_cron.planning.snapshot import PauseRule, active_pause
from pyramid_cron.run import RunState, Trigger
from pyramid_cron.run_transitions import released
from pyramid_cron.store.results import Outcome, WriteBatch
from pyramid_cron.store.ticks import TickRecord
from pyramid_cron.store.write_buffer import WriteBuffer
from tests.apps import NOON
from tests.records import MINUTE, SECOND, claim, ended, failing, slot, write

LATER = NOON + 2 * MINUTE


def again(run):
    """What a run that is lost leads to: a second attempt."""
    return Outcome(run, [slot(run.task, attempt=2, trigger=Trigger.RETRY)])


def expire(store, outcome=Outcome, now=LATER, known="abc"):
    with store.claim_transaction(now, now + MINUTE) as claims:
        return claims.expire_leases(outcome, known)


class TestLeases:
    def test_a_run_whose_lease_has_passed_is_lost(self, store):
        [run] = claim(store)
        assert expire(store, now=NOON + MINUTE) == []
        [lost] = expire(store, again)
        assert (lost.id, lost.state, lost.finished) == (run.id, "lost", LATER)
        assert f"{run.host} (pid {run.pid}) gave no sign of life" in lost.error
        assert store.get_run(run.id) == lost
        assert store.count_waiting("a") == 1

    def test_a_run_is_lost_once(self, store):
        claim(store)
        assert len(expire(store)) == 1
        assert expire(store) == []

    def test_a_run_is_not_lost_while_its_lease_is_renewed(self, store):
        [run] = claim(store)
        assert store.renew_leases([run.id], LATER) == {run.id}
        assert expire(store) == []
        with store.claim_transaction(LATER, LATER + MINUTE) as claims:
            claims.renew_leases([run.id])
        assert expire(store, now=LATER + MINUTE) == []

    def test_only_runs_that_go_on_are_renewed(self, store):
        [over, going_on, other] = claim(store, slot("a"), slot("b"), slot("c"))
        write(store, ended(over))
        assert store.renew_leases([over.id, going_on.id, "unknown"], LATER) == {going_on.id}
        assert [run.id for run in expire(store)] == [other.id]
        assert store.renew_leases([], LATER) == set()

    def test_nobody_renews_what_somebody_else_holds(self, shared, make_store):
        one, two = make_store(shared), make_store(shared)
        [run] = claim(one)
        assert two.renew_leases([run.id], LATER) == set()
        with two.claim_transaction(NOON, LATER) as claims:
            claims.renew_leases([run.id])
        assert [run.id for run in expire(two)] == [run.id]

    def test_one_of_a_task_that_is_not_known_here_is_left_for_five_leases_more(self, store):
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            [run], _ = claims.claim([slot("a")], weight_of=lambda _: 3)
        assert expire(store, now=NOON + 6 * MINUTE, known="bc") == []
        with store.claim_transaction(LATER, LATER + MINUTE) as claims:
            assert claims.active_runs().background_weight == 0
        [lost] = expire(store, now=NOON + 6 * MINUTE + SECOND, known="bc")
        assert (lost.id, lost.state) == (run.id, "lost")

    def test_a_lock_is_held_until_the_lease_of_the_run_is_over(self, store):
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            [run], _ = claims.claim([slot("a")], lock_of=lambda _: "disk")
        for now, holders in ((NOON + MINUTE, [run.id]), (LATER, [])):
            with store.claim_transaction(now, now + MINUTE) as claims:
                active = claims.active_runs()
                assert [holder.run.id for holder in active.lock_holders("disk")] == holders
                assert (active.lock_holders("mail"), active.lock_holders(None)) == ([], ())

    def test_a_run_that_is_over_or_released_holds_no_lock(self, store):
        with store.claim_transaction(NOON, LATER) as claims:
            runs, _ = claims.claim([slot("a"), slot("b")], lock_of=lambda _: "disk")
        write(store, ended(runs[0]), released(runs[1], NOON))
        with store.claim_transaction(NOON, LATER) as claims:
            assert claims.active_runs().lock_holders("disk") == []


class TestOwnership:
    def test_who_was_taken_for_lost_can_not_overwrite_it(self, store):
        [run] = claim(store)
        [lost] = expire(store)
        write(store, ended(run, log="late"))
        assert store.get_run(run.id) == lost

    def test_who_was_taken_for_lost_leads_to_nothing(self, store):
        [run] = claim(store)
        expire(store)
        next_slot = slot("a", NOON + 5 * MINUTE)
        write(store, failing(run), followups=[next_slot], pause_after_failures=1)
        assert store.count_waiting() == 0
        assert store.pause_rules() == []

    def test_nobody_tells_of_what_somebody_else_holds(self, shared, make_store):
        one, two = make_store(shared), make_store(shared)
        [run] = claim(one)
        write(two, ended(run))
        assert one.get_run(run.id) == run
        write(one, ended(run))
        assert one.get_run(run.id) == ended(run)

    def test_an_end_is_told_once(self, store):
        [run] = claim(store)
        write(store, ended(run))
        write(store, failing(run), followups=[slot(attempt=2)])
        assert store.get_run(run.id) == ended(run)
        assert store.count_waiting() == 0

    def test_what_comes_of_an_end_is_put_on_record_with_it(self, store):
        [run] = claim(store)
        write(store, failing(run), followups=[slot(attempt=2, trigger=Trigger.RETRY)])
        assert store.count_waiting("a") == 1

    def test_an_empty_batch_writes_nothing(self, store):
        assert not WriteBatch()
        store.write_batch(WriteBatch())
        assert store.history() == []


class TestPausingAfterFailures:
    def run(self, store, number, state=RunState.FAILED, limit=3, **changes):
        """Run the slot of a minute; whether the task is paused then."""
        moment = NOON + number * MINUTE
        [run] = claim(store, slot("[a]", moment, **changes), now=moment)
        failure = state is RunState.FAILED
        write(store, ended(run, state), pause_after_failures=limit if failure else None)
        return active_pause("[a]", moment + MINUTE, store.pause_rules(), command=None)

    def test_so_many_in_a_row_pause_the_task_and_no_other(self, store):
        assert [bool(self.run(store, number)) for number in range(3)] == [False, False, True]
        [word] = store.pause_rules()
        assert word.reason == "3 failures in a row"
        assert not active_pause("a", LATER + MINUTE, [word], command=None)

    def test_a_success_in_between_begins_anew(self, store):
        good = RunState.SUCCEEDED
        states = [RunState.FAILED, RunState.FAILED, good, RunState.FAILED, RunState.FAILED]
        assert not any(self.run(store, number, state) for number, state in enumerate(states))
        assert self.run(store, len(states))

    @pytest.mark.parametrize("state", [RunState.SKIPPED, RunState.CANCELLED])
    def test_what_was_skipped_or_cancelled_in_between_changes_nothing(self, store, state):
        states = [RunState.FAILED, state, RunState.FAILED]
        assert not any(self.run(store, number, state) for number, state in enumerate(states))
        assert self.run(store, 3)

    def test_attempts_at_one_slot_are_one_failure(self, store):
        for attempt in range(1, 25):
            assert not self.run(store, 0, limit=2, attempt=attempt)
        for attempt in range(1, 25):
            last = self.run(store, 1, limit=2, attempt=attempt)
        assert last

    def test_resuming_begins_anew(self, store):
        self.run(store, 0, limit=2)
        assert self.run(store, 1, limit=2)
        store.add_pause_rule(PauseRule(NOON + 2 * MINUTE, False, "?a*"))
        assert not self.run(store, 3, limit=2)
        assert self.run(store, 4, limit=2)

    def test_a_lost_run_is_a_failure(self, store):
        claim(store)
        expire(store, lambda run: Outcome(run, pause_after_failures=1))
        assert active_pause("a", LATER, store.pause_rules(), command=None)


class TestWriteBuffer:
    def note(self, *runs):
        write_buffer = WriteBuffer()
        for run in runs:
            write_buffer.add_outcome(Outcome(run))
        return write_buffer

    def test_the_newest_state_is_what_gets_written(self, store):
        [run] = claim(store)
        write_buffer = self.note(replace(run, state=RunState.RUNNING), ended(run))
        assert not write_buffer.is_empty
        with write_buffer.drain() as batch:
            store.write_batch(batch)
        assert write_buffer.is_empty
        assert store.get_run(run.id) == ended(run)

    def test_nothing_is_lost_when_writing_fails(self, store):
        first, second = claim(store, slot("a"), slot("b"))
        write_buffer = self.note(replace(first, state=RunState.RUNNING))
        write_buffer.add_tick(TickRecord("1", NOON, "r", "h", 1), ["a"])

        def fail():
            with write_buffer.drain() as batch:
                assert [outcome.run.id for outcome in batch.outcomes] == [first.id]
                write_buffer.add_outcome(Outcome(ended(first)))
                write_buffer.add_outcome(Outcome(ended(second)))
                write_buffer.add_tick(TickRecord("2", NOON + SECOND, "r", "h", 1), ["a"])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with write_buffer.drain() as batch:
            assert [tick.id for tick, _ in batch.ticks] == ["1", "2"]
            store.write_batch(batch)
        assert {run.state for run in store.history()} == {"succeeded"}

    def test_a_run_that_is_over_does_not_go_on_again(self, store):
        """A task that could not be stopped may still tell how far it has come."""
        [run] = claim(store)
        again = Outcome(replace(run, state=RunState.RUNNING))
        write_buffer = self.note(ended(run))

        def fail():
            with write_buffer.drain():
                write_buffer.add_outcome(again)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        write_buffer.add_outcome(again)
        with write_buffer.drain() as batch:
            assert batch.outcomes == [Outcome(ended(run))]

    def test_a_claim_transaction_sees_what_it_wrote(self, store):
        [run] = claim(store)
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            claims.write_batch(WriteBatch([Outcome(ended(run))]))
            assert claims.snapshot().active == {}


class TestLiveOutputs:
    """What runs have logged so far is on record; their ends have the whole of it."""

    @staticmethod
    def live(run, log):
        return {"run_id": run.id, "log": log, "stdout": None, "stderr": None}

    def test_it_is_on_record_while_they_run_and_once_they_are_lost(self, store):
        [run] = claim(store)
        store.write_live_outputs([self.live(run, "a\n")])
        store.write_live_outputs([self.live(run, "a\nb\n")])
        assert store.get_run(run.id).log == "a\nb\n"
        expire(store)
        found = store.get_run(run.id)
        assert (found.state, found.log) == ("lost", "a\nb\n")

    def test_what_comes_after_the_end_changes_nothing(self, store):
        [over, other] = claim(store, slot("a"), slot("b"))
        write(store, ended(over, log="all"))
        store.write_live_outputs([self.live(over, "half"), self.live(other, "half")])
        assert [store.get_run(run.id).log for run in (over, other)] == ["all", "half"]

    def test_a_run_has_the_lease_of_the_process_that_carries_it_out(self, store):
        [run] = claim(store)
        found = store.get_run(run.id)
        assert found.heartbeat(MINUTE) == NOON
        assert (found.elapsed(LATER), ended(run).elapsed(LATER)) == (None, None)
        assert replace(run, started=NOON).elapsed(LATER) == 120
        write(store, ended(run))
        assert store.get_run(run.id).heartbeat(MINUTE) is None
