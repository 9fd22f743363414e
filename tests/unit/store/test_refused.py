"""A result that the database refuses costs no other: neither runs nor ticks nor leases."""

import logging

import pytest
from sqlalchemy.exc import DataError, InternalError, OperationalError

from pyramid_cron import RunState
from pyramid_cron.errors import StoreError
from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import Trigger
from pyramid_cron.store.results import DeferredRun, Outcome, WriteBatch
from pyramid_cron.store.write_buffer import write_live_outputs_that_can_be, write_what_can_be
from tests.apps import NOON
from tests.records import claim, ended, slot


class Choosy:
    """A store that refuses what has a certain word in it, in any text of a run or payload."""

    def __init__(self, store, word, is_there=True, cause=None):
        self.store, self.word, self.is_there, self.cause = store, word, is_there, cause

    def write_batch(self, batch):
        if not self.is_there or self.word in repr(batch):
            raise StoreError("cron.url …: packet too large") from self.cause
        return self.store.write_batch(batch)

    def write_live_outputs(self, rows):
        if not self.is_there or self.word in repr(rows):
            raise StoreError("cron.url …: packet too large") from self.cause
        self.store.write_live_outputs(rows)

    def pause_rules(self):
        if not self.is_there:
            raise StoreError("cron.url …: gone")
        return self.store.pause_rules()


@pytest.fixture
def runs(store):
    return claim(store, slot("good"), slot("bad"))


def batch_of(runs, **texts):
    good, bad = runs
    return WriteBatch(outcomes=[Outcome(ended(good)), Outcome(ended(bad, **texts))])


def test_a_run_with_a_text_that_is_refused_is_recorded_without_its_texts(store, runs, caplog):
    with caplog.at_level(logging.ERROR):
        write_what_can_be(Choosy(store, "HUGE"), batch_of(runs, log="HUGE", stdout="fine"))
    good, bad = map(store.get_run, [run.id for run in runs])
    assert (good.state, bad.state) == (RunState.SUCCEEDED, RunState.SUCCEEDED)
    assert (bad.log, bad.stdout) == (None, None)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"bad run={bad.id} is recorded without its texts" in caplog.text


def test_what_is_refused_even_then_is_dropped_and_all_else_is_written(store, runs, caplog):
    write_what_can_be(Choosy(store, runs[1].id), batch_of(runs))
    assert store.get_run(runs[0].id).state is RunState.SUCCEEDED
    assert store.get_run(runs[1].id).state is RunState.CLAIMED
    assert f"bad run={runs[1].id} can't be recorded and is dropped" in caplog.text


def test_a_deferred_run_with_a_payload_that_is_refused_is_dropped(store, caplog):
    deferred = [
        DeferredRun(WaitingRun(name, NOON, Trigger.DEFERRED, NOON, origin=f"adhoc:{name}"))
        for name in ("good", "BAD")
    ]
    write_what_can_be(Choosy(store, "BAD"), WriteBatch(deferred_runs=deferred))
    assert store.count_waiting() == 1
    assert "a deferred run of BAD can't be recorded and is dropped" in caplog.text


def test_nothing_is_dropped_while_the_store_is_away(store, runs, caplog):
    with pytest.raises(StoreError):
        write_what_can_be(Choosy(store, "HUGE", is_there=False), batch_of(runs))
    assert caplog.records == []


class DriverError(Exception):
    """An error of a driver; ``sqlstate`` is PostgreSQL's code."""

    def __init__(self, *values, sqlstate=None):
        super().__init__(*values)
        self.sqlstate = sqlstate


def operational(*values, **code):
    return OperationalError("UPDATE", {}, DriverError(*values, **code))


@pytest.mark.parametrize(
    "trouble",
    [
        operational("database is locked"),
        operational("database or disk is full"),
        operational("no space", sqlstate="53100"),
        operational(1205, "Lock wait timeout exceeded"),
        InternalError("UPDATE", {}, DriverError("read-only", sqlstate="25006")),
    ],
)
def test_nothing_is_dropped_for_trouble_that_passes(store, runs, caplog, trouble):
    with pytest.raises(StoreError):
        write_what_can_be(Choosy(store, "HUGE", cause=trouble), batch_of(runs, log="HUGE"))
    assert caplog.records == []


@pytest.mark.parametrize(
    "refusal",
    [
        operational(1153, "Got a packet bigger than 'max_allowed_packet' bytes"),
        operational("row is too big", sqlstate="54000"),
        DataError("UPDATE", {}, DriverError("no equivalent", sqlstate="22P05")),
    ],
)
def test_what_servers_say_of_a_value_is_a_refusal(store, runs, refusal):
    write_what_can_be(Choosy(store, "HUGE", cause=refusal), batch_of(runs, log="HUGE"))
    assert store.get_run(runs[1].id).state is RunState.SUCCEEDED


def live(run, log):
    return {"run_id": run.id, "log": log, "stdout": None, "stderr": None}


def test_the_log_so_far_of_others_is_written_where_one_is_refused(store, runs):
    good, bad = runs
    rows = [live(good, "so far"), live(bad, "HUGE")]
    write_live_outputs_that_can_be(Choosy(store, "HUGE"), rows)
    assert [store.get_run(run.id).log for run in runs] == ["so far", None]


def test_the_log_so_far_waits_where_the_store_is_not_there(store, runs):
    with pytest.raises(StoreError):
        write_live_outputs_that_can_be(Choosy(store, "", is_there=False), [live(runs[0], "a")])
