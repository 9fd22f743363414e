"""Stored schedules in every database."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from pyramid_cron.planning.schedule_book import StoredSchedule
from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import RunState, Trigger, make_schedule_origin
from pyramid_cron.store.results import WriteBatch, write_schedule_change
from pyramid_cron.store.retention import forget_all
from pyramid_cron.store.stored_schedules import (
    ScheduleChange,
    ScheduleFilter,
    find_schedule,
    list_schedules,
    prune_removed,
    read_news,
    read_payloads,
    read_version,
)
from tests.apps import NOON

MINUTE = timedelta(minutes=1)
NAMES = ["Ann", "ann", "ann ", "änn", "an" * 100, "日本"]


@pytest.fixture
def store(anywhere, make_store):
    return make_store(anywhere)


def change(store, name, *, is_removed=False, **values):
    values = {"task": "report", "arguments": {"every": "10m"}, "changed": NOON, **values}
    stored = StoredSchedule(name, **values)
    with store.write_session() as session:
        write_schedule_change(session, ScheduleChange(stored, is_removed))


def read(store, function, *arguments):
    with store.read_session() as session:
        return function(session, *arguments)


def test_names_are_compared_byte_by_byte_and_kept_with_their_payloads(store):
    for number, name in enumerate(NAMES):
        change(store, name, payload={"number": number})
    assert sorted(one.name for one in read(store, list_schedules)) == sorted(NAMES)
    for number, name in enumerate(NAMES):
        assert read(store, find_schedule, name).payload == {"number": number}
    payloads = read(store, read_payloads, ["ann ", "Ann", "none"])
    assert payloads == {"ann ": {"number": 2}, "Ann": {"number": 0}}
    assert read(store, list_schedules, ScheduleFilter("other")) == []


def test_each_change_has_the_next_version(store):
    for name in ("a", "b", "c", "a"):
        change(store, name)
    change(store, "b", is_removed=True)
    assert read(store, read_version) == 5
    assert store.peek(NOON).schedules_version == 5
    news = read(store, read_news, 3, 10)
    assert [(one.name, one.version) for one in news] == [("a", 4), ("b", 5)]
    assert [one.is_off for one in news] == [False, True]
    assert [one.name for one in read(store, read_news, 0, 1)] == ["c"]
    assert [one.name for one in read(store, list_schedules)] == ["a", "c"]
    assert read(store, find_schedule, "b") is None


def test_a_batch_writes_them_too(store):
    one = ScheduleChange(StoredSchedule("a", "report", {"hour": 2}, NOON))
    store.write_batch(WriteBatch(schedule_changes=[one]))
    assert read(store, find_schedule, "a").arguments == {"hour": 2}


def test_what_waits_for_one_ends_with_it(store):
    def wait(name, minutes, trigger):
        moment = NOON + minutes * MINUTE
        origin = make_schedule_origin(name)
        run = WaitingRun("report", moment, trigger, moment, origin=origin, schedule=name)
        store.enqueue_or_advance(run)

    wait("a", 10, Trigger.SCHEDULE)
    wait("a", -10, Trigger.RETRY)
    wait("b", 10, Trigger.SCHEDULE)
    change(store, "a", arguments={"every": "20m"})
    assert store.count_waiting("report") == 2
    change(store, "a", is_removed=True)
    runs = store.tables.runs
    with store.read_session() as session:
        rows = session.connection.execute(select(runs).order_by(runs.c.slot)).all()
    assert [(row.schedule, row.state) for row in rows] == [
        ("a", RunState.CANCELLED.value),
        ("b", RunState.WAITING.value),
    ]
    assert rows[0].error == "its schedule was removed before it began"


def test_removed_ones_are_forgotten_after_a_while(store):
    change(store, "a", is_removed=True)
    change(store, "b")
    with store.write_session() as session:
        prune_removed(session, NOON + MINUTE)
    assert [one.name for one in read(store, read_news, 0, 10)] == ["b"]
    assert read(store, read_version) == 2


def test_to_forget_all_is_a_change_of_each_that_others_hear_of(store):
    for name in ("a", "b"):
        change(store, name, payload=1)
    forget_all(store)
    news = read(store, read_news, 2, 10)
    assert [(one.is_off, one.arguments) for one in news] == [(True, "{}")] * 2
    assert sorted(one.version for one in news) == [3, 4]
    assert read(store, read_version) == 4
    assert read(store, list_schedules) == []
    forget_all(store)
    assert read(store, read_version) == 4
