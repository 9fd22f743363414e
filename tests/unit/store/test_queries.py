"""What the pages ask is found by an index."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, make_url

from pyramid_cron.run import RunState
from pyramid_cron.store import queries
from pyramid_cron.store.store import Store
from pyramid_cron.store.waiting import find_waiting_ids
from tests.apps import NOON
from tests.records import claim, ended, slot, write

QUESTIONS = {
    "recent": (lambda store: queries.list_recent_runs(store, ["a", "b"], 20), "runs_by_task"),
    "of a task": (lambda store: queries.list_runs(store, 50, task="a"), "runs_by_task"),
    "of a task in a state": (
        lambda store: queries.list_runs(store, 50, task="a", states=[RunState.LOST]),
        "runs_by_task",
    ),
    "in a state": (
        lambda store: queries.list_runs(store, 50, states=[RunState.LOST], before="01"),
        "runs_by_state",
    ),
    "of all": (lambda store: queries.list_runs(store, 50), "runs_by_time"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_runs_are_found_by_an_index_and_not_sorted(question):
    ask, index = QUESTIONS[question]
    steps = steps_of(ask)
    assert index in steps
    assert "TEMP B-TREE" not in steps
    assert "SCAN cron_runs" not in steps


def test_of_a_day_no_others_are_read():
    day = timedelta(days=1)
    steps = steps_of(lambda store: queries.list_spans(store, NOON - day, NOON, 10), 3)
    by_time = "SEARCH cron_runs USING INDEX cron_runs_by_time (claimed>? AND claimed<?)"
    assert steps.count("cron_runs_by_time") == steps.count(by_time) == 2
    assert "cron_runs_active" in steps
    assert "SCAN cron_runs" not in steps


def test_the_calendar_of_a_task_reads_no_other():
    steps = steps_of(lambda store: queries.count_runs_by_quarter(store, "a", NOON))
    assert "SEARCH cron_runs USING INDEX cron_runs_by_task (task=? AND claimed>?)" in steps


def test_what_every_page_tells_reads_no_run_that_is_over():
    steps = steps_of(lambda store: queries.read_overview(store, "", NOON), 20)
    assert "SEARCH cron_runs USING INDEX cron_runs_waiting (not_before>?)" in steps
    assert "SCAN cron_runs " not in steps


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.count_waiting("a"),
        lambda store: find_waiting_ids(store, "a", None),
        lambda store: read_snapshot(store, ["a"]),
    ],
)
def test_what_waits_of_a_task_is_found_among_what_waits(ask):
    steps = steps_of(ask, 4)
    assert "cron_runs_waiting" in steps
    assert "cron_runs_by_task" not in steps


def read_snapshot(store, fixed_delay_names):
    with store.claim_transaction(NOON, NOON + timedelta(minutes=1)) as claims:
        claims.snapshot(fixed_delay_names)


def steps_of(ask, count=1):
    """The steps in which SQLite answers a question, by so many queries."""
    store = Store(make_url("sqlite://"), "cron_")
    claim(store, slot("a"), slot("b"))
    asked = []
    engine = store.database._engine
    event.listen(engine, "before_cursor_execute", lambda *heard: asked.append(heard[2:4]))
    ask(store)
    # The ends of active runs, which are asked for after that, are found by their keys.
    queries = [each for each in asked if each[0].startswith("SELECT")][:count]
    with store.database.read() as connection:
        plan = [
            step
            for statement, values in queries
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    return " ".join(step[3] for step in plan)


def test_of_a_day_are_runs_that_went_on_in_it_whenever_they_began(store):
    day = timedelta(days=1)
    noon = {name: NOON - times * day for name, times in (("old", 3), ("long", 2), ("ended", 1.5))}
    runs = {
        name: claim(store, slot(name, moment), now=moment, lease=9 * day)[0]
        for name, moment in noon.items()
    }
    for name in ("late", "unbegun"):
        [runs[name]] = claim(store, slot(name), now=NOON, lease=9 * day)
    write(store, ended(runs["old"]))
    write(store, replace(runs["long"], state=RunState.RUNNING, started=noon["long"]))
    write(store, ended(runs["ended"], after=0.6 * day))
    write(store, ended(runs["late"]))
    found = queries.list_spans(store, NOON - day, NOON + day, 10)
    tasks = [run.task for run in found]
    assert (set(tasks[:2]), tasks[2:]) == ({"unbegun", "late"}, ["long", "ended"])
    newest = queries.list_spans(store, NOON - day, NOON + day, 1)
    assert newest == found[:1]
