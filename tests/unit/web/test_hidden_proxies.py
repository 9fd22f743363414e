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
TRUSTING = environ_of(clear_untrusted_proxy_headers=True, trusted_proxy="127.0.0.1")
UNKNOWN = environ_of() | {"waitress.client_disconnected": lambda: False}


@pytest.mark.parametrize("path", ["/cron", "/cron/tasks"])
@pytest.mark.parametrize("environ", [HIDING, UNKNOWN])
def test_it_is_said_once_per_process(path, environ, caplog):
    app = TestApp(configure().make_wsgi_app(), extra_environ=environ)
    app.get(path)
    app.get(path)
    [warning] = warnings_of(caplog)
    assert warning.startswith(WARNING)
    assert "clear_untrusted_proxy_headers = false" in warning


@pytest.mark.parametrize("environ", [SHOWING, TRUSTING, {"REMOTE_ADDR": "127.0.0.1"}])
def test_it_is_not_said_where_headers_are_there_to_see(environ, caplog):
    TestApp(configure().make_wsgi_app(), extra_environ=environ).get("/cron")
    assert warnings_of(caplog) == []


def test_it_is_not_said_where_a_token_is_needed(caplog):
    app = TestApp(configure(**{"cron.token": "s3cret"}).make_wsgi_app(), extra_environ=HIDING)
    app.get("/cron", headers={"Authorization": "Bearer s3cret"})
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(
    ("protocol", "environ", "status"),
    [
        ("HTTP/1.0", HIDING, 403),
        ("HTTP/1.1", HIDING, 200),
        ("HTTP/1.0", SHOWING, 200),
    ],
)
def test_an_action_that_a_proxy_sent_for_all_that_can_be_known_is_refused(
    protocol, environ, status
):
    config = configure()
    config.add_cron_task(lambda system: None, name="fine")
    environ = environ | {"SERVER_PROTOCOL": protocol}
    app = TestApp(config.make_wsgi_app(), extra_environ=environ)
    app.post_json("/cron/tasks/fine/pause", {}, status=status)
    app.get("/cron/tasks/fine", status=200)


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
