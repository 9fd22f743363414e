"""Mail of runs through pyramid_mailer and a mail server that speaks SMTP."""

import logging
import socket
from datetime import timedelta

import pytest
import transaction

from pyramid_cron import scheduler
from pyramid_cron.monitors import get_monitoring, mail
from tests.apps import NOON
from tests.monitored import App
from tests.smtp_servers import serving_mail

MINUTE = timedelta(minutes=1)


@pytest.fixture
def server():
    with serving_mail() as server:
        yield server


def fail(system):
    logging.getLogger("shop").warning("the disk has %s left ☃ %s", "0 %", "x" * 2000)
    raise OSError("the disk is full, übel")


def settings(port):
    return {
        "mail.host": "127.0.0.1",
        "mail.port": str(port),
        "mail.default_sender": "Cron <cron@shop.example>",
        "cron.monitors": "mail",
        "cron.mail.to": "ops@shop.example, boss@shop.example",
    }


class Included(App):
    """An application that includes pyramid_mailer."""

    def __init__(self, port, **values):
        super().__init__(fail, **settings(port) | values)
        self.config.include("pyramid_mailer")
        self.config.commit()


@pytest.mark.parametrize("kind", [Included, lambda port: App(fail, **settings(port))])
def test_a_failure_arrives_with_its_log_whether_the_application_has_a_mailer_or_not(server, kind):
    app = kind(server.port)
    app.tick(NOON, NOON + MINUTE)
    [message] = server.messages
    [recipients] = server.recipients
    assert {*recipients} == {"ops@shop.example", "boss@shop.example"}
    assert message["From"] == "Cron <cron@shop.example>"
    assert message["To"] == "ops@shop.example, boss@shop.example"
    assert message["Subject"] == "[cron] task failed: OSError: the disk is full, übel"
    assert message["Auto-Submitted"] == "auto-generated"
    body = message.get_content()
    assert "The end of its log:" in body
    assert "the disk has 0 % left ☃ " + "x" * 2000 in body


def test_mail_is_no_part_of_the_tasks_transaction(server):
    def doom(system):
        transaction.doom()
        raise ValueError("no")

    app = App(doom, **settings(server.port))
    app.tick(NOON)
    assert len(server.messages) == 1


def test_a_server_that_is_down_is_a_warning(caplog):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app = Included(port)
    [run] = app.tick(NOON)
    assert run.state == "failed"
    assert "monitor mail: delivery failed for 'nightly': ConnectionRefusedError" in caplog.text


def test_a_server_that_says_nothing_delays_nothing(server, caplog, monkeypatch):
    monkeypatch.setattr(mail, "MAIL_TIMEOUT_SECONDS", 0.2)
    server.is_hanging = True
    app = Included(server.port)
    assert [run.state for run in app.tick(NOON, NOON + MINUTE)] == ["failed"] * 2
    assert "no answer of the mail server in 0.2 s" in caplog.text


def test_check_asks_whether_the_server_is_there(server):
    app = Included(server.port)
    tasks = scheduler(app.config.registry).tasks()
    assert list(get_monitoring(app.config.registry).ask(tasks * 2)) == []
    assert server.messages == []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app = Included(port)
    [problem] = get_monitoring(app.config.registry).ask(tasks * 2)
    assert problem.startswith("task 'task': monitor='nightly': mail: ConnectionRefusedError")
