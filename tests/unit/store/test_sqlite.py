"""A store in a SQLite file: durable, beside others, and wherever it is put."""

import sqlite3
from dataclasses import replace

import pytest
from pyramid.exceptions import ConfigurationError
from sqlalchemy import make_url

from pyramid_cron.errors import StoreError
from pyramid_cron.store import engine
from pyramid_cron.store.store import Store
from tests.apps import NOON, configure
from tests.records import claim, slot


@pytest.fixture
def path(file):
    return file.url.database


def test_claims_survive_a_power_cut(file, make_store):
    """Each commit waits for the disk, and readers do not wait for writers."""
    store = make_store(file)
    store.open()
    with store.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_file_with_tables_of_others_keeps_its_journal_mode(file, make_store, path):
    """A backup of the application's file by ``cp`` has to have all that is in it."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE carts (owner)")
    connection.close()
    for _ in range(2):  # also with the store's own tables beside them
        store = make_store(file)
        assert store.history() == []
        with store.database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"


def test_readers_do_not_wait_for_a_writer(file, make_store):
    store = make_store(file)
    [run] = claim(store)
    with store.claim_transaction(NOON, NOON) as claims:
        claims.claim([slot("b")])
        assert store.history() == [run]


def test_a_file_that_was_removed_is_made_again(file, make_store, tmp_path):
    store = make_store(file)
    claim(store)
    for left in tmp_path.iterdir():
        left.unlink()
    assert claim(store)
    assert len(store.history()) == 1


def test_a_file_that_was_replaced_is_used_as_it_is(file, make_store, tmp_path):
    store = make_store(file)
    claim(store)
    for left in tmp_path.iterdir():
        left.unlink()
    other = make_store(file)
    [run] = claim(other, slot("b"))
    assert store.history() == [run]


@pytest.mark.parametrize("start", ["file:", "file://", "file://localhost"])
def test_a_file_named_by_a_uri_is_made_again_too(file, make_store, tmp_path, start):
    url = make_url(f"sqlite:///{start}{tmp_path}/the%20store.sqlite?uri=true")
    store = make_store(replace(file, url=url))
    claim(store)
    assert (tmp_path / "the store.sqlite").exists()
    for left in tmp_path.iterdir():
        left.unlink()
    assert claim(store)
    assert len(store.history()) == 1


def test_what_was_in_memory_is_gone_once_its_connection_is_closed(memory, make_store):
    store = make_store(memory)
    claim(store)
    store.database.dispose()
    assert store.history() == []


def test_closing_what_was_never_opened_is_nothing(file, make_store):
    make_store(file).database.dispose()


def test_it_is_used_where_a_write_ahead_log_can_not_be(file, make_store, path):
    """Some file systems have no memory that processes could share."""
    url = make_url(f"sqlite:///file:{path}?vfs=unix-none&uri=true")
    store = make_store(replace(file, url=url))
    assert claim(store)
    with store.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


class TestAnotherThatHoldsTheFile:
    @pytest.fixture
    def holder(self, path, monkeypatch):
        monkeypatch.setattr(engine, "STORE_WAIT_SECONDS", 0.3)
        connection = sqlite3.connect(path, isolation_level=None)
        yield connection
        connection.close()

    def test_a_claim_fails_naming_it_and_works_afterwards(self, file, make_store, holder):
        store = make_store(file)
        store.open()
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            claim(store)
        holder.execute("COMMIT")
        assert str(caught.value) == f"cron.url {file.url}: OperationalError: database is locked"
        assert claim(store)

    def test_a_new_store_can_not_be_made_meanwhile(self, file, make_store, holder):
        store = make_store(file)
        holder.execute("BEGIN IMMEDIATE")
        holder.execute("CREATE TABLE theirs (id)")
        with pytest.raises(StoreError, match="database is locked"):
            store.open()
        holder.execute("COMMIT")
        assert claim(store)


class TestAFileThatGoesBad:
    def test_one_that_is_no_database_any_more(self, file, make_store, path):
        with open(path, "w") as broken:
            broken.write("This is no database, and it is long enough to tell. " * 10)
        store = make_store(file)
        with pytest.raises(StoreError, match=r"cron.url sqlite:.* file is not a database"):
            claim(store)
        with pytest.raises(StoreError, match="file is not a database"):
            store.peek(NOON)
        with open(path, "w"):
            pass
        assert claim(store)

    def test_tables_that_are_away(self, file, make_store, path):
        store = make_store(file)
        claim(store)
        blocker = sqlite3.connect(path)
        blocker.execute("ALTER TABLE cron_runs RENAME TO away")
        with pytest.raises(StoreError, match="no such table: cron_runs"):
            store.peek(NOON)
        blocker.execute("ALTER TABLE away RENAME TO cron_runs")
        blocker.close()
        assert not store.peek(NOON).has_work

    def test_a_full_disk(self, file, make_store):
        store = make_store(file)
        store.open()
        with store.database.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match=r"cron.url .*: database or disk is full"):
            claim(store, slot(payload="x" * 100_000))
        with store.database.read() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert claim(store, slot(payload="x" * 100_000))

    def test_a_folder_that_is_away(self, file, make_store, tmp_path):
        place = tmp_path / "cron.sqlite"
        store = make_store(file)
        place.mkdir()
        with pytest.raises(StoreError, match=r"cron.url .*: unable to open database file"):
            store.peek(NOON)
        place.rmdir()
        assert store.peek(NOON).window_ends == {}


class TestAnUnusablePlace:
    def refusal(self, url):
        config = configure(**{"cron.url": url})
        with pytest.raises(ConfigurationError) as caught:
            config.make_wsgi_app()
        return str(caught.value)

    def test_a_missing_folder(self, tmp_path):
        message = self.refusal(f"sqlite:///{tmp_path}/none/cron.sqlite")
        assert "cron.url" in message
        assert f"there is no folder {tmp_path}/none" in message

    def test_a_folder_in_place_of_a_file(self, tmp_path):
        assert f"{tmp_path}: is a folder" in self.refusal(f"sqlite:///{tmp_path}")

    def test_a_file_that_is_no_database(self, tmp_path):
        (tmp_path / "notes.txt").write_text("These are my notes, not a database.")
        assert "is no SQLite database" in self.refusal(f"sqlite:///{tmp_path}/notes.txt")

    def test_a_file_that_cannot_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "cron.sqlite").touch()
        monkeypatch.setattr("os.access", lambda path, mode: not str(path).endswith("sqlite"))
        assert "can't be written" in self.refusal(f"sqlite:///{tmp_path}/cron.sqlite")

    def test_a_folder_that_cannot_be_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr("os.access", lambda path, mode: False)
        message = self.refusal(f"sqlite:///{tmp_path}/cron.sqlite")
        assert f"the folder {tmp_path} can't be written" in message

    def test_a_place_that_can_be_used_is_not_touched(self, tmp_path):
        configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"}).make_wsgi_app()
        assert list(tmp_path.iterdir()) == []

    def test_a_file_named_by_a_uri(self, tmp_path):
        url = f"sqlite:///file:{tmp_path}/the%20store.sqlite?uri=true"
        configure(**{"cron.url": url}).make_wsgi_app()
        (tmp_path / "the store.sqlite").write_text("These are my notes, not a database.")
        assert f"{tmp_path}/the store.sqlite: the file is no SQLite" in self.refusal(url)
        assert f"{tmp_path}: is a folder" in self.refusal(f"sqlite:///file:{tmp_path}?uri=true")

    def test_an_empty_file_can_be_used(self, tmp_path):
        (tmp_path / "cron.sqlite").touch()
        configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"}).make_wsgi_app()

    def test_a_server_is_not_asked(self):
        """It may be down while an application starts."""
        configure(**{"cron.url": "postgresql://nobody@127.0.0.1:1/none"}).make_wsgi_app()


def test_a_relative_path_is_that_of_the_folder_in_which_the_store_was_made(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = Store(make_url("sqlite:///cron.sqlite"), "cron_")
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.open()
    assert (tmp_path / "cron.sqlite").exists()
    assert not (tmp_path / "elsewhere" / "cron.sqlite").exists()
