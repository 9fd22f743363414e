"""Which monitors there are, what they need, and the heartbeat."""

import importlib.util
import threading

import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_cron import setting_parsers
from pyramid_cron.monitors import get_monitoring
from pyramid_cron.settings import parse_settings
from tests.apps import NOON, configure
from tests.integration.processes import wait_until
from tests.monitored import App


def parse(**settings):
    named = {f"cron.{name.replace('__', '.')}": value for name, value in settings.items()}
    return parse_settings({"cron.timezone": "UTC", **named})


def fault(**settings):
    with pytest.raises(ConfigurationError) as caught:
        parse(**settings)
    return str(caught.value)


def test_by_default_nothing_is_reported():
    app = App()
    assert get_monitoring(app.config.registry) is None
    assert [run.state for run in app.cron.tick(NOON).runs] == ["succeeded"]


def test_monitors_are_named_once_each():
    assert parse(monitors="sentry\n healthchecks sentry").monitors == ("sentry", "healthchecks")
    assert parse(monitors=["steadycron"]).monitors == ("steadycron",)


def test_an_unknown_monitor_is_refused():
    assert fault(monitors="healthchecks nagios") == (
        "cron.monitors: 'nagios' is no monitor;"
        " expected any of healthchecks, steadycron, sentry, mail, separated by whitespace"
    )


def test_a_monitor_that_is_almost_one_is_refused_with_the_one_that_was_meant():
    assert "'health-checks' is no monitor; did you mean 'healthchecks'?" in fault(
        monitors="health-checks"
    )


def test_a_monitor_whose_sdk_is_missing_is_refused_with_the_extra(monkeypatch):
    def find_spec(wanted, *rest):
        return None if wanted == "sentry_sdk" else importlib.util.find_spec(wanted, *rest)

    monkeypatch.setattr(setting_parsers, "find_spec", find_spec)
    assert (
        'needs the package sentry_sdk, which is not installed: pip install "pyramid_cron[sentry]"'
        in (fault(monitors="sentry"))
    )


@pytest.mark.parametrize(
    "url", ["ftp://x", "example.org", "http://", "http://x:port", "http://x y", "http://[", 3]
)
@pytest.mark.parametrize(
    "name", ["heartbeat_url", "healthchecks__url", "steadycron__api_url", "steadycron__ping_url"]
)
def test_what_is_no_http_url_is_refused(name, url):
    assert fault(**{name: url}).endswith("expected an http or https URL")


def test_secrets_are_not_shown():
    assert "s3cret" not in fault(heartbeat_url="s3cret")
    assert "s3cret" not in fault(healthchecks__ping_key="s3cret/")
    assert "s3cret" not in fault(steadycron__tokens="a=s3cret?")
    shown = repr(
        parse(
            heartbeat_url="http://x/s3cret",
            healthchecks__ping_key="s3cret",
            steadycron__api_key="s3cret",
            steadycron__tokens="a=s3cret",
            sentry__dsn="http://s3cret@x/1",
        )
    )
    assert "s3cret" not in shown


def test_tokens_are_lines_or_a_mapping():
    tokens = {"nightly": "t1", "a = b": "t2"}
    assert parse(steadycron__tokens="\n nightly = t1\n\n a = b=t2\n").steadycron_tokens == tokens
    assert parse(steadycron__tokens=tokens).steadycron_tokens == tokens
    for bad in ("nightly", "=t1", "nightly=", ["nightly=t1"], {"": "t1"}, {"nightly": 3}):
        assert fault(steadycron__tokens=bad).startswith("cron.steadycron.tokens: ")


def test_flags_are_true_or_false():
    assert parse(steadycron__capture_errors="yes").steadycron_capture_errors is True
    assert parse(steadycron__capture_errors=False).steadycron_capture_errors is False
    assert fault(steadycron__capture_errors="perhaps").startswith(
        "cron.steadycron.capture_errors: "
    )


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ({"heathchecks": "a"}, "there is no service 'heathchecks'; did you mean 'healthchecks'?"),
        ({"pager": "a"}, "no service 'pager'; use healthchecks, steadycron, sentry, mail"),
        ({3: "a"}, "there is no service 3; use"),
        ({}, "monitor={}: names no service; use None for none"),
        ({"mail": ""}, "'' must be a name of 1 to 200 characters"),
        ({"mail": None}, "None must be a name of 1 to 200 characters"),
    ],
)
def test_names_for_services_that_are_none_are_refused(monitor, message):
    with pytest.raises(ConfigurationError, match=r"cron task 'task': monitor=") as caught:
        configure().add_cron_task(lambda system: None, name="task", monitor=monitor)
    assert message in str(caught.value)


def test_each_service_has_the_name_that_is_for_it(server, second_server):
    settings = {
        "cron.monitors": "healthchecks steadycron",
        "cron.healthchecks.url": server.url,
        "cron.healthchecks.ping_key": "key",
        "cron.steadycron.api_key": "key",
        "cron.steadycron.tokens": "other=token",
        "cron.steadycron.ping_url": second_server.url,
    }
    App(monitor={"healthchecks": "abc", "steadycron": "other"}, **settings).tick(NOON)
    assert server.paths == ["/key/abc/start", "/key/abc"]
    assert second_server.paths == ["/token/start", "/token"]
    App(monitor={"healthchecks": "abc"}, **settings).tick(NOON)
    assert len(server.paths) == 4
    assert len(second_server.paths) == 2


def test_a_name_that_its_service_refuses_is_an_error_that_names_both():
    settings = {"cron.monitors": "healthchecks", "cron.healthchecks.ping_key": "key"}
    fault = r"'task': monitor=\{'healthchecks': 'two words'\}: healthchecks: Healthchecks knows"
    with pytest.raises(ConfigurationError, match=fault):
        App(monitor={"healthchecks": "two words"}, **settings)


@pytest.mark.parametrize("monitor", ["", "  ", 3, "two\nlines", "x" * 201])
def test_a_monitor_that_is_no_name_is_refused(monitor):
    with pytest.raises(ConfigurationError, match=r"'task'.*monitor=.*must be a name"):
        configure().add_cron_task(lambda system: None, name="task", monitor=monitor)


def test_the_monitor_is_seen_by_introspection():
    app = App(monitor=" nightly ")
    assert app.config.introspector.get("cron tasks", "task")["monitor"] == "nightly"


def test_a_slug_without_ping_key_is_refused():
    with pytest.raises(ConfigurationError, match=r"'task': monitor='nightly': .*ping_key"):
        App(**{"cron.monitors": "healthchecks"})


def test_what_is_neither_slug_nor_uuid_is_refused():
    settings = {"cron.monitors": "healthchecks", "cron.healthchecks.ping_key": "key"}
    with pytest.raises(ConfigurationError, match="monitor='two words': Healthchecks knows checks"):
        App(monitor="two words", **settings)


def test_the_heartbeat_comes_after_each_tick_that_was_made(server):
    from tests.apps import cron_of

    config = configure(**{"cron.heartbeat_url": f"{server.url}/beat?key=1"})
    cron = cron_of(config)
    cron.tick(NOON)
    cron.tick(NOON)
    assert get_monitoring(config.registry).flush(20)
    assert [(request.method, request.path, request.query) for request in server.asked] == [
        ("GET", "/beat", {"key": "1"})
    ] * 2


def test_the_thread_ends_when_there_is_nothing_to_send_and_comes_back(server, monkeypatch):
    from pyramid_cron.monitors import delivery

    monkeypatch.setattr(delivery, "DELIVERY_IDLE_SECONDS", 0.01)
    app = App(**{"cron.heartbeat_url": server.url})
    before = set(threading.enumerate())

    def gone():
        new = set(threading.enumerate()) - before
        return "pyramid_cron heartbeat" not in [each.name for each in new]

    for expected in (1, 2):
        app.tick(NOON)
        wait_until(gone)
        assert len(server.asked) == expected
