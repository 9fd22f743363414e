"""What the pages ask is found by an index."""

from datetime import timedelta

import pytest
from sqlalchemy import event, make_url

from pyramid_cron.run import RunState
from pyramid_cron.store import reports
from pyramid_cron.store.store import Store
from tests.apps import NOON
from tests.records import claim, slot

QUESTIONS = {
    "recent": (lambda store: reports.recent(store, ["a", "b"], 20), "runs_by_task"),
    "of a task": (lambda store: reports.page_of_runs(store, 50, task="a"), "runs_by_task"),
    "of a task in a state": (
        lambda store: reports.page_of_runs(store, 50, task="a", states=[RunState.LOST]),
        "runs_by_task",
    ),
    "in a state": (
        lambda store: reports.page_of_runs(store, 50, states=[RunState.LOST], before="01"),
        "runs_by_state",
    ),
    "of a day": (
        lambda store: reports.carried_out(store, NOON - timedelta(days=1), NOON, 10),
        "sqlite_autoindex_cron_runs_1",
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_runs_are_found_by_an_index_and_not_sorted(question):
    ask, index = QUESTIONS[question]
    store = Store(make_url("sqlite://"), "cron_")
    claim(store, slot("a"), slot("b"))
    asked = []
    engine = store.database._engine
    event.listen(engine, "before_cursor_execute", lambda *heard: asked.append(heard[2:4]))
    ask(store)
    [(statement, values)] = [each for each in asked if each[0].startswith("SELECT")]
    with store.database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    steps = " ".join(step[3] for step in plan)
    assert index in steps
    assert "TEMP B-TREE" not in steps
    assert "SCAN cron_runs" not in steps
