"""Mail of what changes, in an outbox: a failure, giving up, a missed slot, the next success."""

import threading
from datetime import timedelta

import pytest
from pyramid.exceptions import ConfigurationError
from pyramid_mailer.interfaces import IMailer
from pyramid_mailer.mailer import DummyMailer

from pyramid_cron import GiveUp, Retry, StoreError, TaskCancelled, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.monitors import get_monitoring, mail
from tests.apps import NOON, configure
from tests.monitored import App

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SETTINGS = {
    "cron.monitors": "mail",
    "cron.mail.to": "ops@shop.example",
    "cron.mail.from": "cron@shop.example",
}


class Mailed(App):
    """An application whose mails go to an outbox; its task fails as long as ``error`` is set."""

    def __init__(self, monitor="nightly", task=None, mailer=None, **settings):
        self.error = None
        self.mailer = mailer or DummyMailer()
        super().__init__(self._work, monitor=monitor, task=task, **SETTINGS | settings)
        self.config.registry.registerUtility(self.mailer, IMailer)

    def _work(self, system):
        if self.error is not None:
            raise self.error

    def fail(self, *moments):
        self.error = OSError("the disk is full")
        return self.tick(*moments)

    def succeed(self, *moments):
        self.error = None
        return self.tick(*moments)

    @property
    def subjects(self):
        return [message.subject for message in self.mailer.outbox]


FAILED = "[cron] task failed: OSError: the disk is full"
WORKS = "[cron] task works again"


def test_nothing_is_mailed_while_all_is_well():
    app = Mailed()
    app.succeed(NOON, NOON + MINUTE)
    assert app.subjects == []


def test_of_failures_in_a_row_the_first_is_mailed_and_then_the_next_success():
    app = Mailed()
    app.fail(NOON, NOON + MINUTE)
    app.succeed(NOON + 2 * MINUTE, NOON + 3 * MINUTE)
    app.fail(NOON + 4 * MINUTE)
    assert app.subjects == [FAILED, WORKS, FAILED]


def test_another_process_knows_what_was_mailed(tmp_path):
    url = {"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"}
    one, other = Mailed(**url), Mailed(**url)
    one.fail(NOON)
    other.fail(NOON + MINUTE)
    one.succeed(NOON + 2 * MINUTE)
    other.succeed(NOON + 3 * MINUTE)
    assert (one.subjects, other.subjects) == ([FAILED, WORKS], [])


def test_a_mail_says_what_there_is_to_know_and_has_the_end_of_the_log():
    def work(system):
        import logging

        for number in range(150):
            logging.getLogger("shop").warning("line %d \x1b[31m☃", number)
        raise ValueError("no\nstock")

    app = Mailed(
        **{
            "cron.base_url": "https://shop.example/x",
            "cron.timezone": "Europe/Berlin",
            "cron.mail.subject_prefix": "[shop]",
        }
    )
    app._work = work
    app.config.add_cron_task(work, name="other", monitor="a@b.example, c@d.example", hour=14)
    app.config.commit()
    [run] = [run for run in app.tick(NOON) if run.task == "other"]
    [message] = app.mailer.outbox
    assert message.subject == "[shop] other failed: ValueError: no stock"
    assert message.recipients == ["a@b.example", "c@d.example"]
    assert message.sender == "cron@shop.example"
    assert message.extra_headers == {"Auto-Submitted": "auto-generated"}
    head, _, log = message.body.partition("The end of its log:")
    assert "slot:     2026-06-15 14:00:00+02:00 Europe/Berlin" in head
    assert f"run:      {run.id}" in head
    assert f"page:     https://shop.example/x/cron/runs/{run.id}" in head
    assert "line 149 \\x1b[31m☃" in log
    assert "line 50 " in log
    assert "line 49 " not in log


def test_only_the_last_of_several_attempts_is_a_failure():
    app = Mailed(task={"hour": 12, "retry": Retry(attempts=2, delay=30)})
    app.fail(NOON)
    assert app.subjects == []
    app.fail(NOON + MINUTE)
    [message] = app.mailer.outbox
    assert message.subject == "[cron] task failed: OSError: the disk is full"
    assert "attempt:  2" in message.body


def test_a_success_after_a_retry_is_no_news():
    app = Mailed(task={"hour": 12, "retry": Retry(attempts=2, delay=30)})
    app.fail(NOON)
    app.succeed(NOON + MINUTE, NOON + timedelta(days=1))
    assert app.subjects == []


def test_another_slot_that_succeeds_while_a_retry_waits_is_no_news():
    app = Mailed(task={"retry": Retry(attempts=2, delay=600), "overlap": "allow"})
    app.fail(NOON)
    app.succeed(NOON + MINUTE)
    assert app.subjects == []


def test_a_task_that_gives_its_attempts_up_has_failed_for_good():
    app = Mailed(task={"retry": Retry(attempts=3, delay=600)})
    app.error = GiveUp("no such order")
    app.tick(NOON, NOON + MINUTE)
    app.succeed(NOON + 2 * MINUTE)
    assert len(app.subjects) == 2
    assert app.subjects[1] == WORKS


def test_a_success_by_hand_after_a_failure_is_mailed():
    app = Mailed(task={"hour": 12})
    [run] = app.fail(NOON)
    scheduler(app.config.registry).retry(run.id)
    app.succeed(NOON + MINUTE)
    assert app.subjects == [FAILED, WORKS]


def test_a_task_that_gives_up_is_mailed_with_its_last_failure():
    app = Mailed(task={"pause_after": 2})
    app.fail(NOON, NOON + MINUTE)
    assert app.subjects == [FAILED, "[cron] task gave up: 2 failures in a row"]
    assert "run:      " in app.mailer.outbox[1].body


def test_a_pause_by_hand_is_not_mailed():
    app = Mailed()
    scheduler(app.config.registry).pause("task")
    app.flush()
    assert app.subjects == []


def test_missed_slots_are_mailed_once_in_a_row():
    app = Mailed(task={"hour": "*", "catch_up": "none"})
    app.succeed(NOON)
    app.tick(NOON + 3 * HOUR + 10 * MINUTE)
    assert len(app.subjects) == 1
    assert app.subjects[0].startswith("[cron] task missed ")
    assert app.subjects[0].endswith(" slots: no tick came in time")
    app.tick(NOON + 5 * HOUR + 10 * MINUTE)
    assert len(app.subjects) == 1
    app.succeed(NOON + 6 * HOUR)
    app.tick(NOON + 8 * HOUR + 10 * MINUTE)
    assert len(app.subjects) == 2


def with_schedules(*names, **policies):
    """An application with stored schedules of its task, which is on demand."""
    app = Mailed(task={"on_demand": True, **policies})
    app.tick(NOON)
    get_cron(app.config.registry).clock = lambda: NOON
    for name in names:
        scheduler(app.config.registry).schedule(name, "task", every="1m")
    return app


def test_a_stored_schedule_fails_and_works_by_itself():
    app = with_schedules("north", "south")
    app.fail(NOON + MINUTE)
    reason = "OSError: the disk is full"
    failed = {f"[cron] {name} (task) failed: {reason}" for name in ("north", "south")}
    assert {*app.subjects} == failed
    app.succeed(NOON + 2 * MINUTE)
    works = {f"[cron] {name} (task) works again" for name in ("north", "south")}
    assert {*app.subjects} == failed | works
    assert len(app.subjects) == 4


def test_a_stored_schedule_that_gives_up_is_named():
    app = with_schedules("north", pause_after=1)
    app.fail(NOON + MINUTE)
    assert app.subjects[-1] == "[cron] north (task) gave up: 1 failure"


def test_a_cancelled_run_and_a_condition_are_no_news():
    app = Mailed(task={"when": lambda system: False})
    app.fail(NOON)
    assert app.subjects == []
    app = Mailed(task={"timeout": "1h"})
    app.error = TaskCancelled()
    app.tick(NOON + MINUTE)
    assert app.subjects == []


def test_below_an_empty_name_nobody_is_mailed_by_a_mapping():
    app = Mailed(monitor={"healthchecks": "nightly"})
    app.fail(NOON)
    assert app.subjects == []


def test_a_name_of_its_own_is_an_address():
    app = Mailed(monitor={"mail": "night@shop.example"})
    app.fail(NOON)
    assert app.mailer.outbox[0].recipients == ["night@shop.example"]


@pytest.mark.parametrize(
    ("monitor", "settings", "fault"),
    [
        ("nightly", {"cron.mail.to": ""}, "mail needs the setting cron.mail.to, or an address"),
        ("@", {}, "'@' is no address; mail takes addresses, separated by commas"),
        ("nightly", {"cron.mail.from": ""}, "mail needs the setting cron.mail.from"),
    ],
)
def test_a_task_that_nobody_could_be_mailed_of_is_refused(monitor, settings, fault):
    with pytest.raises(ConfigurationError, match="cron task 'task': monitor=") as caught:
        App(monitor=monitor, **SETTINGS | settings)
    assert fault in str(caught.value)


def test_the_sender_is_by_default_that_of_the_application():
    settings = {**SETTINGS, "cron.mail.from": "", "mail.default_sender": "shop@shop.example"}
    app = App(lambda system: 1 / 0, **settings)
    app.config.registry.registerUtility(mailer := DummyMailer(), IMailer)
    mailer.default_sender = "other@shop.example"
    app.tick(NOON)
    assert mailer.outbox[0].sender == "other@shop.example"


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("to", "ops@shop.example, <b>", "'<b>' is no address"),
        ("to", 3, "3 is neither text nor a list"),
        ("from", "Cron <x", "'Cron <x' is no address"),
        ("from", "a b", "'a b' is no address"),
        ("subject_prefix", "", "'' is empty"),
    ],
)
def test_settings_that_are_wrong_are_named(name, value, fault):
    with pytest.raises(ConfigurationError, match=rf"cron\.mail\.{name}: ") as caught:
        configure(**{f"cron.mail.{name}": value}).commit()
    assert fault in str(caught.value)


def test_addresses_are_text_or_a_list_and_the_sender_may_have_a_name():
    app = Mailed(
        **{
            "cron.mail.to": ["ops@shop.example", "root", "root"],
            "cron.mail.from": "The shop <cron@shop.example>",
        }
    )
    app.fail(NOON)
    [message] = app.mailer.outbox
    assert message.recipients == ["ops@shop.example", "root"]
    assert message.sender == "The shop <cron@shop.example>"


class Broken(DummyMailer):
    """A mailer that fails until it is mended."""

    def __init__(self):
        super().__init__()
        self.is_broken = True

    def send_immediately(self, message, fail_silently=False):
        if self.is_broken:
            raise ConnectionRefusedError(111, "Connection refused")
        super().send_immediately(message)


def test_a_mail_server_that_is_down_is_a_warning_and_the_next_failure_is_mailed(warnings):
    app = Mailed(mailer=Broken())
    [run] = app.fail(NOON)
    assert run.state == "failed"
    cause = "ConnectionRefusedError: [Errno 111] Connection refused"
    assert warnings() == [f"monitor mail: delivery failed for 'nightly': {cause}"]
    app.mailer.is_broken = False
    app.fail(NOON + MINUTE, NOON + 2 * MINUTE)
    assert app.subjects == [FAILED]


def test_a_mail_server_that_hangs_holds_nobody_up(warnings, monkeypatch):
    monkeypatch.setattr(mail, "MAIL_TIMEOUT_SECONDS", 0.05)
    released = threading.Event()

    class Hanging(DummyMailer):
        def send_immediately(self, message, fail_silently=False):
            released.wait(30)

    app = Mailed(mailer=Hanging())
    try:
        assert [run.state for run in app.fail(NOON, NOON + MINUTE)] == ["failed", "failed"]
        assert [text.partition(": ")[2] for text in warnings()] == [
            "delivery failed for 'nightly': no answer of the mail server in 0.05 s",
            "delivery failed for 'nightly': the mail server has not taken the mail before yet",
        ]
    finally:
        released.set()


def test_a_store_that_cannot_be_read_lets_a_failure_be_mailed(monkeypatch, warnings):
    def refuse(*arguments):
        raise StoreError("gone")

    app = Mailed(task={"pause_after": 2})
    monkeypatch.setattr(mail, "list_earlier_runs", refuse)
    monkeypatch.setattr(mail, "find_newest_failure", refuse)
    app.fail(NOON, NOON + MINUTE)
    assert app.subjects == [FAILED, FAILED, "[cron] task gave up: 2 failures in a row"]
    scheduler(app.config.registry).resume("task")
    app.succeed(NOON + 2 * MINUTE)
    assert warnings() == ["monitor mail: delivery failed for 'nightly': StoreError: gone"]


def test_a_mailer_without_a_server_is_asked_for_nothing():
    app = Mailed()
    tasks = scheduler(app.config.registry).tasks()
    assert list(get_monitoring(app.config.registry).ask(tasks)) == []


def test_check_asks_a_server_once(monkeypatch):
    class Smtp(DummyMailer):
        def __init__(self):
            super().__init__()
            self.smtp_mailer, self.connections = self, []

        def smtp_factory(self):
            self.connections.append("made")
            return self

        def quit(self):
            self.connections.append("closed")

    app = Mailed(mailer=Smtp())
    tasks = scheduler(app.config.registry).tasks()
    assert list(get_monitoring(app.config.registry).ask(tasks * 2)) == []
    assert app.mailer.connections == ["made", "closed"]


def test_a_long_subject_is_cut():
    app = Mailed()
    app.error = OSError("x" * 900)
    app.tick(NOON)
    assert len(app.subjects[0]) == mail.MAX_SUBJECT_CHARACTERS
    assert app.subjects[0].endswith("…")


CRONTAB = """\
# name: before
* * * * * exit 1
MAILTO=root, boss@shop.example
# name: mailed
* * * * * echo sorry; exit 1
MAILTO=""
# name: quiet
* * * * * exit 1
"""


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ({}, {"mailed": "root@localhost,boss@shop.example"}),
        (
            {"monitor": "nightly"},
            {"before": "nightly", "mailed": "root@localhost,boss@shop.example"},
        ),
    ],
)
def test_mailto_says_whom_to_mail_for_the_lines_below_it(tmp_path, policies, expected):
    (tmp_path / "shop.cron").write_text(CRONTAB)
    app = Mailed()
    app.config.add_crontab(tmp_path / "shop.cron", **policies)
    app.config.commit()
    tasks = scheduler(app.config.registry).tasks()
    names = {task.name: task.monitor_names.get("mail") for task in tasks if task.name != "task"}
    assert names == {"before": None, "mailed": None, "quiet": None} | expected
    app.tick(NOON)
    by_task = {
        message.subject.split()[1]: (message.recipients, message.body)
        for message in app.mailer.outbox
    }
    assert by_task.keys() == expected.keys()
    assert by_task["mailed"][0] == ["root@localhost", "boss@shop.example"]
    assert by_task["mailed"][1].endswith("The end of its log:\n\nsorry")


def test_other_services_keep_their_name_below_an_empty_mailto(tmp_path):
    (tmp_path / "shop.cron").write_text('MAILTO=""\n# name: a\n@daily true\n')
    config = configure()
    config.add_crontab(tmp_path / "shop.cron", monitor={"sentry": "a", "mail": "b@c.example"})
    config.commit()
    [task] = scheduler(config.registry).tasks()
    assert task.monitor_names == {"sentry": "a"}


def test_a_monitor_that_is_none_is_refused_below_mailto_too(tmp_path):
    (tmp_path / "shop.cron").write_text("MAILTO=root\n@daily true\n")
    with pytest.raises(ConfigurationError, match=r"line 2: .*monitor=3: must be a name"):
        configure().add_crontab(tmp_path / "shop.cron", monitor=3)
