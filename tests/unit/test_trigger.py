"""What a hit on the cron path answers."""

import logging

import pytest
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

from tests.apps import configure

LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
JSON = {"Accept": "application/json"}


def app_of(config, **environ):
    return TestApp(config.make_wsgi_app(), extra_environ=LOCAL | environ)


def counting(config):
    runs = []
    config.add_cron_task(lambda system: runs.append(system["run"].id), name="counting")
    return runs


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_hit_runs_what_is_due_and_says_ok(method):
    config = configure()
    runs = counting(config)
    answer = getattr(app_of(config), method)("/cron")
    assert (answer.status_int, answer.text, answer.content_type) == (200, "ok", "text/plain")
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(runs) == 1


def test_routes_of_the_application_have_names_of_their_own():
    config = configure()
    runs = counting(config)
    for name in ("cron", "cron.health"):
        config.add_route(name, f"/own/{name}")
        config.add_view(lambda request: Response("own"), route_name=name)
    app = app_of(config)
    assert app.get("/cron").text == "ok"
    assert len(runs) == 1
    assert app.get("/cron/health", headers=JSON).json["healthy"]
    assert [app.get(f"/own/{name}").text for name in ("cron", "cron.health")] == ["own", "own"]


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("prefix", [None, "shop"])
def test_a_route_of_the_application_that_takes_every_path_takes_neither_it_nor_the_pages(
    autocommit, prefix
):
    settings = {"cron.url": "sqlite://", "cron.timezone": "UTC"}
    config = Configurator(settings=settings, autocommit=autocommit)
    config.add_route("site", "/*path")
    config.add_view(lambda request: Response("the shop"), route_name="site")
    config.include("pyramid_cron", route_prefix=prefix)
    runs = counting(config)
    app, base = app_of(config), f"/{prefix}" if prefix else ""
    assert app.get(f"{base}/cron").text == "ok"
    assert len(runs) == 1
    assert app.get(f"{base}/cron/tasks", headers=JSON).json["tasks"]
    assert app.get(f"{base}/cronjobs").text == "the shop"


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "image/png",
        "text/*",
        "application/*",
        "",
        "application/json; q=0",
        "application/json; q=0, */*",
        "application/json;q=0.5, text/plain",
        "application/json; ;",
    ],
)
def test_text_is_the_answer_unless_json_is_asked_for(accept):
    answer = app_of(configure()).get("/cron", headers={"Accept": accept})
    assert answer.text == "ok"


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "application/json, */*;q=0.1",
        "application/json, */*",
        "application/json;indent=2, */*",
        "application/json, text/plain, */*",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        "text/plain;q=0.2, application/json;charset=utf-8;q=0.5, */*;q=0.1",
    ],
)
def test_json_tells_what_was_done(accept):
    config = configure()
    runs = counting(config)
    config.add_cron_task(lambda system: None, name="unwilling", when=lambda system: False)
    answer = app_of(config).get("/cron", headers={"Accept": accept})
    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json) == {"tick", "now", "runs", "skipped", "waiting"}
    [run] = answer.json["runs"]
    assert run.pop("duration") >= 0
    assert run.pop("slot").endswith(":00Z")
    assert run == {"task": "counting", "run": runs[0], "state": "succeeded"}
    [skipped] = answer.json["skipped"]
    assert (skipped["task"], skipped["reason"]) == ("unwilling", "condition")


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_allowed(method):
    config = configure()
    runs = counting(config)
    answer = app_of(config).request("/cron", method=method, expect_errors=True)
    assert answer.status_int == 405
    assert answer.headers["Allow"] == "GET, POST"
    assert runs == []


def test_a_stranger_is_refused_and_nothing_happens(caplog):
    config = configure()
    runs = counting(config)
    app = app_of(config, REMOTE_ADDR="203.0.113.9")
    answer = app.get("/cron", status=403)
    assert answer.text == "fail 203.0.113.9"
    assert runs == []
    [record] = [record for record in caplog.records if record.name == "pyramid_cron"]
    assert record.levelno == logging.WARNING
    assert "203.0.113.9 is not in cron.allow" in record.getMessage()
    app.get("/cron", extra_environ=LOCAL, status=200)
    assert len(runs) == 1


def test_the_host_header_plays_no_part():
    app_of(configure(), REMOTE_ADDR="203.0.113.9", HTTP_HOST="localhost").get("/cron", status=403)
    app_of(configure(), HTTP_HOST="[::1]:x").get("/cron", status=200)


def test_a_token_is_required_as_well():
    app = app_of(configure(**{"cron.token": "old new"}))
    assert app.get("/cron", status=403).text == "fail 127.0.0.1"
    for token in ("old", "new"):
        app.get("/cron", headers={"Authorization": f"Bearer {token}"}, status=200)


def test_default_permissions_and_csrf_checks_do_not_close_the_trigger():
    config = configure()
    config.set_default_permission("never")
    config.set_default_csrf_options(require_csrf=True)
    app_of(config).post("/cron", status=200)


def test_the_path_is_a_setting_and_honours_the_route_prefix():
    config = configure(**{"cron.path": "/internal/tick"})
    app_of(config).get("/internal/tick", status=200)
    prefixed = configure_prefixed()
    app_of(prefixed).get("/site/cron", status=200)
    app_of(prefixed).get("/cron", status=404)


def configure_prefixed():
    from pyramid.config import Configurator

    config = Configurator(settings={"cron.url": "sqlite://"})
    config.include("pyramid_cron", route_prefix="/site")
    return config


def test_settings_may_change_after_the_include():
    config = configure()
    config.add_settings({"cron.path": "/late"})
    app_of(config).get("/late", status=200)


def test_a_store_that_fails_answers_503_and_runs_nothing(tmp_path, caplog):
    config = configure(**{"cron.url": f"sqlite:///{tmp_path}/sub/cron.sqlite"})
    (tmp_path / "sub").mkdir()
    runs = counting(config)
    app = app_of(config)
    (tmp_path / "sub").rmdir()
    assert app.get("/cron", status=503).text == "fail store"
    assert runs == []
    [record] = [record for record in caplog.records if record.name == "pyramid_cron"]
    assert "cron.url" in record.getMessage()
    assert "unable to open database file" in record.getMessage()
    (tmp_path / "sub").mkdir()
    app.get("/cron", status=200)
    assert len(runs) == 1


def test_an_app_without_tasks_ticks_in_peace():
    assert app_of(configure()).get("/cron").text == "ok"
