"""The timeline: a lane for each task, with runs, skipped slots and what is to come."""

from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron.app import get_cron
from pyramid_cron.store.queries import RunSpan
from pyramid_cron.testing import CronTester
from pyramid_cron.web.timeline import Span, make_lanes
from tests.apps import NOON, configure

HTML = {"Accept": "text/html"}
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SPAN = Span(NOON - 12 * HOUR, NOON + 12 * HOUR, NOON)


def span(state="succeeded", after=HOUR, took=MINUTE, task="a", reason=None):
    started = None if took is None else NOON - after
    is_over = state not in ("running", "claimed") and started is not None
    finished = started + took if is_over else None
    return RunSpan(f"{state} {after}", task, NOON - after, state, reason, started, finished, NOON)


def bars(*spans):
    lane = make_lanes(spans, SPAN)["a"]
    return [(bar.x, bar.width, bar.kind) for bar in lane.bars.values()]


def test_an_hour_is_a_part_of_the_day_s_width():
    assert bars(span(after=2 * HOUR, took=HOUR)) == [(400.0, 40.0, "succeeded")]


def test_a_run_that_goes_on_reaches_to_now():
    assert bars(span("running", after=6 * HOUR)) == [(240.0, 240.0, "running")]


def test_what_began_before_the_day_or_ends_at_its_edge_is_not_cut_off():
    assert bars(span(after=14 * HOUR, took=3 * HOUR)) == [(0.0, 40.0, "succeeded")]
    assert bars(span(after=-12 * HOUR)) == [(958.0, 2.0, "succeeded")]


def test_short_runs_side_by_side_are_one_bar_of_the_worst_of_them():
    lane = make_lanes([span(after=HOUR), span("failed", HOUR - MINUTE), span(after=HOUR)], SPAN)[
        "a"
    ]
    [bar] = lane.bars.values()
    assert (bar.kind, bar.run, bar.kinds.total()) == ("failed", f"failed {HOUR - MINUTE}", 3)


@pytest.mark.parametrize(
    ("state", "reason", "kind"),
    [
        ("lost", None, "failed"),
        ("skipped", "missed", "missed"),
        ("skipped", "overlap", "skipped"),
        ("cancelled", None, "skipped"),
        ("claimed", None, "running"),
    ],
)
def test_a_run_is_of_one_kind(state, reason, kind):
    assert bars(span(state, took=None, reason=reason)) == [(440.0, 2.0, kind)]


@pytest.fixture(scope="module")
def app():
    config = configure()

    def fail(system):
        raise ValueError("no")

    config.add_cron_task(lambda system: None, name="busy", min="*/10")
    config.add_cron_task(fail, name="wrong", min="*/30")
    config.add_cron_task(lambda system: None, name="late", hour="*", grace="5m")
    config.add_cron_task(lambda system: None, name="to-come", hour=13)
    config.add_cron_task(lambda system: None, name="paused", hour=13)
    app = config.make_wsgi_app()
    cron, tick = get_cron(app.registry), CronTester(app).tick
    web = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    for minutes in (-150, -115, -50, 5):  # none at 11:00
        tick(at=NOON + minutes * MINUTE)
    cron.clock = lambda: NOON + 5 * MINUTE
    web.post_json("/cron/tasks/paused/pause", {})
    return web


def lanes(page):
    return {
        lane.h2.a.text: [rect["class"][0] for rect in lane.find_all("rect")]
        for lane in page.html.find_all(class_="lane")
        if lane.h2
    }


def test_tasks_in_trouble_come_first_and_each_bar_is_a_link(app):
    page = app.get("/cron/timeline", headers=HTML)
    shown = lanes(page)
    assert list(shown)[:2] == ["wrong", "late"]
    assert "hollow" in shown["late"]
    assert set(shown["to-come"]) == {"future"}
    assert "paused" not in shown
    links = [link["href"] for link in page.html.select("svg a")]
    assert len(links) == sum(kind != "future" for kinds in shown.values() for kind in kinds)
    for link in links[:3]:
        app.get(link, headers=HTML)
    labels = [text.text for text in page.html.find("svg", class_="hours").find_all("text")]
    assert labels == ["18:00", "21:00", "00:00", "03:00", "06:00", "09:00", "12:00"]


def test_any_day_is_shown_and_lead_to(app):
    page = app.get("/cron/timeline?day=2026-06-14", headers=HTML)
    assert lanes(page) == {}
    assert page.html.find("a", rel="next")["href"].endswith("day=2026-06-15")
    page = app.get("/cron/timeline?day=2026-06-15", headers=HTML)
    assert page.html.find("a", rel="next") is None
    assert "busy" in lanes(page)
    data = app.get("/cron/timeline?day=2026-06-15").json
    assert (data["since"], data["until"]) == ("2026-06-15T00:00:00Z", "2026-06-16T00:00:00Z")
    assert {run["state"] for run in data["runs"]} == {"succeeded", "failed", "skipped"}


@pytest.mark.parametrize("day", ["odd", "2026-02-30", "0001-01-01", "9999-12-31"])
def test_what_is_no_day_is_refused(app, day):
    assert "must be a date" in app.get(f"/cron/timeline?day={day}", status=400).json["detail"]
