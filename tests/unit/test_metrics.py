"""What Prometheus reads at ``/metrics``, by its own parser."""

import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse
from webtest import TestApp

from pyramid_cron import RunReason, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.store.retention import prune
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure
from tests.records import MINUTE, SECOND, claim, ended, slot, wait, write

HOUR = timedelta(hours=1)
LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
ODD = 'it\'s "quoted" \\ {a="b"} übel 🕑 #'


def broken(system):
    raise ValueError("no")


def nothing(system):
    """Do nothing."""


class App:
    """An application with its trigger, its pages and its clock."""

    def __init__(self, config):
        app = config.make_wsgi_app()
        self.registry = app.registry
        self.web = TestApp(app, extra_environ=LOCAL)
        self.cron = get_cron(app.registry)
        self.tick = CronTester(app).tick

    def metrics(self, at=None, parser=parse, **headers):
        """Samples by name, then by labels' values in the order of their names."""
        if at is not None:
            self.cron.clock = lambda: at
        answer = self.web.get("/cron/metrics", headers=headers)
        samples = {}
        for family in parser(answer.text):
            for sample in family.samples:
                key = tuple(sample.labels[name] for name in sorted(sample.labels))
                samples.setdefault(sample.name.removeprefix("pyramid_cron_"), {})[key] = (
                    sample.value
                )
        return samples


def make(*tasks, **settings):
    config = configure(**settings)
    for function, arguments in tasks:
        config.add_cron_task(function, **arguments)
    return App(config)


def positive(values):
    """The samples that are not 0."""
    return {labels: value for labels, value in values.items() if value}


def test_all_that_can_be_counted_is_there_from_the_start():
    samples = make((nothing, {"name": "a", "hour": 14})).metrics(NOON)
    states = ["succeeded", "failed", "timed_out", "cancelled", "lost", "skipped"]
    assert samples["runs_total"] == {(state, "a"): 0 for state in states}
    assert samples["skipped_slots_total"] == {(reason.value, "a"): 0 for reason in RunReason}
    assert samples["run_duration_seconds_count"] == {("a",): 0}
    assert set(samples["run_duration_seconds_bucket"].values()) == {0}
    assert samples["next_run_timestamp_seconds"] == {("a",): (NOON + 2 * HOUR).timestamp()}


def test_durations_and_lateness_are_histograms():
    app = make((nothing, {"name": "a", "on_demand": True}))
    runs = claim(app.cron.store, *[slot("a", NOON + i * MINUTE) for i in range(4)])
    lengths = [timedelta(milliseconds=100), 2 * SECOND, 40 * MINUTE, timedelta(days=1)]
    write(
        app.cron.store, *[ended(run, after=each) for run, each in zip(runs, lengths, strict=True)]
    )
    buckets = app.metrics(NOON)["run_duration_seconds_bucket"]
    counts = {float(bound): count for (bound, task), count in buckets.items()}
    assert counts == {
        0.1: 1,
        0.5: 1,
        1: 1,
        5: 2,
        15: 2,
        60: 2,
        300: 2,
        900: 2,
        3600: 3,
        14400: 3,
        float("inf"): 4,
    }
    assert app.metrics(NOON)["run_lateness_seconds_bucket"]["+Inf", "a"] == 4


def test_capacity_is_what_runs_outside_of_requests_weigh_and_what_they_may():
    app = make(
        (nothing, {"name": "a", "on_demand": True, "executor": "thread", "weight": 3}),
        **{"cron.capacity": "5"},
    )
    with app.cron.store.claim_transaction(NOON, NOON + MINUTE) as claims:
        claims.claim([slot("a")], weight_of=lambda name: 3)
    samples = app.metrics(NOON)
    assert samples["capacity_used"] == {(): 3}
    assert samples["capacity_limit"] == {(): 5}


def test_a_paused_task_has_no_next_run():
    app = make((nothing, {"name": "a", "hour": 14}))
    app.tick(at=NOON)
    app.cron.clock = lambda: NOON
    scheduler(app.registry).pause("a")
    assert "next_run_timestamp_seconds" not in app.metrics(NOON)


def test_stored_schedules_are_counted_by_state(tmp_path):
    url = {"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"}
    app = make((nothing, {"name": "a", "on_demand": True}), (nothing, {"name": "b"}), **url)
    control = scheduler(app.registry)
    for name, task, enabled in (
        ("one", "a", True),
        ("two", "a", True),
        ("three", "a", True),
        ("off", "a", False),
        ("gone", "a", True),
        ("away", "b", True),
    ):
        control.schedule(name, task, enabled=enabled, every="1h")
    control.unschedule("gone")
    counts = {"ok": 4, "paused": 0, "disabled": 1, "orphaned": 0, "broken": 0}
    assert app.metrics()["schedules"] == {(state,): n for state, n in counts.items()}
    control.pause("t*")
    with sqlite3.connect(tmp_path / "cron.sqlite") as connection:
        connection.execute(
            "UPDATE cron_schedules SET arguments = '{\"every\": 0}' WHERE name='one'"
        )
    connection.close()
    other = make((nothing, {"name": "a", "on_demand": True}), **url)
    counts = {"ok": 0, "paused": 2, "disabled": 1, "orphaned": 1, "broken": 1}
    assert other.metrics()["schedules"] == {(state,): n for state, n in counts.items()}


def test_runs_are_counted_by_task_and_state():
    app = make((nothing, {"name": "a"}), (broken, {"name": "b"}))
    app.tick(at=NOON)
    app.tick(at=NOON + MINUTE)
    samples = app.metrics(NOON + 90 * SECOND)
    assert positive(samples["runs_total"]) == {("succeeded", "a"): 2, ("failed", "b"): 2}
    assert samples["ticks_total"] == {(): 2}
    assert samples["last_tick_age_seconds"] == {(): 30.0}
    assert samples["last_tick_timestamp_seconds"] == {(): (NOON + MINUTE).timestamp()}
    assert samples["last_success_timestamp_seconds"].keys() == {("a",)}
    assert samples["last_success_timestamp_seconds"]["a",] >= (NOON + MINUTE).timestamp()
    assert samples["run_duration_seconds_count"] == {("a",): 2, ("b",): 2}
    assert samples["run_lateness_seconds_count"] == {("a",): 2, ("b",): 2}
    assert samples["healthy"] == {(): 0}
    assert samples["task_state"]["failing", "b"] == samples["task_state"]["ok", "a"] == 1
    assert samples["task_state"]["failing", "a"] == samples["task_state"]["ok", "b"] == 0
    assert samples["running_runs"] == samples["waiting_slots"] == {("a",): 0, ("b",): 0}


def test_durations_and_lateness_are_sums_in_seconds():
    app = make((nothing, {"name": "a", "on_demand": True}))
    one, two, later = claim(
        app.cron.store, *[slot(origin=f"adhoc:{i}", attempt=i + 1) for i in range(3)]
    )[:3]
    write(app.cron.store, ended(one, after=2 * SECOND), ended(two, after=3 * SECOND))
    write(app.cron.store, ended(later, after=timedelta(milliseconds=1500)))
    samples = app.metrics(NOON)
    assert samples["run_duration_seconds_sum"] == {("a",): 6.5}
    assert samples["run_lateness_seconds_count"] == {("a",): 1}


def test_a_slot_that_is_caught_up_began_late():
    app = make((nothing, {"name": "a", "min": 0, "hour": "*"}))
    app.tick(at=NOON + MINUTE)
    app.tick(at=NOON + 70 * MINUTE)
    late = app.metrics()["run_lateness_seconds_sum"]["a",]
    assert 600 <= late < 660


def test_nothing_goes_down_when_old_runs_are_forgotten():
    app = make((nothing, {"name": "a"}), (broken, {"name": "b"}))
    app.tick(at=NOON)
    before = app.metrics(NOON)
    assert prune(app.cron.store, NOON + timedelta(days=40), 100, "ab", NOON) == 3
    assert app.cron.store.history() == []
    assert app.metrics(NOON) == before


def test_skipped_slots_are_counted_by_reason_each_of_them():
    app = make((nothing, {"name": "a", "min": 0, "hour": "*"}))
    app.tick(at=NOON)
    app.tick(at=NOON + timedelta(hours=5))
    samples = app.metrics(NOON + timedelta(hours=5))
    skipped = {("missed", "a"): 3, ("superseded", "a"): 1}
    assert positive(samples["skipped_slots_total"]) == skipped
    assert samples["runs_total"]["skipped", "a"] == 4
    assert samples["runs_total"]["succeeded", "a"] == 2


def test_what_runs_and_what_waits_are_gauges():
    app = make((nothing, {"name": "a", "on_demand": True}))
    claim(app.cron.store, slot(origin="adhoc:9"))
    wait(app.cron.store, [slot("a", NOON + i * MINUTE) for i in range(3)])
    samples = app.metrics(NOON)
    assert (samples["running_runs"], samples["waiting_slots"]) == ({("a",): 1}, {("a",): 3})


def test_a_lost_run_is_counted_once():
    app = make((nothing, {"name": "a", "on_demand": True}))
    [run] = claim(app.cron.store)
    app.tick(at=NOON + 2 * MINUTE)
    write(app.cron.store, ended(run))
    samples = app.metrics(NOON + 2 * MINUTE)
    assert samples["runs_total"]["lost", "a"] == 1
    assert samples["runs_total"]["succeeded", "a"] == 0


def test_labels_are_those_of_a_metric_to_join_others_with():
    labels = {"team": "billing", "cost-center": "7"}
    app = make((nothing, {"name": "a", "labels": labels}), (nothing, {"name": "b"}))
    answer = app.web.get("/cron/metrics").text
    assert 'task_info{label_cost_center="7",label_team="billing",task="a"} 1.0' in answer
    assert app.metrics()["task_info"] == {("7", "billing", "a"): 1, ("", "", "b"): 1}


def test_odd_names_come_through():
    app = make((nothing, {"name": ODD}))
    app.tick(at=NOON)
    assert app.metrics(NOON)["runs_total"]["succeeded", ODD] == 1


def test_a_scraper_that_asks_for_openmetrics_gets_it():
    app = make((nothing, {"name": ODD}))
    app.tick(at=NOON)
    accept = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    samples = app.metrics(NOON, parse_openmetrics, Accept=accept)
    assert samples["runs_total"]["succeeded", ODD] == 1
    answer = app.web.get("/cron/metrics", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.headers["Cache-Control"] == "no-store"


def test_an_app_that_never_ticked_has_no_age_of_its_last_tick():
    samples = make((nothing, {"name": "a"})).metrics(NOON)
    assert "last_tick_age_seconds" not in samples
    assert samples["ticks_total"] == {(): 0}


PROGRAM = """
import sys
from datetime import timedelta
from tests.apps import NOON, configure, cron_of
config = configure(**{"cron.url": sys.argv[1]})
config.add_cron_task(lambda system: None, name="a")
config.add_cron_task(lambda system: 1 / 0, name="b")
cron_of(config).tick(at=NOON + timedelta(minutes=int(sys.argv[2])))
"""


@pytest.mark.system
def test_it_is_right_with_several_processes(tmp_path):
    url = f"sqlite:///{tmp_path}/cron.sqlite"
    app = make((nothing, {"name": "a"}), (nothing, {"name": "b"}), **{"cron.url": url})
    app.tick(at=NOON)
    root = Path(__file__).parents[2]
    others = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, url, minute], cwd=root)
        for minute in ("1", "1")
    ]
    assert [process.wait(60) for process in others] == [0, 0]
    samples = app.metrics(NOON + MINUTE)
    assert positive(samples["runs_total"]) == {
        ("succeeded", "a"): 2,
        ("succeeded", "b"): 1,
        ("failed", "b"): 1,
    }
    assert samples["ticks_total"] == {(): 3}


def test_without_the_extra_the_answer_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = make().web.get("/cron/metrics", status=501)
    assert answer.text == "metrics need prometheus_client: install pyramid_cron[prometheus]"


def test_pages_link_to_the_metrics_where_there_are_some(monkeypatch):
    page = make().web.get("/cron/tasks", headers={"Accept": "text/html"})
    assert page.click("Metrics").content_type == "text/plain"
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert "metrics" not in page.goto("/cron/tasks", headers={"Accept": "text/html"})


def test_strangers_learn_nothing():
    app = make()
    stranger = {"REMOTE_ADDR": "203.0.113.9"}
    assert "pyramid_cron_" not in app.web.get("/cron/metrics", extra_environ=stranger, status=403)


def test_a_store_that_cannot_be_read_is_a_503(tmp_path):
    (tmp_path / "sub").mkdir()
    app = make(**{"cron.url": f"sqlite:///{tmp_path}/sub/cron.sqlite"})
    (tmp_path / "sub").rmdir()
    assert app.web.get("/cron/metrics", status=503).text.startswith("the store can't be read: cron")


@pytest.mark.parametrize("number", range(2))
def test_two_apps_in_one_process_have_metrics_of_their_own(number):
    apps = [make((nothing, {"name": f"task{i}"})) for i in range(2)]
    for app in apps:
        app.tick(at=NOON)
    assert apps[number].metrics(NOON)["running_runs"].keys() == {(f"task{number}",)}
