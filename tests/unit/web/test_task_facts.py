"""What the page of a task says of its source and history; how tasks are found and sorted."""

from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from webtest import TestApp

from pyramid_cron import Run, RunState
from pyramid_cron.app import get_cron
from pyramid_cron.run import Trigger
from pyramid_cron.store.queries import RunCount, count_runs_by_quarter
from pyramid_cron.testing import CronTester
from pyramid_cron.web.task_facts import (
    calendar_data,
    count_failures_in_a_row,
    crontab_lines,
    describe_source,
    duration_data,
)
from tests.apps import NOON, configure
from tests.records import claim, ended, slot, write

BERLIN = ZoneInfo("Europe/Berlin")
DAY = timedelta(days=1)
HTML = {"Accept": "text/html"}


def run(state, seconds=1.0):
    finished = NOON + timedelta(seconds=seconds)
    return Run("id", "a", NOON, 1, Trigger.SCHEDULE, state, "h", 1, started=NOON, finished=finished)


def nightly(system):
    """Clean up."""


class Callable:
    def __call__(self, system):
        pass


class TestSource:
    def test_a_function_has_its_name_and_its_line(self):
        source = describe_source(partial(nightly))
        assert source["function"] == f"{__name__}.nightly"
        file, _, line = source["file"].rpartition(":")
        assert (file, int(line)) == (__file__, nightly.__code__.co_firstlineno)

    def test_an_object_has_that_of_its_class(self):
        source = describe_source(Callable())
        assert (source["function"], source["file"]) == (f"{__name__}.Callable", None)

    def test_a_program_has_its_command_line(self):
        config = configure()
        config.add_cron_command(["echo", "a b"], name="program", hour=1)
        config.commit()
        [task] = get_cron(config.registry).task_registry.tasks
        assert describe_source(task.function)["command"] == "echo 'a b'"


def test_a_schedule_is_shown_as_crontab_has_it_where_that_can_say_it():
    config = configure()
    config.add_cron_task(nightly, name="a", hour=2, min=30)
    config.add_cron_task(nightly, name="b", every="90s")
    config.add_cron_task(nightly, name="c", hour=2, jitter="10m")
    config.commit()
    tasks = get_cron(config.registry).task_registry.tasks
    assert [crontab_lines(task) for task in tasks[:2]] == [["30 2 * * *"], None]


class TestDurations:
    def test_half_of_them_are_below_the_median(self):
        runs = [run(RunState.SUCCEEDED, seconds) for seconds in range(1, 21)]
        data = duration_data(runs)
        assert data == {"count": 20, "median": 10, "p95": 19, "longest": 20}

    def test_there_are_none_without_a_run(self):
        assert duration_data([]) is None


def test_failures_in_a_row_end_with_a_success():
    states = (RunState.FAILED, RunState.SKIPPED, RunState.LOST, RunState.SUCCEEDED, RunState.FAILED)
    assert count_failures_in_a_row([run(state) for state in states]) == 2
    assert count_failures_in_a_row([]) == 0


class TestCalendar:
    def test_a_day_is_one_of_the_zone(self):
        late = NOON.replace(hour=22)  # 0:00 in Berlin
        counts = [
            RunCount(late - DAY, "succeeded", None, 3),
            RunCount(late - DAY - timedelta(minutes=15), "timed_out", None, 1),
            RunCount(NOON, "skipped", "missed", 2),
            RunCount(NOON, "skipped", "overlap", 1),
        ]
        days = calendar_data(counts, NOON, BERLIN)
        assert [day["day"] for day in (days[0], days[-1])] == ["2026-05-17", "2026-06-15"]
        assert days[-1] == {
            "day": "2026-06-15",
            "since": "2026-06-14T22:00:00Z",
            "until": "2026-06-15T22:00:00Z",
            "succeeded": 3,
            "failed": 0,
            "missed": 2,
            "skipped": 1,
            "cancelled": 0,
        }
        assert (days[-2]["failed"], days[-3]["failed"]) == (1, 0)

    def test_days_of_a_change_of_clocks_are_whole(self):
        days = calendar_data([], NOON.replace(month=4, day=10), BERLIN)
        lengths = {day["day"]: (day["since"][11:13], day["until"][11:13]) for day in days}
        assert lengths["2026-03-29"] == ("23", "22")


def app_of(config, at=NOON):
    app = config.make_wsgi_app()
    CronTester(app).tick(at=at)
    get_cron(app.registry).clock = lambda: at
    return TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})


def fail(system):
    raise ValueError("no")


@pytest.fixture
def app():
    config = configure()
    config.add_cron_task(nightly, name="b-nightly", hour=13)
    config.add_cron_task(nightly, name="c-often")
    config.add_cron_task(fail, name="d-failing", hour=12)
    config.add_cron_task(nightly, name="a-never", on_demand=True, description="Send letters.")
    return app_of(config)


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("state", "dbca"),
        ("", "dbca"),
        ("next", "cbda"),
        ("last", "dcba"),
        ("name", "abcd"),
    ],
)
def test_tasks_are_sorted(app, sort, names):
    tasks = app.get(f"/cron/tasks?sort={sort}").json["tasks"]
    assert "".join(task["task"][0] for task in tasks) == names
    page = app.get(f"/cron/tasks?sort={sort}", headers=HTML).html
    assert len(page.find_all(attrs={"aria-sort": True})) == 1


def test_an_unknown_order_is_refused(app):
    app.get("/cron/tasks?sort=odd", status=400)


def test_tasks_are_found_by_name_and_description(app):
    for text, count in (("letters", 1), ("NIGHT", 1), ("clean up", 2), ("nothing", 0)):
        assert app.get("/cron/tasks", {"q": text}).json["total"] == count
    next_page = app.get("/cron/tasks?q=clean&sort=name&limit=1").json["next"]
    assert [task["task"] for task in app.get(next_page).json["tasks"]] == ["c-often"]


def test_the_zone_that_is_the_default_is_not_repeated(app):
    assert app.get("/cron/tasks/b-nightly").json["schedule"] == "at 13:00 every day (UTC)"
    for page in ("tasks", "tasks/b-nightly"):
        assert "(UTC)" not in app.get(f"/cron/{page}", headers=HTML).text


def test_a_mistyped_task_is_told(app):
    answer = app.get("/cron/tasks/c-oftne", status=404)
    assert "did you mean 'c-often'?" in answer.text


def test_the_page_of_a_task_has_it_all(app):
    data = app.get("/cron/tasks/d-failing").json
    assert (data["failures_in_a_row"], data["last_success"]) == (1, None)
    assert data["days"][-1]["failed"] == 1
    page = app.get("/cron/tasks/d-failing", headers=HTML).html
    facts = {term.text: term.find_next("dd").text for term in page.find_all("dt")}
    assert "tests.unit.web.test_task_facts.fail" in facts["Function"]
    assert "0 12 * * *" in facts["When"]
    assert facts["executor"] == "request"
    assert len(page.find(class_="calendar").find_all("li")) == 30
    often = app.get("/cron/tasks/c-often").json
    assert often["last_success"]["run"] == often["runs"][0]["run"]
    assert app.get(often["last_success"]["url"]).json["state"] == "succeeded"


def test_runs_are_counted_by_the_quarters_in_which_they_were_claimed():
    config = configure()
    config.commit()
    store = get_cron(config.registry).store
    runs = claim(store, slot("a", NOON), slot("b", NOON))
    runs += claim(store, slot("a", NOON + DAY), now=NOON + timedelta(minutes=29))
    write(store, *map(ended, runs))
    counts = count_runs_by_quarter(store, "a", NOON)
    quarters = [(count.since, count.state, count.count) for count in counts]
    assert sorted(quarters) == [
        (NOON, "succeeded", 1),
        (NOON + timedelta(minutes=15), "succeeded", 1),
    ]
    assert count_runs_by_quarter(store, "a", NOON + timedelta(hours=1)) == []
