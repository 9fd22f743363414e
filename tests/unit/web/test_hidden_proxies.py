"""What is said and done where waitress hides that a request came through a proxy."""

import logging
import socket
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from webtest import TestApp
from webtest.http import StopableWSGIServer

from tests.apps import configure

WARNING = "waitress takes forwarding headers away"


class Channel:
    def __init__(self, **options):
        self.adj = SimpleNamespace(**options)
        self.addr = ("127.0.0.1", 40000)

    def check_client_disconnected(self):
        return False


def environ_of(**options):
    """What waitress puts there."""
    key = "waitress.client_disconnected"
    return {"REMOTE_ADDR": "127.0.0.1", key: Channel(**options).check_client_disconnected}


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


HIDING = environ_of(clear_untrusted_proxy_headers=True, trusted_proxy=None)
SHOWING = environ_of(clear_untrusted_proxy_headers=False, trusted_proxy=None)


def trusting(proxy, *headers):
    """What it is where waitress is told to believe a proxy."""
    return environ_of(
        clear_untrusted_proxy_headers=True, trusted_proxy=proxy, trusted_proxy_headers=set(headers)
    )


TRUSTING = trusting("127.0.0.1", "x-forwarded-for", "x-forwarded-proto")
TRUSTING_ALL = trusting("*", "forwarded")
TRUSTING_ANOTHER = trusting("10.0.0.5", "x-forwarded-for")
TRUSTING_THE_SCHEME_ALONE = trusting("127.0.0.1", "x-forwarded-proto")
UNKNOWN = environ_of() | {"waitress.client_disconnected": lambda: False}


@pytest.mark.parametrize("path", ["/cron", "/cron/tasks"])
@pytest.mark.parametrize("environ", [HIDING, UNKNOWN, TRUSTING_ANOTHER, TRUSTING_THE_SCHEME_ALONE])
def test_it_is_said_once_per_process(path, environ, caplog):
    app = TestApp(configure().make_wsgi_app(), extra_environ=environ)
    app.get(path)
    app.get(path)
    [warning] = warnings_of(caplog)
    assert warning.startswith(WARNING)
    assert "clear_untrusted_proxy_headers = false" in warning


@pytest.mark.parametrize("environ", [SHOWING, TRUSTING, TRUSTING_ALL, {"REMOTE_ADDR": "127.0.0.1"}])
def test_it_is_not_said_where_headers_are_there_to_see(environ, caplog):
    TestApp(configure().make_wsgi_app(), extra_environ=environ).get("/cron")
    assert warnings_of(caplog) == []


def test_it_is_not_said_where_a_token_is_needed(caplog):
    app = TestApp(configure(**{"cron.token": "s3cret"}).make_wsgi_app(), extra_environ=HIDING)
    app.get("/cron", headers={"Authorization": "Bearer s3cret"})
    assert warnings_of(caplog) == []


LINE_FOR_WAITRESS = "clear_untrusted_proxy_headers = false"


def web_app(environ, **settings):
    config = configure(**settings)
    config.set_security_policy(EverybodyMay())
    config.add_cron_task(lambda system: None, name="fine")
    return TestApp(config.make_wsgi_app(), extra_environ=environ)


class EverybodyMay:
    """A security policy that grants what it is asked for."""

    def permits(self, request, context, permission):
        return permission == "act"

    def identity(self, request):
        return None

    authenticated_userid = identity


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        (HIDING, 403),
        (UNKNOWN, 403),
        (TRUSTING_ANOTHER, 403),
        (TRUSTING_THE_SCHEME_ALONE, 403),
        (SHOWING, 200),
        (TRUSTING, 200),
    ],
)
def test_nobody_may_act_by_an_address_that_may_be_a_hidden_proxys(environ, status, caplog):
    app = web_app(environ)
    answer = app.post_json("/cron/tasks/fine/pause", {}, status=status)
    assert (LINE_FOR_WAITRESS in answer) == (status == 403)
    is_explained = "an action by address alone, where waitress takes" in caplog.text
    assert is_explained == (status == 403)
    app.get("/cron/tasks/fine", status=200)
    app.get("/cron", status=200)


@pytest.mark.parametrize("environ", [HIDING, SHOWING])
def test_a_page_has_buttons_or_says_what_they_lack(environ):
    page = web_app(environ).get("/cron/tasks/fine", headers={"Accept": "text/html"})
    assert ("Run now" in page) == (environ is SHOWING)
    assert (LINE_FOR_WAITRESS in page) == (environ is HIDING)


def test_a_token_is_enough_to_act():
    app = web_app(HIDING, **{"cron.token": "s3cret"})
    header = {"Authorization": "Bearer s3cret"}
    app.post_json("/cron/tasks/fine/pause", {}, headers=header, status=200)
    app.post_json("/cron/tasks/fine/pause", {}, status=403)


def test_a_permission_is_enough_to_act():
    app = web_app(HIDING, **{"cron.permission": "act"})
    page = app.get("/cron/tasks/fine", headers={"Accept": "text/html"})
    assert "Run now" in page
    assert LINE_FOR_WAITRESS not in page
    app.post_json("/cron/tasks/fine/pause", {}, status=200)


def test_a_permission_to_look_is_not():
    app = web_app(HIDING, **{"cron.view_permission": "act"})
    app.get("/cron/tasks/fine", status=200)
    app.post_json("/cron/tasks/fine/pause", {}, status=403)


@contextmanager
def waitress(**options):
    server = StopableWSGIServer.create(configure().make_wsgi_app(), **options)
    try:
        yield server.effective_port
    finally:
        server.shutdown()


def ask(port, *headers):
    lines = ["GET /cron HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(("is_clearing", "answer"), [("true", b"200"), ("false", b"403")])
def test_waitress_itself_is_known_by_what_it_is_told_to_hide(is_clearing, answer, caplog):
    with waitress(clear_untrusted_proxy_headers=is_clearing) as port:
        assert ask(port, "X-Forwarded-For: 192.0.2.7").split()[1] == answer
        ask(port)
    assert (WARNING in caplog.text) == (is_clearing == "true")


@pytest.mark.parametrize("header", ["X-Forwarded-Server: proxy", "Via: 1.1 proxy", "X-Real-IP: x"])
def test_what_waitress_leaves_is_enough_to_refuse(header):
    with waitress() as port:
        assert ask(port, header).split()[1] == b"403"


def post(port, *headers):
    lines = ["POST /cron/tasks/fine/pause HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += ["Content-Type: application/json", "Content-Length: 2", *headers, "", "{}"]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).split()[1]


FORWARDED_FOR = "X-Forwarded-For: 127.0.0.1"


@pytest.mark.parametrize(
    ("options", "directly", "by_proxy"),
    [
        ({}, b"403", b"403"),
        ({"clear_untrusted_proxy_headers": "false"}, b"404", b"403"),
        (
            {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": "x-forwarded-for"},
            b"404",
            b"403",
        ),
    ],
)
def test_waitress_itself_is_known_by_whom_it_trusts(options, directly, by_proxy):
    with waitress(**options) as port:
        assert post(port) == directly  # there is no such task
        assert post(port, FORWARDED_FOR) == by_proxy
