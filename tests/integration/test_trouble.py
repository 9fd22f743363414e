"""The store can't be used for a while: what the tick answers, and what becomes of the runs."""

import logging
import os
import sqlite3
import subprocess
import tempfile
import threading
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from tests.apps import NOON, configure
from tests.integration import postgresql
from tests.integration.processes import missing, wait_until

MINUTE = timedelta(minutes=1)
NOBODY = 65534


class Shop:
    """An application with one task a minute, whose work a test may set; it is hit by the minute."""

    def __init__(self, url, caplog):
        config = configure(**{"cron.url": url})
        self.work = lambda: None
        self.ran = []
        config.add_cron_task(self._task, name="task", catch_up="all")
        self._app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        self._caplog = caplog
        self._minute = 0
        self.control = scheduler(config.registry)
        self.cron = get_cron(config.registry)
        caplog.set_level(logging.WARNING, "pyramid_cron")

    def _task(self, system):
        self.ran.append(system["run"].slot)
        self.work()

    def hit(self):
        """Hit the trigger one minute later; return the status."""
        self.cron.clock = lambda moment=NOON + self._minute * MINUTE: moment
        self._minute += 1
        return self._app.get("/cron", expect_errors=True).status_int

    def complaints(self):
        """What was logged, from WARNING on, since this was last asked."""
        found = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return found

    def states(self):
        """The states of all runs, oldest slot first."""
        return [str(run.state) for run in sorted(self.control.history(), key=lambda run: run.slot)]

    def fails(self, cause):
        """Hit the trigger, which must fail with one line that names the cause, and run nothing."""
        before = len(self.ran)
        assert (self.hit(), len(self.ran) - before) == (503, 0)
        [line] = self.complaints()
        assert line.startswith("tick failed: cron.url ")
        assert cause in line

    def works(self):
        """Hit the trigger, which must run all slots that have not run yet, and each only once."""
        assert self.hit() == 200
        assert self.complaints() == []
        assert self.ran == [NOON + n * MINUTE for n in range(self._minute)]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "cron.sqlite"


@pytest.fixture
def shop(path, caplog):
    made = Shop(f"sqlite:///{path}", caplog)
    yield made
    made.cron.close()


@pytest.fixture
def short_patience(monkeypatch):
    monkeypatch.setattr("pyramid_cron.store.engine.STORE_WAIT_SECONDS", 0.3)


@contextmanager
def locked(path):
    """Keep every other writer out."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        if other.in_transaction:
            other.execute("ROLLBACK")


def is_written(shop, states):
    return lambda: shop.states() == states


class TestALockedFile:
    def test_a_tick_waits_for_a_writer_that_is_soon_done(self, shop, path):
        shop.works()
        with locked(path) as other:
            timer = threading.Timer(0.5, other.execute, ("ROLLBACK",))
            timer.start()
            shop.works()
            timer.join()

    def test_a_tick_fails_when_the_writer_takes_too_long(self, short_patience, shop, path):
        shop.works()
        with locked(path):
            shop.fails("database is locked")
            shop.fails("database is locked")
        shop.works()

    def test_results_are_written_once_the_writer_is_done(self, short_patience, shop, path):
        shop.works()
        with locked(path) as other:
            other.execute("ROLLBACK")
            shop.work = lambda: other.execute("BEGIN IMMEDIATE")
            assert shop.hit() == 503
            [line] = shop.complaints()
            assert "database is locked" in line
            assert shop.states() == ["succeeded", "claimed"]
        wait_until(is_written(shop, ["succeeded", "succeeded"]))
        assert shop.complaints() == []
        shop.work = lambda: None
        shop.works()


class TestAMissingFile:
    def test_without_its_folder_a_tick_fails_until_it_is_back(self, shop, path):
        shop.works()
        path.parent.rename(path.parent.with_name("elsewhere"))
        shop.fails("unable to open database file")
        path.parent.with_name("elsewhere").rename(path.parent)
        shop.works()
        assert shop.states() == ["succeeded"] * 3

    def test_a_new_folder_gets_a_new_store(self, shop, path):
        shop.works()
        path.parent.rename(path.parent.with_name("elsewhere"))
        shop.fails("unable to open database file")
        path.parent.mkdir()
        shop.works()
        assert shop.states() == ["succeeded"] * 2

    def test_a_file_that_was_deleted_is_made_anew(self, shop, path):
        shop.works()
        delete(path)
        shop.works()
        assert shop.states() == ["succeeded"]

    def test_what_ran_while_the_file_was_deleted_does_not_run_again(self, shop, path):
        shop.works()
        shop.work = lambda: delete(path)
        assert shop.hit() == 200
        shop.work = lambda: None
        shop.works()


def delete(path):
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


class TestAFileThatIsNoDatabase:
    def test_in_its_place_a_tick_fails_until_the_right_one_is_back(self, shop, path):
        shop.works()
        kept = path.parent.with_name("kept")
        path.parent.rename(kept)
        path.parent.mkdir()
        path.write_bytes(b"this is no database\n" * 1000)
        shop.fails("file is not a database")
        delete(path)
        path.parent.rmdir()
        kept.rename(path.parent)
        shop.works()
        assert shop.states() == ["succeeded"] * 3

    def test_once_it_is_gone_a_new_store_is_made(self, shop, path):
        shop.works()
        delete(path)
        path.write_bytes(b"this is no database\n" * 1000)
        shop.fails("file is not a database")
        delete(path)
        shop.works()
        assert shop.states() == ["succeeded"] * 2

    def test_written_over_the_file_it_can_be_replaced_without_a_restart(self, shop, path):
        shop.works()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(b"this is no database\n" * 1000)
        shop.fails("DatabaseError")
        delete(path)
        shop.works()


@contextmanager
def unprivileged():
    """Be somebody who may not write everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def read_only(folder):
    """Take the permissions to write to a folder and its files."""
    modes = {each: each.stat().st_mode for each in (folder, *folder.iterdir())}
    for each, mode in modes.items():
        each.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for each, mode in modes.items():
            each.chmod(mode)


@pytest.fixture
def owned(tmp_path):
    """A folder of somebody who is not root."""
    with tempfile.TemporaryDirectory() as folder:
        if not os.geteuid():
            os.chown(folder, NOBODY, NOBODY)
        with unprivileged():
            yield Path(folder)


class TestAReadOnlyFile:
    def test_a_tick_fails_until_it_can_be_written(self, owned, caplog):
        path = owned / "cron.sqlite"
        shop = Shop(f"sqlite:///{path}", caplog)
        shop.works()
        shop.cron.close()  # whoever has it open may go on to write
        with read_only(owned):
            shop.fails("readonly database")
        shop.works()
        shop.cron.close()

    def test_a_folder_without_a_store_is_no_different(self, owned, caplog):
        shop = Shop(f"sqlite:///{owned}/cron.sqlite", caplog)
        with read_only(owned):
            shop.fails("unable to open database file")
        assert shop.hit() == 200
        assert len(shop.ran) == 1
        shop.cron.close()


@pytest.fixture
def little(tmp_path):
    """A file system with little room."""
    folder = tmp_path / "little"
    folder.mkdir()
    if os.geteuid():
        pytest.skip("only root can mount a file system")
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder):
    """Leave no room in a file system."""
    with open(folder / "filling", "ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass


class TestAFullDisk:
    def test_a_tick_fails_until_there_is_room(self, little, caplog):
        shop = Shop(f"sqlite:///{little}/cron.sqlite", caplog)
        shop.works()
        fill(little)
        shop.fails("disk is full")
        (little / "filling").unlink()
        shop.works()
        shop.cron.close()

    def test_results_are_written_once_there_is_room(self, little, caplog):
        shop = Shop(f"sqlite:///{little}/cron.sqlite", caplog)
        shop.works()

        def work():
            logging.getLogger("shop").error("x" * 60_000)
            fill(little)

        shop.work = work
        assert shop.hit() == 503
        assert [line for line in shop.complaints() if "xxx" not in line] == [
            "tick failed: cron.url "
            f"sqlite:///{little}/cron.sqlite: OperationalError: database or disk is full"
        ]
        (little / "filling").unlink()
        wait_until(is_written(shop, ["succeeded", "succeeded"]))
        shop.work = lambda: None
        shop.works()
        shop.cron.close()


@pytest.fixture(scope="module")
def server():
    if reason := postgresql.lacking():
        missing(reason)
    with postgresql.server() as made:
        yield made


@pytest.fixture
def far_shop(server, caplog):
    """A shop whose store is on a server."""
    server.do("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    made = Shop(server.url, caplog)
    yield made
    made.cron.close()


END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


class TestAServer:
    def test_connections_that_end_between_ticks_are_opened_again(self, server, far_shop):
        far_shop.works()
        server.do(END_OTHERS)
        far_shop.works()

    def test_connections_that_end_while_a_task_runs_are_opened_again(self, server, far_shop):
        far_shop.work = lambda: server.do(END_OTHERS)
        far_shop.works()
        assert far_shop.states() == ["succeeded"]

    def test_a_connection_that_ends_while_slots_are_claimed_fails_the_tick(self, server, far_shop):
        far_shop.works()
        with server.connection() as other:
            other.execute("BEGIN")
            other.execute("LOCK TABLE cron_runs IN EXCLUSIVE MODE")
            ending = threading.Thread(target=lambda: end_who_waits(server))
            ending.start()
            far_shop.fails("terminating connection")
            ending.join()
        far_shop.works()

    def test_a_restart_while_a_task_runs_goes_unnoticed(self, server, far_shop):
        def restart():
            server.stop()
            server.start()

        far_shop.work = restart
        far_shop.works()
        assert far_shop.states() == ["succeeded"]

    def test_while_it_is_down_ticks_fail_and_results_are_written_later(self, server, far_shop):
        far_shop.works()
        far_shop.work = server.stop
        assert far_shop.hit() == 503
        [line] = far_shop.complaints()
        assert line.startswith("tick failed: cron.url postgresql+psycopg://cron@")
        assert "connection to server" in line
        far_shop.work = lambda: None
        far_shop.fails("connection to server")
        server.start()
        wait_until(is_written(far_shop, ["succeeded", "succeeded"]))
        far_shop.works()

    def test_too_many_connections_fail_the_tick(self, server, far_shop):
        far_shop.works()
        far_shop.cron.close()
        wait_until(lambda: not server.do(END_OTHERS))
        with server.no_connection_left():
            far_shop.fails("too many clients")
        far_shop.works()


def end_who_waits(server):
    """End the connection that waits for a lock."""
    waits = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    wait_until(lambda: server.do(waits))
