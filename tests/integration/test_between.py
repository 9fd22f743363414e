"""What goes on between ticks and beside a task that hangs, in servers and in workers."""

import os
import re
import signal
import time
from collections import Counter
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.request import ProxyHandler, build_opener

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from tests import databases
from tests.integration import between
from tests.integration.accounting import lines
from tests.integration.processes import DEADLINE, python, wait_until

GUNICORN = ["-m", "gunicorn", "-b", "127.0.0.1:0"]
ONE_WORKER = [*GUNICORN, "tests.integration.between:app()"]
SELF_TRIGGERED = {
    "gunicorn": [
        *(*GUNICORN, "--preload", "--workers", "2"),
        "tests.integration.between:app_that_triggers_itself()",
    ],
    "waitress": ["-m", "tests.integration.between"],
}
SPEED = 30
"""How many seconds pass in one for an application that waits for minutes."""


class Place:
    """A folder with the application's store and what its tasks have left there."""

    def __init__(self, folder, **settings):
        self.folder = folder
        self._settings = settings
        config = between.configured(folder, **{"cron.beats": "false"} | settings)
        self.app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        self.control = scheduler(config.registry)

    def starts(self, task):
        """The slot, attempt and process of each start of a task."""
        found = [line.split() for line in lines(self.folder / "starts")]
        return [
            (slot, int(attempt), int(pid)) for name, slot, attempt, pid, _ in found if name == task
        ]

    def doubled(self):
        """The runs that began twice, and the slots and attempts of scheduled ones that did."""
        found = [line.split() for line in lines(self.folder / "starts")]
        keys = [run for *_, run in found]
        keys += [tuple(line[:3]) for line in found if line[0] in ("minutely", "secondly")]
        return [key for key, count in Counter(keys).items() if count > 1]

    def shown(self, page):
        """What a page shows to a machine."""
        headers = {"Accept": "application/json"}
        return self.app.get(f"/cron/{page}", headers=headers, expect_errors=True).json

    def close(self):
        get_cron(self.app.app.registry).close()

    @contextmanager
    def serving(self, command, **variables):
        """Run a server; give its process and its address."""
        variables["CRON_FOLDER"] = str(self.folder)
        with python(self.folder / "printed", *command, **variables) as server:
            match = wait_until(lambda: re.search(r"Listening at: (http://\S+) ", server.output))
            yield server, match[1]

    @contextmanager
    def working(self, *options, number=1):
        """Run a worker until the block ends."""
        ini = self.folder / "app.ini"
        rest = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        ini.write_text(between.INI.format(folder=self.folder) + rest)
        command = ["-m", "pyramid_cron.scripts.pcron", ini, "work", *options]
        with python(self.folder / f"worker{number}", *command) as worker:
            worker.wait_for("working with ")
            yield worker


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def postgresql_place(tmp_path):
    """One whose store is in PostgreSQL, and whose runs are soon lost."""
    with databases.place("postgresql", tmp_path) as store:
        url = store.url.render_as_string(hide_password=False)
        settings = {"cron.url": url, "cron.table_prefix": store.prefix, "cron.lease": "1"}
        place = Place(tmp_path, **settings)
        yield place
        place.close()


@contextmanager
def hit(address):
    """Hit a trigger in another thread, whose answer may never come."""

    def get():
        with suppress(OSError):
            build_opener(ProxyHandler({})).open(f"{address}/cron", timeout=DEADLINE).read()

    thread = Thread(target=get)
    thread.start()
    yield
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_a_task_that_hangs_in_the_only_worker_of_a_server_holds_up_no_other(place):
    hanging = place.control.defer("hanging")
    place.control.defer("other")
    with place.serving(ONE_WORKER) as (_, address), hit(address):
        wait_until(lambda: place.starts("hanging"))
        wait_until(lambda: place.starts("other"))
        before = len(place.starts("secondly"))
        wait_until(lambda: len(place.starts("secondly")) >= before + 2)
        runs = {run["task"]: run["state"] for run in place.shown("runs")["runs"]}
        assert (runs["hanging"], runs["other"]) == ("running", "succeeded")
        health = {task["task"]: task["state"] for task in place.shown("health")["tasks"]}
        assert (health["other"], health["secondly"]) == ("ok", "ok")
        (place.folder / "finish").touch()
    assert str(place.control.get_run(hanging.id).state) == "succeeded"
    assert place.doubled() == []


def test_what_an_aborted_worker_had_claimed_and_not_begun_runs_with_the_next_tick(place):
    hanging, other = place.control.defer("hanging"), place.control.defer("other")
    with place.serving(ONE_WORKER) as (server, address):
        with hit(address):
            [(_, _, pid)] = wait_until(lambda: place.starts("hanging"))
            os.kill(pid, signal.SIGABRT)
        wait_until(lambda: place.control.get_run(hanging.id).state.is_final)
        run = place.control.get_run(hanging.id)
        assert (str(run.state), run.error) == ("failed", "SystemExit: 1")
        wait_until(lambda: str(place.control.get_run(other.id).state) == "waiting")
        assert place.starts("other") == []
        wait_until(lambda: server.output.count("Booting worker") == 2)
        with hit(address):
            pass
        assert str(place.control.get_run(other.id).state) == "succeeded"
    [(_, attempt, other_pid)] = place.starts("other")
    assert (attempt, other_pid != pid) == (1, True)


@pytest.mark.parametrize("command", SELF_TRIGGERED.values(), ids=SELF_TRIGGERED.keys())
def test_the_minutes_ticks_come_by_themselves(place, command):
    clock = {"CRON_EPOCH": str(time.time()), "CRON_SPEED": str(SPEED)}
    with place.serving(command, **clock) as (server, _):
        wait_until(lambda: len(place.starts("minutely")) >= 2)
        server.send(signal.SIGINT)
        assert server.exit_code() == 0
    slots = [slot for slot, _, _ in place.starts("minutely")]
    assert slots == sorted(set(slots))
    assert place.doubled() == []


class TestWorkers:
    def test_a_worker_makes_ticks_and_beats_and_runs_what_waits_for_workers(self, place):
        place.control.defer("parcel")
        letter = place.control.defer("letter")
        with place.working("--only", "parc*") as worker:
            wait_until(lambda: place.starts("minutely") and place.starts("secondly"))
            [(_, _, pid)] = wait_until(lambda: place.starts("parcel"))
            assert pid == worker.pid
            place.control.defer("parcel")
            wait_until(lambda: len(place.starts("parcel")) == 2)
            assert str(place.control.get_run(letter.id).state) == "waiting"

    def test_sigterm_lets_its_runs_end_and_it_exits_with_0(self, place):
        crate = place.control.defer("crate")
        with place.working("--threads", "1") as worker:
            wait_until(lambda: place.starts("crate"))
            letter = place.control.defer("letter")
            worker.send(signal.SIGTERM)
            time.sleep(0.1)
            assert not worker.over()
            (place.folder / "finish").touch()
            assert worker.exit_code() == 0
            assert "Traceback" not in worker.output
        assert str(place.control.get_run(crate.id).state) == "succeeded"
        assert str(place.control.get_run(letter.id).state) == "waiting"

    @pytest.mark.databases
    def test_two_share_the_runs_and_each_runs_once(self, postgresql_place):
        place = postgresql_place
        with place.working("--threads", "2"), place.working("--threads", "2", number=2):
            for _ in range(60):
                place.control.defer("parcel")
            wait_until(lambda: len(place.starts("parcel")) >= 60)
            wait_until(lambda: not place.control.waiting())
        assert len(place.starts("parcel")) == 60
        assert len({pid for _, _, pid in place.starts("parcel")}) == 2
        assert place.doubled() == []

    @pytest.mark.databases
    def test_what_a_killed_one_ran_is_lost_and_the_other_tries_again(self, postgresql_place):
        place = postgresql_place
        crate = place.control.defer("crate")
        with place.working() as worker:
            wait_until(lambda: place.starts("crate"))
            with place.working(number=2):
                worker.send(signal.SIGKILL)
                killed = wait_until(lambda: place.starts("crate")[1:])
                (place.folder / "finish").touch()
                assert killed[0][1] == 2
                wait_until(lambda: "succeeded" in states(place, "crate"))
        assert str(place.control.get_run(crate.id).state) == "lost"
        assert place.doubled() == []


def states(place, task):
    return [str(run.state) for run in place.control.history(task)]
