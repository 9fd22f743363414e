"""Celery workers carry out what ticks have claimed; real ones, with a real Redis."""

import logging
import os
import signal
import socket
import time
from contextlib import contextmanager

import pytest
import redis
from celery import Celery
from kombu import Connection
from pyramid.exceptions import ConfigurationError

from pyramid_cron import RunState, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.celery import TAKE_OVER_TRIES, add_task
from pyramid_cron.runtime.queues import CELERY_TASK_NAME
from pyramid_cron.testing import CronTester
from tests.apps import configure
from tests.http_servers import serving
from tests.integration import celerying
from tests.integration.once import Outside
from tests.integration.processes import missing, python, wait_until

BROKER = os.environ.get("CRON_TEST_REDIS", "redis://127.0.0.1:6379/11")
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


MIDDLEWARE = """
[filter:nothing]
paste.filter_factory = tests.integration.celerying:middleware
[pipeline:main]
pipeline = nothing shop
[app:shop]
"""

LOGGING = """
[loggers]
keys = root, shop, cron
[logger_root]
level = WARNING
handlers = console
[logger_shop]
level = INFO
qualname = shop
handlers =
[logger_cron]
level = INFO
qualname = pyramid_cron
handlers =
[handlers]
keys = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = ours
[formatters]
keys = ours
[formatter_ours]
format = OURS %(levelname)s %(name)s %(message)s
"""


@pytest.fixture
def broker(tmp_path):
    client = redis.Redis.from_url(BROKER)
    try:
        client.ping()
    except redis.ConnectionError as error:
        missing(f"needs a Redis server at {BROKER}: {error}")
    yield BROKER
    # The queues of this test; Redis has one more for each priority.
    for key in client.scan_iter(f"*q{tmp_path.name}*"):
        client.delete(key)
    client.close()


@pytest.fixture
def rabbitmq(tmp_path):
    """A broker of another kind; nobody has to have one to test this."""
    try:
        with Connection(RABBITMQ, connect_timeout=2) as connection:
            connection.connect()
            yield RABBITMQ
            connection.channel().queue_delete(f"q{tmp_path.name}")
    except OSError as error:
        pytest.skip(f"needs a RabbitMQ server at {RABBITMQ}: {error}")


def write_ini(folder, tasks, broker, sections="", **settings):
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    ini = folder / "app.ini"
    ini.write_text(
        "[app:main]\nuse = call:tests.integration.celerying:main\n"
        f"folder = {folder}\ntasks = {' '.join(tasks)}\ncron.celery.broker_url = {broker}\n{lines}"
        f"{sections}"
    )
    return ini


def log_of(folder):
    """What a worker wrote with ``-f worker.log``."""
    file = folder / "worker.log"
    return file.read_text() if file.exists() else ""


@contextmanager
def worker(
    folder, tasks=(), pool="threads", number=1, broker=BROKER, options=(), ini=None, **settings
):
    """Run a Celery worker until the block ends."""
    ini = ini or write_ini(folder, tasks, broker, **settings)
    command = ["-m", "celery", "-A", "pyramid_cron.celery", "worker", "-P", pool, "-c", "2"]
    options = ["-Q", f"q{folder.name}", "--loglevel", "INFO", "-n", f"w{number}@%h", *options]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with python(
        folder / f"worker{number}", *command, *options, *quiet, PYRAMID_CRON_INI=f"{ini}#main"
    ) as process:
        wait_until(
            lambda: (
                " ready." in process.output + log_of(folder) or process.process.poll() is not None
            )
        )
        assert process.process.poll() is None, process.output
        yield process


def application(folder, broker, tasks):
    (folder / "store").mkdir(exist_ok=True)
    config = celerying.configured(folder, broker, tasks)
    return CronTester(config.make_wsgi_app())


def history(cron):
    return scheduler(cron.registry).history()


def ended(cron, count):
    """Wait for that many runs to be over; return them by name."""

    def over():
        states = {RunState.CLAIMED, RunState.RUNNING, RunState.SKIPPED}
        return [run for run in history(cron) if run.state not in states]

    wait_until(lambda: len(over()) >= count)
    return {run.task: run for run in over()}


def starts(folder, task):
    path = folder / "starts"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split() for line in lines if line.startswith(f"{task} ")]


@pytest.mark.parametrize("pool", ["threads", "prefork", "solo"])
def test_a_worker_carries_out_what_a_tick_has_sent(tmp_path, broker, pool):
    tasks = ["quick", "failing", "endless"]
    cron = application(tmp_path, broker, tasks)
    with worker(tmp_path, tasks, pool):
        assert len(cron.tick().runs) == 3
        runs = ended(cron, 3)
    assert {name: str(run.state) for name, run in runs.items()} == {
        "quick": "succeeded",
        "failing": "failed",
        "endless": "timed_out",
    }
    [[_, pid, url]] = starts(tmp_path, "quick")
    assert int(pid) == runs["quick"].pid != os.getpid()
    assert url == "https://shop.test"
    assert runs["quick"].progress.done == 1
    assert "ValueError: no" in runs["failing"].traceback


@pytest.mark.parametrize(("pool", "into"), [("prefork", "a file"), ("threads", "the terminal")])
def test_a_worker_logs_as_the_configuration_of_the_application_says(tmp_path, broker, pool, into):
    cron = application(tmp_path, broker, ["quick"])
    options = ["-f", tmp_path / "worker.log"] if into == "a file" else []
    with worker(tmp_path, ["quick"], pool, options=options, sections=LOGGING) as process:
        cron.tick()
        run = ended(cron, 1)["quick"]
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0
        assert "INFO  [shop] swept" in run.output
        lines = process.output.splitlines()
    assert lines.count("OURS INFO shop swept") == 1
    assert [line for line in lines if "OURS INFO pyramid_cron quick run=" in line]
    assert "printed" in lines
    assert not [line for line in lines if line.startswith("OURS INFO celery")]
    celerys = log_of(tmp_path) if into == "a file" else process.output
    assert celerys.count(" ready.") == 1
    assert "INFO/MainProcess] Task pyramid_cron.run[" in celerys
    assert ("] swept" in celerys) is (into == "a file")


@pytest.mark.parametrize("wrapping", ["a pipeline", "the factory"])
def test_a_worker_finds_the_application_inside_middleware(tmp_path, broker, wrapping):
    cron = application(tmp_path, broker, ["quick"])
    ini = write_ini(tmp_path, ["quick"], broker)
    if wrapping == "a pipeline":
        text = ini.read_text().replace("[app:main]", MIDDLEWARE)
    else:
        text = ini.read_text().replace("celerying:main", "celerying:wrapped")
    ini.write_text(text)
    with worker(tmp_path, ini=ini):
        cron.tick()
        assert ended(cron, 1)["quick"].state is RunState.SUCCEEDED


def test_a_worker_without_a_broker_is_refused(tmp_path):
    (tmp_path / "store").mkdir()
    ini = write_ini(tmp_path, [], "")
    command = ["-m", "celery", "-A", "pyramid_cron.celery", "worker"]
    with python(tmp_path / "worker", *command, PYRAMID_CRON_INI=str(ini)) as process:
        assert process.exit_code() != 0
        assert "needs the setting cron.celery.broker_url, such as redis://" in process.output
        assert "amqp://" not in process.output


def test_rabbitmq_does_as_well(tmp_path, rabbitmq):
    cron = application(tmp_path, rabbitmq, ["quick"])
    with worker(tmp_path, ["quick"], broker=rabbitmq):
        cron.tick()
        assert ended(cron, 1)["quick"].state is RunState.SUCCEEDED


def test_what_a_killed_worker_ran_is_lost_and_tried_again(tmp_path, broker):
    cron = application(tmp_path, broker, ["long"])
    with worker(tmp_path, ["long"]) as first:
        cron.tick()
        wait_until(lambda: starts(tmp_path, "long"))
        first.send(signal.SIGKILL)

    def lost():
        cron.tick()
        return [run for run in history(cron) if run.state is RunState.LOST]

    [run] = wait_until(lost)
    assert (run.attempt, run.pid) == (1, int(starts(tmp_path, "long")[0][1]))
    (tmp_path / "finish").touch()
    with worker(tmp_path, ["long"], number=2):
        again = wait_until(
            lambda: cron.tick() and [r for r in history(cron) if r.state is RunState.SUCCEEDED]
        )
    assert (again[-1].slot, again[-1].attempt) == (run.slot, 2)


def test_the_work_of_a_killed_worker_is_done_once_with_its_record(tmp_path, broker):
    rest = f"cron.celery.broker_url = {broker}\nqueue = q{tmp_path.name}\n"
    shop = Outside(tmp_path, "celery", "before the commit", lease=2, rest=rest)
    shop.control.defer("work")
    with worker(tmp_path, pool="prefork", ini=shop.ini):
        shop.finish()
    assert shop.ended() == [(1, "lost"), (2, "succeeded")]


@pytest.mark.parametrize("way", ["refuses", "is silent"])
def test_while_the_broker_is_down_runs_wait_and_nothing_is_lost(
    tmp_path, broker, caplog, monkeypatch, way
):
    monkeypatch.setattr("pyramid_cron.runtime.queues.BROKER_TIMEOUT_SECONDS", 0.5)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        if way == "is silent":
            closed.listen()
        down = f"redis://127.0.0.1:{closed.getsockname()[1]}/0"
        cron = application(tmp_path, down, ["quick", "failing"])
        with caplog.at_level(logging.WARNING, "pyramid_cron"):
            cron.tick()
            wait_until(lambda: get_cron(cron.registry).store.count_waiting() == 2)
    assert history(cron) == []
    [line] = [each.getMessage() for each in caplog.records if each.name == "pyramid_cron"]
    assert line.startswith("celery can't be reached; quick, failing will be sent later: ")
    up = application(tmp_path, broker, ["quick", "failing"])
    with worker(tmp_path, ["quick", "failing"]):
        up.tick()
        runs = ended(up, 2)
    assert str(runs["quick"].state) == "succeeded"
    assert runs["quick"].attempt == 1


def test_a_message_that_comes_twice_is_carried_out_once(tmp_path, broker):
    cron = application(tmp_path, broker, ["quick"])
    [run] = cron.tick().runs
    assert run.state is RunState.CLAIMED
    get_cron(cron.registry).queues["celery"](run)
    with worker(tmp_path, ["quick"]) as process:
        ended(cron, 1)
        wait_until(lambda: "is already taken over or finished" in process.output)
    assert len(starts(tmp_path, "quick")) == 1


def test_a_message_that_comes_while_the_store_is_away_is_carried_out_later(tmp_path, broker):
    cron = application(tmp_path, broker, ["long", "quick"])
    with worker(tmp_path, ["long", "quick"], "solo") as process:
        cron.tick()
        wait_until(lambda: starts(tmp_path, "long"))
        get_cron(cron.registry).close()
        (tmp_path / "store").rename(tmp_path / "away")
        (tmp_path / "finish").touch()
        wait_until(lambda: "unable to open database file" in process.output)
        wait_until(lambda: "Retry in" in process.output)
        (tmp_path / "away").rename(tmp_path / "store")
        runs = ended(cron, 2)
    assert {str(run.state) for run in runs.values()} == {"succeeded"}
    assert len(starts(tmp_path, "quick")) == 1


def test_a_message_that_comes_while_the_application_can_not_be_made_is_carried_out_later(
    tmp_path, broker
):
    cron = application(tmp_path, broker, ["quick"])
    (tmp_path / "broken").touch()
    with worker(tmp_path, ["quick"]) as process:
        [run] = cron.tick().runs
        wait_until(lambda: "Retry in" in process.output)
        assert f"run={run.id} could not be taken over" in process.output
        assert "RuntimeError: the shop's database is down" in process.output
        (tmp_path / "broken").unlink()
        assert ended(cron, 1)["quick"].state is RunState.SUCCEEDED


def test_a_message_that_an_older_version_gets_is_carried_out_by_one_that_has_the_task(
    tmp_path, broker
):
    cron = application(tmp_path, broker, ["quick"])
    with worker(tmp_path, ["failing"]) as process:
        cron.tick()
        wait_until(lambda: "Retry in" in process.output)
        assert "there is no cron task named 'quick'" in process.output
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0
    with worker(tmp_path, ["quick"], number=2):
        assert ended(cron, 1)["quick"].state is RunState.SUCCEEDED


def test_what_no_worker_knows_after_an_hour_ends_with_an_error(tmp_path, broker, monkeypatch):
    monkeypatch.setenv("PYRAMID_CRON_INI", str(write_ini(tmp_path, ["quick"], broker)))
    (tmp_path / "store").mkdir()
    app = Celery(broker=broker, set_as_current=False)
    add_task(app)
    later = app.tasks[CELERY_TASK_NAME].apply(["x"], retries=TAKE_OVER_TRIES - 1)
    assert "there is no run 'x'" in str(later.result)
    with pytest.raises(LookupError, match="there is no run 'x'"):
        app.tasks[CELERY_TASK_NAME].apply(["x"], retries=TAKE_OVER_TRIES, throw=True)


def test_a_run_on_a_worker_can_be_cancelled(tmp_path, broker):
    cron = application(tmp_path, broker, ["long"])
    with worker(tmp_path, ["long"]):
        [run] = cron.tick().runs
        wait_until(lambda: starts(tmp_path, "long"))
        scheduler(cron.registry).cancel(run.id)
        assert ended(cron, 1)["long"].state is RunState.CANCELLED


@pytest.mark.parametrize("pool", ["threads", "prefork", "solo"])
def test_a_worker_that_is_told_to_stop_lets_a_run_finish(tmp_path, broker, pool):
    cron = application(tmp_path, broker, ["long"])
    with worker(tmp_path, ["long"], pool) as process:
        cron.tick()
        wait_until(lambda: starts(tmp_path, "long"))
        process.send(signal.SIGTERM)
        wait_until(lambda: "Warm shutdown" in process.output)
        (tmp_path / "finish").touch()
        assert process.exit_code() == 0
    assert ended(cron, 1)["long"].state is RunState.SUCCEEDED


@pytest.mark.parametrize("end", ["has run as many tasks as it may", "is told to stop"])
def test_a_process_of_a_worker_that_ends_tells_monitors_first(tmp_path, broker, end):
    def slow_at_first(asked):
        if asked.path.endswith("/start"):
            time.sleep(2)
        return 200, "OK"

    cron = application(tmp_path, broker, ["quick"])
    told = {"cron.monitors": "healthchecks", "cron.healthchecks.ping_key": "key"}
    options = ["--max-tasks-per-child", "1"] if end.startswith("has run") else []
    with serving() as server:
        server.answer = slow_at_first
        told["cron.healthchecks.url"] = server.url
        with worker(tmp_path, ["quick"], "prefork", options=options, **told) as process:
            cron.tick()
            ended(cron, 1)
            if not options:
                process.send(signal.SIGTERM)
                assert process.exit_code() == 0
            wait_until(lambda: len(server.paths) == 2, 10)
        assert server.paths == ["/key/quick/start", "/key/quick"]


def test_one_that_was_cancelled_before_does_not_begin(tmp_path, broker):
    cron = application(tmp_path, broker, ["quick"])
    [run] = cron.tick().runs
    scheduler(cron.registry).cancel(run.id)
    with worker(tmp_path, ["quick"]):
        assert ended(cron, 1)["quick"].state is RunState.CANCELLED
    assert starts(tmp_path, "quick") == []


def add(config, **arguments):
    config.add_cron_task(print, name="some", **arguments)
    config.commit()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"executor": "celery"},
            r"cron task 'some': .* needs the setting cron\.celery\.broker_url, such as redis://",
        ),
        ({"executor": "celery", "celery": {"que": "x"}}, "'que': 'x'.*: must be a dict with some"),
        ({"executor": "celery", "celery": "slow"}, "celery='slow': must be a dict with some of"),
        ({"celery": {"queue": "slow"}}, "only for executor='celery', not 'request'"),
        (
            {"executor": "dramatiq"},
            "must be one of 'request', 'thread', 'process', 'worker'",
        ),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        add(configure(), **wrong)


@pytest.mark.parametrize(
    ("name", "message"),
    [("no.such:app", "can't be imported"), ("os:path", "is no Celery app")],
)
def test_a_wrong_celery_app_is_refused(name, message):
    with pytest.raises(ConfigurationError, match=rf"cron\.celery\.app: '{name}' {message}"):
        add(configure(**{"cron.celery.app": name}), executor="celery")
