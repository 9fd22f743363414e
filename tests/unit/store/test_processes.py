"""Several processes over one store, in every database that they can share."""

import multiprocessing
import threading
import time
from itertools import chain
from secrets import randbits

import pytest

from pyramid_cron.store import fork_gate
from pyramid_cron.store.results import Outcome
from tests.apps import NOON
from tests.records import MINUTE, claim, slot

PROCESSES = 3
DEADLINE = 60

pytestmark = pytest.mark.system


def work(function, place, barrier, results):
    store = place.store()
    barrier.wait(DEADLINE)
    results.put(function(store))
    store.database.dispose()


def in_processes(function, place):
    """What ``function`` returns of a store in each of several processes that begin together."""
    # They are forked from a process that has imported all of this, and nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    arguments = (function, place, barrier, results)
    workers = [context.Process(target=work, args=arguments) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    try:
        return [results.get(timeout=DEADLINE) for _ in workers]
    finally:
        for worker in workers:
            worker.join(DEADLINE)


def claim_all(store):
    claimed = []
    for minute in range(15):
        moment = NOON + minute * MINUTE
        claimed += claim(store, *(slot(name, moment) for name in "abcde"), now=moment)
    return [(run.task, run.slot) for run in claimed]


def test_processes_that_claim_the_same_slots_share_them(shared, make_store):
    """They make the tables at the same time, too."""
    claimed = list(chain(*in_processes(claim_all, shared)))
    slots = {(name, NOON + minute * MINUTE) for minute in range(15) for name in "abcde"}
    assert len(claimed) == len(slots)
    assert set(claimed) == slots
    assert len(make_store(shared).history(limit=1000)) == len(slots)


def claim_where_none_goes_on(store):
    """Do as a tick does with a task that may not overlap; how often it was claimed."""
    count = 0
    for _ in range(20):
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            if not claims.snapshot().active.get("alone"):
                time.sleep(0.01)  # the others would get in here
                count += len(claims.claim([slot("alone", origin=f"adhoc:{randbits(62):x}")])[0])
    return count


def test_nobody_decides_while_another_does(shared):
    assert sum(in_processes(claim_where_none_goes_on, shared)) == 1


def expire(store):
    with store.claim_transaction(NOON + 2 * MINUTE, NOON + 3 * MINUTE) as claims:
        lost = claims.expire_leases(
            lambda run: Outcome(run, [slot(run.task, attempt=2)]), "abcdefgh"
        )
    return [run.id for run in lost]


def test_what_several_processes_find_lost_at_once_is_lost_once(shared, make_store):
    store = make_store(shared)
    claimed = {run.id for run in claim(store, *(slot(name) for name in "abcdefgh"))}
    lost = list(chain(*in_processes(expire, shared)))
    assert sorted(lost) == sorted(claimed)
    assert store.count_waiting() == 8


def test_a_forked_process_opens_connections_of_its_own(shared, make_store):
    store = make_store(shared)
    [run] = claim(store)
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def ask():
        store.database.dispose()  # those that were inherited are not its own to close
        results.put((len(store.history()), store.renew_leases([run.id], NOON + MINUTE)))
        store.database.dispose()

    child = context.Process(target=ask)
    child.start()
    assert results.get(timeout=DEADLINE) == (1, set())
    child.join(DEADLINE)
    assert store.renew_leases([run.id], NOON + MINUTE) == {run.id}


def test_a_forked_process_has_a_memory_of_its_own(memory, make_store):
    store = make_store(memory)
    claim(store)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(len(claim(store))))
    child.start()
    assert results.get(timeout=DEADLINE) == 1
    child.join(DEADLINE)
    assert len(store.history()) == 1


def in_fork(function):
    """What a function returns in a forked process, within a while."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(function()))
    child.start()
    try:
        return results.get(timeout=DEADLINE)
    finally:
        child.kill()
        child.join(DEADLINE)


def test_a_process_that_is_forked_while_another_thread_writes_waits_for_nothing(
    anywhere, make_store
):
    store = make_store(anywhere)
    store.open()
    is_writing = threading.Event()

    def write():
        with store.write_session():
            is_writing.set()
            time.sleep(0.1)  # the fork has to come now

    thread = threading.Thread(target=write)
    thread.start()
    assert is_writing.wait(DEADLINE)
    assert in_fork(lambda: len(claim(store, slot("child")))) == 1
    thread.join()
    assert len(claim(store, slot("parent"))) == 1


def test_locks_that_are_held_all_the_same_are_not_inherited(memory, make_store, monkeypatch):
    monkeypatch.setattr(fork_gate, "FORK_WAIT_SECONDS", 0.0)
    store = make_store(memory)
    is_writing, go_on = threading.Event(), threading.Event()

    def write():
        with store.write_session():
            is_writing.set()
            go_on.wait(DEADLINE)

    thread = threading.Thread(target=write)
    thread.start()
    assert is_writing.wait(DEADLINE)
    assert in_fork(lambda: len(claim(store, slot("child")))) == 1
    go_on.set()
    thread.join()


def test_a_fork_does_not_wait_for_a_transaction_of_its_own_thread(shared, make_store, monkeypatch):
    monkeypatch.setattr(fork_gate, "FORK_WAIT_SECONDS", 2 * DEADLINE)
    with make_store(shared).read_session():
        assert in_fork(lambda: "forked") == "forked"


def test_a_transaction_waits_for_a_fork():
    gate, order = fork_gate.ForkGate(lambda: None), []

    def write():
        with gate.transaction(), gate.transaction():
            order.append("transaction")

    thread = threading.Thread(target=write)
    gate._close()
    thread.start()
    order.append("fork")
    gate._open()
    thread.join()
    assert order == ["fork", "transaction"]


def test_connections_are_closed_when_no_other_thread_has_a_transaction():
    gate, order = fork_gate.ForkGate(lambda: None), []
    is_reading = threading.Event()

    def read():
        with gate.transaction():
            is_reading.set()
            while not gate._is_forking:
                time.sleep(0.001)
            order.append("transaction")

    thread = threading.Thread(target=read)
    thread.start()
    assert is_reading.wait(DEADLINE)
    with gate.no_transactions():
        order.append("closed")
    thread.join()
    assert order == ["transaction", "closed"]
