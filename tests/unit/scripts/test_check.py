"""What ``pcron … check`` says of the setup before a deployment."""

import json
import logging
import sqlite3

import pytest

from pyramid_cron.monitors.delivery import DeliveryError
from pyramid_cron.scripts.check import network_file_system

SERVER = "\n[server:main]\nuse = egg:waitress#main\nlisten = 127.0.0.1:6543\n"
LOGGING = """
[loggers]
keys = root, cron

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = WARN
handlers = console

[logger_cron]
level = {level}
handlers =
qualname = pyramid_cron

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain

[formatter_plain]
format = %(message)s
"""
WAITRESS = "waitress takes forwarding headers away"


@pytest.fixture(autouse=True)
def logging_as_before():
    root, ours = logging.getLogger(), logging.getLogger("pyramid_cron")
    before = root.level, list(root.handlers), ours.level
    disabled = {
        name: logger.disabled
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    ours.setLevel(before[2])
    for name, was in disabled.items():
        logging.getLogger(name).disabled = was


def test_it_says_who_may_do_what_and_where_runs_are_kept(shop):
    shop.write(settings="cron.allow = 127.0.0.1 10.0.0.0/8\ncron.hosts = shop.example\n")
    setup = shop.json("check")["setup"]
    assert setup["trigger"] == "/cron"
    assert setup["from"] == "127.0.0.1 10.0.0.0/8 without a token"
    assert setup["proxies"] == "none is trusted"
    assert setup["pages"] == "for who may trigger, as localhost, by address, shop.example"
    assert setup["store"].startswith(f"sqlite:///{shop.folder}/cron.sqlite")
    assert setup["time zone"] == "Europe/Berlin"
    text = shop.fine("check")
    assert "from:" in text
    shop.write(
        settings="cron.token = s3cret\ncron.trusted_proxies = 10.0.0.2\ncron.permission = see\n"
    )
    assert shop("check", "--json") == 1
    setup = json.loads(shop.out)["setup"]
    assert setup["from"] == "127.0.0.1 ::1 with a token"
    assert setup["proxies"] == "X-Forwarded-For is believed of 10.0.0.2"
    assert setup["pages"] == "for who has the permission 'see'"
    shop.write(settings="cron.view_permission = see\ncron.permission = act\n")
    shop("check", "--json")
    pages = json.loads(shop.out)["setup"]["pages"]
    assert pages == "for who has the permission 'see'; actions for 'act'"


def test_it_says_what_may_run_at_once_and_what_is_logged(shop, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pyramid_cron"), "level", logging.INFO)
    shop.write(settings="cron.capacity = 5\n")
    setup = shop.json("check")["setup"]
    assert setup["capacity"] == "5 outside of requests, over all processes and hosts"
    assert setup["log"] == "INFO"


SESSION = """
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session
    session = Session(create_engine("sqlite:///{database}"))
    config.set_cron_session(lambda request: session)
"""


@pytest.mark.parametrize("is_same", [True, False])
def test_a_session_of_another_database_than_the_stores_is_a_problem(shop, is_same):
    assert shop.json("check")["setup"]["records"].startswith("apart from the tasks' transactions")
    name = "cron.sqlite" if is_same else "other.sqlite"
    shop.write(SESSION.format(database=shop.folder / name))
    assert shop("check", "--json") == int(not is_same)
    answer = json.loads(shop.out)
    # The program's work is in no transaction.
    assert answer["setup"]["records"] == "in the tasks' own transactions, for 3 of 4"
    assert any("other.sqlite" in problem for problem in answer["problems"]) != is_same


def test_a_permission_that_nobody_can_have_is_a_problem(shop):
    shop.write(settings="cron.permission = see cron\ncron.token = s3cret\n")
    assert shop("check") == 1
    assert "nobody has the permission 'see cron'" in shop.out
    assert "s3cret" not in shop.out
    policy = "config.set_security_policy(type('Policy', (), {})())"
    shop.write(policy, settings="cron.permission = see cron\n")
    shop.fine("check")


def test_a_key_that_its_monitor_does_not_know_is_a_problem(shop, monkeypatch):
    def refuse(self, monitor):
        raise DeliveryError("SteadyCron knows no such key")

    monkeypatch.setattr("pyramid_cron.monitors.http_monitors.SteadyCron.ask", refuse)
    shop.write(
        'config.add_cron_task(clean, hour=1, name="kept", monitor="kept")',
        settings="cron.monitors = steadycron\ncron.steadycron.api_key = key\n",
    )
    assert shop("check") == 1
    assert "task 'kept': monitor='kept': steadycron: SteadyCron knows no such key" in shop.out


def test_it_says_how_many_tasks_each_monitor_knows_and_which_none(shop, monkeypatch):
    shop.write(
        'config.add_cron_task(clean, hour=1, name="kept", monitor="a@b.example")\n'
        '    config.add_cron_task(clean, hour=2, name="two", monitor={"sentry": "two"})\n'
        '    config.add_cron_task(clean, hour=3, name="three", monitor={"steadycron": "a"})\n'
        '    config.add_cron_task(clean, hour=4, name="four", monitor={"steadycron": "b"})\n',
        settings="cron.monitors = mail\ncron.mail.from = cron@b.example\n",
    )
    monkeypatch.setattr("pyramid_cron.monitors.mail.Mail.ask", lambda self, monitor: None)
    assert "monitors:" in shop.fine("check")
    answer = shop.json("check")
    assert answer["setup"]["monitors"] == "mail for 1 of 8"
    assert answer["notes"] == [
        "task 'two' has a name for sentry, which is not in cron.monitors",
        "2 tasks have a name for steadycron, which is not in cron.monitors",
    ]


def test_without_monitors_it_says_none(shop):
    assert shop.json("check")["setup"]["monitors"] == "none"


@pytest.mark.parametrize(
    ("monitor", "text"),
    [('"kept"', "kept"), ('{"sentry": "a", "mail": "b@c.example"}', "sentry a, mail b@c.example")],
)
def test_what_is_shown_of_a_run_has_its_tasks_name_in_monitors(shop, monitor, text):
    shop.write(f'config.add_cron_task(clean, name="kept", on_demand=True, monitor={monitor})')
    shop.fine("run", "kept")
    [run] = shop.json("history", "kept")
    assert f"monitor:  {text}" in shop.fine("show", run["run"])


def test_the_zone_of_the_host_is_said_to_be_that(shop):
    assert shop.json("check")["setup"]["time zone"] == "Europe/Berlin"
    ini = shop.folder / "shop.ini"
    ini.write_text(ini.read_text().replace("cron.timezone = Europe/Berlin", ""))
    assert shop.json("check")["setup"]["time zone"].endswith(", the host's")


def test_the_file_of_the_store_is_described(shop):
    shop("check")
    assert shop.json("check")["setup"]["store"].endswith(", a file of its own, journal wal")
    with sqlite3.connect(shop.folder / "cron.sqlite") as connection:
        for name in ("users", "carts", "orders", "wares"):
            connection.execute(f"CREATE TABLE {name} (id)")
    connection.close()
    kind = "a file with other tables (carts, orders, users, …), journal wal"
    assert shop.json("check")["setup"]["store"].endswith(kind)


MOUNTED = """\
overlay / overlay rw 0 0
server:/data /srv nfs4 rw 0 0
/dev/vdb /srv/shop\\040one ext4 rw 0 0
me@host: /home/me fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/cron.sqlite", "nfs4"),
        ("/srv/shop one/cron.sqlite", None),
        ("/srvx/cron.sqlite", None),
        ("/cron.sqlite", None),
        ("/home/me/cron.sqlite", "fuse.sshfs"),
    ],
)
def test_a_file_system_that_hosts_share_is_known(tmp_path, path, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTED)
    assert network_file_system(path, mounts) == kind
    assert network_file_system(path, tmp_path / "none") is None


def test_a_store_on_one_is_noted(shop, monkeypatch):
    monkeypatch.setattr("pyramid_cron.scripts.check.network_file_system", lambda path: "nfs4")
    assert "note: cron.url lies on nfs4" in shop.fine("check")


@pytest.mark.parametrize(
    "options",
    [
        "",
        "clear_untrusted_proxy_headers = true\n",
        "trusted_proxy =\n",
        "trusted_proxy = 127.0.0.1\n",
        "trusted_proxy = 127.0.0.1\ntrusted_proxy_headers = x-forwarded-proto\n",
    ],
)
def test_waitress_that_hides_proxies_is_a_problem_without_a_token(shop, options):
    shop.write(settings=SERVER + options)
    assert shop("check") == 1
    assert WAITRESS in shop.out
    shop.write(settings="cron.token = s3cret\n" + SERVER + options)
    shop.fine("check")


@pytest.mark.parametrize(
    "server",
    [
        SERVER + "clear_untrusted_proxy_headers = false\n",
        SERVER + "clear_untrusted_proxy_headers = nay\n",
        SERVER + "trusted_proxy = 127.0.0.1\ntrusted_proxy_headers = X-Forwarded-For\n",
        "\n[server:main]\nuse = egg:gunicorn#main\n",
    ],
)
def test_a_server_that_shows_them_is_none(shop, server):
    shop.write(settings=server)
    assert WAITRESS not in shop.fine("check")


def test_each_server_of_the_ini_file_is_looked_at(shop):
    named = SERVER.replace("server:main", "server:public")
    shop.write(settings=SERVER + "clear_untrusted_proxy_headers = false\n" + named)
    assert shop("check") == 1
    assert "clear_untrusted_proxy_headers = false in [server:public]" in shop.out
    assert "[server:main]" not in shop.out


@pytest.mark.parametrize("egg", ["PasteDeploy", "Paste"])
@pytest.mark.parametrize("section", ["filter:proxy", "filter-app:proxy"])
def test_a_filter_that_lets_a_client_claim_an_address_is_a_problem(shop, egg, section):
    shop.write(settings=f"\n[{section}]\nuse = egg:{egg}#prefix\nnext = main\n")
    assert shop("check") == 1
    assert f"[{section}] takes the word of X-Forwarded-For" in shop.out


def test_a_store_that_others_do_not_see_is_noted(shop, monkeypatch):
    monkeypatch.chdir(shop.folder)
    ini = shop.folder / "shop.ini"
    text = ini.read_text()
    ini.write_text(text.replace("%(here)s/cron.sqlite", "cron.sqlite"))
    assert "note: cron.url cron.sqlite is relative" in shop.fine("check")
    ini.write_text(text.replace("/%(here)s/cron.sqlite", ""))
    assert "note: cron.url keeps runs in the memory of one process" in shop.fine("check")


@pytest.mark.parametrize(("level", "is_noted"), [("NOTSET", True), ("WARN", True), ("INFO", False)])
def test_a_logger_that_drops_the_lines_of_runs_is_noted(shop, level, is_noted):
    shop.write(settings=LOGGING.format(level=level))
    assert ("note: the logger pyramid_cron is above INFO" in shop.fine("check")) == is_noted


def test_a_one_shot_that_has_run_is_no_problem(shop):
    shop.write('config.add_cron_task(clean, at="2026-06-15T10:00Z", name="once", grace=None)')
    assert shop("check") == 1
    assert "task 'once' never runs again, and never has" in shop.out
    shop.fine("run", "once")
    shop.fine("check")
    with sqlite3.connect(shop.folder / "cron.sqlite") as connection:  # as by cron.retention
        assert connection.execute("DELETE FROM cron_runs").rowcount == 1
    connection.close()
    shop.fine("check")


def test_tasks_that_jitter_keeps_apart_are_no_duplicates(shop):
    shop.write(
        'config.add_cron_task(clean, hour=5, name="one", jitter="1h")\n'
        '    config.add_cron_task(clean, hour=5, name="two", jitter="1h")\n'
    )
    shop.fine("check")


def test_a_configuration_that_is_missing_for_processes_is_a_problem(shop):
    shop.write(
        'config.add_cron_task(clean, name="apart", hour=1, executor="process")',
        "cron.config_uri = /nowhere/shop.ini",
    )
    assert shop("check") == 1
    problem = "cron.config_uri: there is no file '/nowhere/shop.ini': tasks with executor='process'"
    assert problem in shop.out
