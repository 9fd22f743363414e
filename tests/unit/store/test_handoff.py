"""Runs that go from the process that claimed them to another one, in every database."""

from datetime import timedelta

from pyramid_cron.run import RunState, Trigger
from pyramid_cron.store.handoff import (
    hand_off_run,
    record_outputs,
    release_runs,
    sustain_lease,
    take_back_run,
    take_over_run,
)
from pyramid_cron.store.results import Outcome
from tests.apps import NOON
from tests.records import MINUTE, claim, ended, slot, write

HOUR = timedelta(hours=1)


def waiting(store):
    with store.claim_transaction(NOON + HOUR, NOON + 2 * HOUR) as claims:
        return list(claims.snapshot().waiting)


def lost(store, now):
    return [run.id for run in expired(store, now)]


def expired(store, now):
    with store.claim_transaction(now, now + MINUTE) as claims:
        return claims.expire_leases(Outcome, ["a", "b", "c"])


def test_a_run_is_taken_up_once_by_another_process(anywhere, store, make_store):
    [run] = claim(store, slot())
    other = store if anywhere.kind == "memory" else make_store(anywhere)
    hand_off_run(store, run.id, NOON + HOUR)
    taken = take_over_run(other, run.id, NOON + MINUTE, NOON + 2 * MINUTE)
    assert (taken.id, taken.state, taken.pid) == (run.id, RunState.CLAIMED, other.owner.pid)
    assert take_over_run(other, run.id, NOON + MINUTE, NOON + 2 * MINUTE) is None
    assert store.get_run(run.id).state is RunState.RUNNING
    assert other.renew_leases([run.id], NOON + HOUR) == {run.id}


def test_one_that_is_taken_up_before_that_is_on_record_stays_whose_it_is(shared, make_store):
    [run] = claim(store := make_store(shared), slot())
    other = make_store(shared)
    take_over_run(other, run.id, NOON, NOON + MINUTE)
    hand_off_run(store, run.id, NOON + HOUR)
    release_runs(store, [run], NOON)
    assert other.renew_leases([run.id], NOON + MINUTE) == {run.id}
    assert waiting(store) == []
    assert lost(store, NOON + 2 * MINUTE) == [run.id]


def test_what_is_given_back_waits_as_the_same_attempt_and_can_be_claimed_again(store):
    asked = slot(attempt=3, origin="adhoc:7", trigger=Trigger.RETRY, payload={"a": 1})
    [run] = claim(store, asked)
    release_runs(store, [run], NOON)
    assert store.history() == []
    [pending] = waiting(store)
    assert (pending, pending.payload) == (asked, {"a": 1})
    assert len(claim(store, pending)) == 1


def test_a_run_that_is_over_can_not_be_taken_up(store):
    [run] = claim(store, slot())
    assert lost(store, NOON + HOUR) == [run.id]
    assert take_over_run(store, run.id, NOON, NOON + HOUR) is None


def test_a_run_whose_lease_has_passed_can_not_be_taken_up(store):
    [run] = claim(store, slot())
    hand_off_run(store, run.id, NOON + MINUTE)
    assert take_over_run(store, run.id, NOON + 2 * MINUTE, NOON + HOUR) is None


def test_what_nobody_takes_up_is_lost_when_its_lease_passes(store):
    [run] = claim(store, slot())
    hand_off_run(store, run.id, NOON + HOUR)
    assert expired(store, NOON + 30 * MINUTE) == []
    [over] = expired(store, NOON + 61 * MINUTE)
    sender = f"{run.host} (pid {run.pid})"
    assert (over.id, over.state) == (run.id, RunState.LOST)
    assert over.error == f"lost: {sender} sent it, and no worker took it up in time"
    assert store.get_run(run.id).error == over.error


def test_only_leases_that_nobody_gives_are_shortened(store):
    runs = claim(store, *(slot(name) for name in "abc"))
    leases = [NOON + HOUR, NOON + 24 * HOUR, NOON + 48 * HOUR]
    for run, lease in zip(runs, leases, strict=True):
        hand_off_run(store, run.id, lease)
    with store.claim_transaction(NOON, NOON + MINUTE) as claims:
        claims.cap_far_leases(claims.snapshot().active)
        active = claims.active_runs()
        left = {name: active.active_of(name)[0].lease_until for name in "abc"}
    assert left == {"a": leases[0], "b": leases[1], "c": NOON + MINUTE}
    assert lost(store, NOON + 2 * MINUTE) == [runs[2].id]


def test_the_weight_of_what_goes_on_outside_of_requests_is_known(store):
    with store.claim_transaction(NOON, NOON + MINUTE) as claims:
        claims.claim([slot("a"), slot("b")], weight_of={"a": 3, "b": 2}.get)
        claims.claim([slot("c")])
        assert claims.active_runs().background_weight == 5
        assert claims.snapshot().background_weight == 5


def test_a_run_whose_process_has_died_is_taken_back(shared, make_store):
    [run] = claim(store := make_store(shared), slot(payload=7))
    other = make_store(shared)
    hand_off_run(store, run.id, NOON + HOUR)
    take_over_run(other, run.id, NOON, NOON + MINUTE)
    assert take_back_run(store, run.id, other.owner.pid + 1, NOON + HOUR) is None
    back, end = take_back_run(store, run.id, other.owner.pid, NOON + HOUR)
    assert end is None
    assert (back.id, back.state, back.payload) == (run.id, RunState.RUNNING, 7)
    write(other, ended(run))
    assert store.get_run(run.id).state is RunState.RUNNING
    assert store.renew_leases([run.id], NOON + HOUR) == {run.id}


def test_so_is_one_that_it_had_not_taken_over(store):
    [run] = claim(store, slot())
    hand_off_run(store, run.id, NOON + HOUR)
    back, _ = take_back_run(store, run.id, 0, NOON + HOUR)
    assert back.state is RunState.CLAIMED
    release_runs(store, [run], NOON)
    assert [pending.task for pending in waiting(store)] == [run.task]


def test_one_whose_end_is_on_record_is_not(store):
    [run] = claim(store, slot())
    write(store, ended(run))
    assert take_back_run(store, run.id, run.pid, NOON + HOUR) is None


def test_what_a_process_has_written_and_what_it_logged_are_kept_whichever_comes_first(store):
    [early, late] = claim(store, slot("a"), slot("b"))
    record_outputs(store, early.id, "so far", None)
    record_outputs(store, early.id, "out", "err")
    write(store, ended(early, log="log"), ended(late, log="log"))
    record_outputs(store, late.id, "out", "err")
    for run in early, late:
        kept = store.get_run(run.id)
        assert (kept.log, kept.stdout, kept.stderr) == ("log", "out", "err")


def test_the_lease_of_a_process_that_lives_is_renewed_where_it_is_late(store):
    [run] = claim(store, slot())
    sustain_lease(store, run.id, run.pid + 1, NOON + MINUTE, MINUTE)
    sustain_lease(store, run.id, run.pid, NOON, MINUTE)
    sustain_lease(store, run.id, run.pid, NOON + MINUTE / 2, MINUTE)  # not late
    assert lost(store, NOON + MINUTE) == []
    sustain_lease(store, run.id, run.pid, NOON + MINUTE, MINUTE)
    assert lost(store, NOON + 2 * MINUTE) == []
    assert lost(store, NOON + 2 * MINUTE + timedelta(seconds=1)) == [run.id]
    sustain_lease(store, run.id, run.pid, NOON + 9 * MINUTE, MINUTE)
    assert store.get_run(run.id).state is RunState.LOST
