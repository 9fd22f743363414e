"""How the tasks are, by what is on record, and what ``/health`` answers."""

import sys
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.planning.health import HealthState
from pyramid_cron.run import RunState, Trigger
from pyramid_cron.store.handoff import hand_off_run, take_over_run
from pyramid_cron.store.retention import prune
from pyramid_cron.web import pages
from tests.apps import NOON, configure, cron_of
from tests.records import MINUTE, SECOND, claim, ended, slot, wait, write

LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def nothing(system):
    """Do nothing."""


def broken(system):
    raise ValueError("no\nway")


def make(*tasks, ticked=NOON, **settings):
    """An application's cron that has ticked once, with tasks as (function, arguments)."""
    config = configure(**settings)
    for function, arguments in tasks:
        config.add_cron_task(function, **arguments)
    tester = cron_of(config)
    if ticked is not None:
        tester.tick(at=ticked)
    return tester


def at(tester, moment):
    """Set the clock, which goes on from there no more."""
    get_cron(tester.registry).clock = lambda: moment


def health_at(tester, moment):
    at(tester, moment)
    return scheduler(tester.registry).health()


def only(tester, moment):
    """How the only task is."""
    [task] = health_at(tester, moment).tasks
    return task


def store_of(tester):
    return get_cron(tester.registry).store


def test_all_is_well_where_ticks_come_and_tasks_succeed():
    tester = make((nothing, {"name": "a"}))
    health = health_at(tester, NOON + 30 * SECOND)
    assert health.is_healthy
    assert (health.last_tick, health.since_last_tick) == (NOON, 30.0)
    [task] = health.tasks
    assert (task.name, task.state, task.detail) == ("a", "ok", None)
    assert task.next == NOON + MINUTE
    assert task.last.state is RunState.SUCCEEDED


def test_a_slot_that_no_tick_came_for_is_late_after_three_minutes():
    tester = make((nothing, {"name": "a", "min": 5, "hour": "*"}))
    due = NOON + 5 * MINUTE
    assert only(tester, due + 3 * MINUTE).state == "ok"
    late = only(tester, due + 3 * MINUTE + SECOND)
    assert (late.state, late.next) == ("late", due + 60 * MINUTE)
    assert late.detail == "due since 2026-06-15T12:05:00Z, and no tick has come for it"
    tester.tick(at=due + 4 * MINUTE)
    assert only(tester, due + 4 * MINUTE).state == "ok"


def test_a_retry_that_no_tick_came_for_is_late():
    tester = make((broken, {"name": "a", "min": 0, "hour": "*", "retry": 2}))
    retrying = only(tester, NOON + 2 * MINUTE)
    assert (retrying.state, retrying.last.state) == ("waiting", "failed")
    late = only(tester, NOON + 4 * MINUTE)
    assert late.state == "late"
    assert late.detail.startswith("waits to run since 2026-06-15T12:00:3")


@pytest.mark.parametrize(
    ("waiting", "following"),
    [
        ([slot(moment=NOON + 20 * MINUTE)], NOON + 20 * MINUTE),
        (
            [slot(moment=NOON + 20 * MINUTE, trigger=Trigger.DEFERRED, origin="adhoc:7")],
            NOON + 60 * MINUTE,
        ),
    ],
)
def test_the_next_slot_of_a_task_that_paces_itself_is_what_it_goes_on_with(waiting, following):
    task = {"name": "a", "every": "1h", "overlap": "delay"}
    tester = make((nothing, task), ticked=NOON + MINUTE)
    wait(store_of(tester), waiting)
    assert only(tester, NOON + 2 * MINUTE).next == following


def test_a_task_whose_newest_slot_was_missed_says_so_until_it_runs():
    tester = make((nothing, {"name": "a", "min": 0, "hour": "*", "grace": "5m"}))
    tester.tick(at=NOON + 70 * MINUTE)
    assert only(tester, NOON + 70 * MINUTE).state == "missed"
    tester.tick(at=NOON + 120 * MINUTE)
    assert only(tester, NOON + 120 * MINUTE).state == "ok"


def test_a_task_whose_older_slots_were_missed_but_not_the_newest_is_ok():
    tester = make((nothing, {"name": "a", "min": 0, "hour": "*"}))
    report = tester.tick(at=NOON + 180 * MINUTE)
    assert [run.reason.value for run in report.skipped] == ["missed", "superseded"]
    assert only(tester, NOON + 180 * MINUTE).state == "ok"


def test_a_task_fails_until_a_run_succeeds_whatever_is_skipped_meanwhile():
    works = []

    def sometimes(system):
        if not works:
            broken(system)

    tester = make((sometimes, {"name": "a", "when": lambda system: len(works) != 1}))
    task = only(tester, NOON)
    assert (task.state, task.last.state) == ("failing", "failed")
    assert task.detail == f"run {task.last.id} failed: ValueError: no"
    works.append(1)
    assert tester.tick(at=NOON + MINUTE).skipped[0].reason == "condition"
    assert only(tester, NOON + MINUTE).state == "failing"
    works.append(2)
    tester.tick(at=NOON + 2 * MINUTE)
    assert only(tester, NOON + 2 * MINUTE).state == "ok"


def test_a_failure_is_known_even_once_the_run_is_forgotten():
    tester = make((broken, {"name": "a"}))
    prune(store_of(tester), NOON + timedelta(days=1), 100, ["a"], NOON)
    task = only(tester, NOON)
    assert (task.state, task.last) == ("failing", None)
    assert task.detail == "its newest run failed"


def going_on(tester, **claimed):
    """Let another process begin a run of the task at noon."""
    [run] = claim(store_of(tester), slot(origin="adhoc:7"), lease=timedelta(days=1), **claimed)
    write(store_of(tester), replace(run, state=RunState.RUNNING, started=NOON))
    return run


def test_a_run_that_takes_ten_times_as_long_as_usual_is_stuck():
    tester = make((nothing, {"name": "a", "on_demand": True}))
    [earlier] = claim(store_of(tester), slot(origin="adhoc:5"))
    write(store_of(tester), ended(earlier, after=2 * MINUTE))
    going_on(tester)
    assert only(tester, NOON + 20 * MINUTE).state == "running"
    assert only(tester, NOON + 20 * MINUTE + SECOND).state == "stuck"


def sent(tester):
    """Let another process send a run of the task at noon; return it."""
    [run] = claim(store_of(tester), slot(origin="adhoc:7"))
    hand_off_run(store_of(tester), run.id, NOON + 60 * MINUTE)
    return run


def queued():
    """An application's cron with a task that goes to a queue, which nobody listens to."""
    config = configure()
    config.add_cron_queue("post", lambda run: None)
    config.add_cron_task(nothing, name="a", on_demand=True, executor="post")
    tester = cron_of(config)
    tester.tick(at=NOON)
    return tester


def test_a_run_that_was_sent_and_that_no_worker_takes_up_is_stuck_after_three_minutes():
    tester = queued()
    run = sent(tester)
    assert only(tester, NOON + 3 * MINUTE).state == "running"
    stuck = only(tester, NOON + 3 * MINUTE + SECOND)
    assert stuck.state == "stuck"
    assert stuck.detail.startswith(
        f"was sent, and no worker has taken it up within 3 minutes: run {run.id} on "
    )
    take_over_run(store_of(tester), run.id, NOON + 4 * MINUTE, NOON + 5 * MINUTE)
    assert only(tester, NOON + 4 * MINUTE).state == "running"


def test_a_paused_task_is_healthy_and_says_why_it_is_paused():
    tester = make((broken, {"name": "a"}))
    at(tester, NOON)
    scheduler(tester.registry).pause("a", until=NOON + 60 * MINUTE, reason="moving house")
    health = health_at(tester, NOON + MINUTE)
    assert health.is_healthy
    assert health.tasks[0].state == "paused"
    assert health.tasks[0].detail == (
        "since 2026-06-15T12:00:00Z until 2026-06-15T13:00:00Z: moving house"
    )


def test_a_task_that_gives_up_stays_unhealthy_until_somebody_sees_to_it():
    tester = make((broken, {"name": "a", "pause_after": 2}))
    assert only(tester, NOON).state == "failing"
    tester.tick(at=NOON + MINUTE)
    health = health_at(tester, NOON + 2 * MINUTE)
    assert not health.is_healthy
    assert (health.tasks[0].state, health.tasks[0].next) == ("gave_up", None)
    assert health.tasks[0].detail.endswith("Z: 2 failures in a row")
    scheduler(tester.registry).pause("*")
    assert only(tester, NOON + 2 * MINUTE).state == "paused"
    scheduler(tester.registry).resume("a")
    assert only(tester, NOON + 2 * MINUTE).state == "failing"


def test_deferred_work_that_is_to_run_later_does_not_wait_yet():
    tester = make((nothing, {"name": "a", "on_demand": True}))
    at(tester, NOON)
    scheduler(tester.registry).defer("a", after="1h")
    assert only(tester, NOON).state == "ok"
    assert only(tester, NOON + 61 * MINUTE).state == "waiting"


def test_a_task_that_is_not_registered_any_more_is_orphaned_for_a_week(tmp_path):
    url = f"sqlite:///{tmp_path}/cron.sqlite"
    make((broken, {"name": "a"}), **{"cron.url": url})
    tester = make(ticked=NOON + MINUTE, **{"cron.url": url})
    health = health_at(tester, NOON + MINUTE)
    assert health.is_healthy
    assert [(task.name, task.state) for task in health.tasks] == [("a", "orphaned")]
    assert health.tasks[0].last.state == "failed"
    assert health_at(tester, NOON + timedelta(days=8)).tasks == ()


def test_what_waits_for_a_task_that_is_gone_is_orphaned():
    tester = make()
    wait(store_of(tester), [slot("gone")])
    assert only(tester, NOON).state == HealthState.ORPHANED


def test_a_tick_of_another_process_counts(tmp_path):
    url = f"sqlite:///{tmp_path}/cron.sqlite"
    one = make((nothing, {"name": "a"}), **{"cron.url": url})
    make((nothing, {"name": "a"}), ticked=NOON + 10 * MINUTE, **{"cron.url": url})
    health = health_at(one, NOON + 11 * MINUTE)
    assert health.is_healthy
    assert health.last_tick == NOON + 10 * MINUTE


def test_an_older_version_that_ticks_sees_to_the_tasks_that_it_knows(tmp_path):
    url = f"sqlite:///{tmp_path}/cron.sqlite"
    new = make((nothing, {"name": "a"}), (nothing, {"name": "new"}), **{"cron.url": url})
    make((nothing, {"name": "a"}), ticked=NOON + 10 * MINUTE, **{"cron.url": url})
    health = health_at(new, NOON + 10 * MINUTE)
    assert [(task.name, task.state) for task in health.tasks] == [("a", "ok"), ("new", "late")]


def test_it_takes_a_handful_of_queries_whatever_the_number_of_tasks():
    tester = make(*[(broken, {"name": f"task {number}"}) for number in range(60)])
    statements = []
    engine = store_of(tester).database._engine
    here = threading.get_ident()  # and not what the supervisor does beside it

    def hear(_connection, _cursor, statement, *_):
        if threading.get_ident() == here:
            statements.append(statement)

    event.listen(engine, "before_cursor_execute", hear)
    assert len(health_at(tester, NOON).tasks) == 60
    assert len(statements) <= 10, statements


# The URL.


def web_of(tester_or_config, **environ):
    return TestApp(tester_or_config.make_wsgi_app(), extra_environ=LOCAL | environ)


def test_the_url_says_ok():
    config = configure()
    config.add_cron_task(nothing, name="a")
    web = web_of(config)
    web.get("/cron")
    answer = web.get("/cron/health")
    assert (answer.text, answer.content_type) == ("ok", "text/plain")
    assert answer.headers["Cache-Control"] == "no-store"
    assert web.get("/cron/health", headers=JSON).json["healthy"] is True


def test_the_url_answers_503_with_a_line_for_each_unhealthy_thing():
    config = configure()
    config.add_cron_task(broken, name="überfällig")
    config.add_cron_task(nothing, name="fine")
    web = web_of(config)
    assert web.get("/cron/health", status=503).text == "no tick has come yet"
    web.get("/cron")
    answer = web.get("/cron/health", status=503)
    [line] = answer.text.splitlines()
    assert line.startswith("überfällig: failing, run ")
    told = web.get("/cron/health", headers=JSON, status=503)
    assert told.headers["Cache-Control"] == "no-store"
    assert [task["state"] for task in told.json["tasks"]] == ["failing", "ok"]


def test_a_browser_gets_a_page_with_the_same_status():
    config = configure()
    config.add_cron_task(nothing, name="fine")
    config.add_cron_task(broken, name="<late>")
    web = web_of(config)
    page = web.get("/cron/health", headers=HTML, status=503)
    assert page.content_type == "text/html"
    assert "No tick has come yet: nothing runs." in page.text
    web.get("/cron")
    page = web.get("/cron/health", headers=HTML, status=503)
    assert "Not all is well." in page.text
    assert page.html.find(attrs={"aria-current": "page"}).text == "Health"
    [first, second] = page.html.find("tbody").find_all("tr")
    assert first.find("th").text == "<late>"
    assert "failing" in first.find(class_="state").text
    assert "failed: ValueError: no" in first.text
    assert "ok" in second.find(class_="state").text


def test_a_page_of_health_says_that_all_is_well():
    config = configure()
    config.add_cron_task(nothing, name="fine")
    web = web_of(config)
    web.get("/cron")
    page = web.get("/cron/health", headers=HTML)
    assert "All is well." in page.text
    assert page.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "text/plain"),
        ("text/plain, text/html;q=0.5", "text/plain"),
        ("text/html, application/json;q=0.5", "text/html"),
        ("text/html, application/json", "application/json"),
    ],
)
def test_the_url_answers_in_the_form_that_is_asked_for_most(accept, kind):
    web = web_of(configure())
    answer = web.get("/cron/health", headers={"Accept": accept}, status=503)
    assert answer.content_type == kind


def test_without_jinja2_a_browser_is_told_in_plain_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    pages.template_environment.cache_clear()
    answer = web_of(configure()).get("/cron/health", headers=HTML, status=503)
    assert (answer.text, answer.content_type) == ("no tick has come yet", "text/plain")


@pytest.mark.parametrize("headers", [{}, HTML])
def test_control_characters_are_spelled_out(headers):
    def sly(system):
        raise ValueError("\x1b[2Jall is well\x07")

    config = configure()
    config.add_cron_task(sly, name="sly")
    web = web_of(config)
    web.get("/cron")
    text = web.get("/cron/health", headers=headers, status=503).text
    assert "\\x1b[2Jall is well\\x07" in text
    assert not {"\x1b", "\x07"} & set(text)


def test_strangers_learn_nothing():
    web = web_of(configure(), REMOTE_ADDR="203.0.113.9")
    assert "tick" not in web.get("/cron/health", status=403).text


def test_a_store_that_cannot_be_read_is_a_503_that_says_so(tmp_path):
    config = configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"})
    web = web_of(config)
    web.get("/cron")
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "cron.sqlite").write_text("this is no database" * 100)
    answer = web.get("/cron/health", status=503)
    assert answer.text.startswith("the store can't be read: cron.url sqlite:///")
    assert web.get("/cron/health", headers=JSON, status=503).json["healthy"] is False
    page = web.get("/cron/health", headers=HTML, status=503)
    assert page.content_type == "text/html"
    assert "the store can&#39;t be read: cron.url sqlite:///" in page.text


def test_the_url_follows_the_path_of_the_trigger():
    web = web_of(configure(**{"cron.path": "/timer"}))
    assert web.get("/timer/health", status=503).text == "no tick has come yet"
