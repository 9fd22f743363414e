"""A database server in trouble: one line that names it and the cause, work as soon as it can."""

import select
import socket
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from typing import ClassVar

import pytest
from sqlalchemy import text

from pyramid_cron.errors import StoreError
from pyramid_cron.store import engine
from tests.apps import NOON
from tests.databases import DRIVERS
from tests.records import MINUTE, claim, ended, slot, write

ITS_ID = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}
ITS_IDLE_LIMIT = {
    "postgresql": "SELECT current_setting('idle_in_transaction_session_timeout')",
    "mariadb": "SELECT @@idle_write_transaction_timeout",
}
KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}

LOST = "gone away|terminating|Lost connection"


def kill_connection(place, store):
    """End the connection that the store has in its pool, as a restart of the server does."""
    with store.database.read() as connection:
        number = connection.scalar(text(ITS_ID[place.kind]))
    place.execute(KILL[place.kind].format(number))


def idle_limit(place, store, **options):
    """Return after how many idle seconds the server ends a transaction that writes."""
    with store.write_session(**options) as session:
        limit = session.connection.scalar(text(ITS_IDLE_LIMIT[place.kind]))
    return int(str(limit).removesuffix("s"))


@contextmanager
def trouble(place, cause):
    """Expect a StoreError of one line that names the store and the cause, but no password."""
    with pytest.raises(StoreError, match=cause) as caught:
        yield
    message = str(caught.value)
    assert message.startswith(f"cron.url {place.url.render_as_string(hide_password=True)}: ")
    assert "\n" not in message


@contextmanager
def door(port, url):
    """Let who comes to a port of this machine through to the server, one after another."""

    def pass_on():
        visitor, _ = listener.accept()
        with visitor, socket.create_connection((url.host, url.port)) as server:
            pair = {visitor: server, server: visitor}
            while True:
                for ready in select.select(list(pair), [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    pair[ready].sendall(data)

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=pass_on)
        thread.start()
        yield
        thread.join()


class TestAServerThatRestarts:
    def test_between_two_uses_is_not_noticed(self, served, make_store):
        store = make_store(served)
        claim(store, slot("a"))
        kill_connection(served, store)
        assert claim(store, slot("b"))
        kill_connection(served, store)
        assert store.peek(NOON).window_ends == {}
        kill_connection(served, store)
        assert len(store.history()) == 2

    def test_in_the_middle_of_a_claim_leaves_nothing_claimed(self, served, make_store):
        store = make_store(served)
        store.open()
        with (
            trouble(served, "gone away|terminating|Lost connection"),
            store.claim_transaction(NOON, NOON + MINUTE) as claims,
        ):
            claims.claim([slot()])
            number = claims._connection.scalar(text(ITS_ID[served.kind]))
            served.execute(KILL[served.kind].format(number))
        assert store.history() == []
        assert claim(store)

    def test_what_could_not_be_written_is_written_later(self, served, make_store):
        store = make_store(served)
        [run] = claim(store)
        kill_connection(served, store)
        write(store, ended(run))
        assert store.get_run(run.id) == ended(run)


class TestAServerThatIsReadOnly:
    """As one that has given up its place to another."""

    MAKE_READ_ONLY: ClassVar = {
        "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "mariadb": "SET SESSION TRANSACTION READ ONLY",
    }

    def test_is_connected_to_anew(self, served, make_store):
        store = make_store(served)
        store.open()
        with store.database.read() as connection, store.database.read() as other:
            for each in (connection, other):
                each.execute(text(self.MAKE_READ_ONLY[served.kind]))
                each.commit()
        with trouble(served, "(?i)read.only"):
            claim(store)
        assert claim(store, slot("a"))
        assert claim(store, slot("b"))

    @pytest.mark.parametrize("code", [1290, 1792, 1836])
    def test_mariadb_says_so_in_several_ways(self, code):
        assert engine.is_read_only_error(Exception(code, "read-only"))
        assert not engine.is_read_only_error(Exception(1205, "Lock wait"))


class TestWhatADriverCanNotSend:
    """The driver raises an error that is none of its own."""

    def test_is_an_error_of_the_store(self, served, make_store):
        store = make_store(served)
        with trouble(served, "UnicodeEncodeError: "), store.database.write() as connection:
            connection.exec_driver_sql("SELECT %s", ("\udc80",))
        assert claim(store)

    def test_while_it_connects_too(self, make_store, served, monkeypatch):
        store = make_store(served)

        def connect(*_, **__):
            raise UnicodeError("label empty or too long")

        monkeypatch.setattr(import_module(DRIVERS[served.kind]), "connect", connect)
        with trouble(served, "UnicodeError: label empty"):
            store.peek(NOON)

    def test_an_error_of_ours_stays_what_it_is(self, memory, make_store):
        with pytest.raises(LookupError), make_store(memory).database.write():
            raise LookupError


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "UTF8"])
def test_postgresql_is_spoken_to_in_utf_8_whatever_the_database(postgresql, make_store, encoding):
    name = f"{postgresql.prefix}{encoding}".lower()
    postgresql.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
    )
    try:
        url = postgresql.url.set(database=name).update_query_dict({"client_encoding": "latin1"})
        store = make_store(replace(postgresql, url=url))
        [run] = claim(store, slot("täglich", payload="é"))
        assert store.get_run(run.id) == run
        write(store, ended(run, log="☃ é"))
        assert store.get_run(run.id).log == {"LATIN1": "\\u2603 é"}.get(encoding, "☃ é")
        with store.database.read() as connection:
            assert connection.scalar(text("SHOW client_encoding")) == "UTF8"
        store.database.dispose()
    finally:
        postgresql.execute(f"DROP DATABASE {name}")


class TestAServerThatIsNotThere:
    CAUSE = r"OperationalError: .*(refused|Can't connect)"

    def test_every_use_says_so_but_not_the_password(self, served, make_store):
        away = replace(served, url=served.url.set(port=1, password="hush"))
        store = make_store(away)
        with trouble(away, self.CAUSE):
            store.open()
        with trouble(away, self.CAUSE):
            store.peek(NOON)
        with trouble(away, self.CAUSE):
            claim(store)

    def test_it_is_used_once_it_is_there(self, served, make_store):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        away = replace(served, url=served.url.set(host="127.0.0.1", port=port))
        store = make_store(away)
        with trouble(away, self.CAUSE):
            claim(store)
        with door(port, served.url):
            assert claim(store)
            store.database.dispose()


class TestAnotherThatHoldsTheLock:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch):
        monkeypatch.setattr(engine, "STORE_WAIT_SECONDS", 1)

    def test_a_writer_gives_up_and_works_afterwards(self, served, make_store):
        holder, store = make_store(served), make_store(served)
        [run] = claim(store)
        with holder.claim_transaction(NOON, NOON + MINUTE):
            with trouble(served, "[Ll]ock"):
                claim(store, slot("b"))
            with trouble(served, "[Ll]ock"):
                write(store, ended(run))
            assert store.history() == [run]
        write(store, ended(run))
        assert store.history() == [ended(run)]

    def test_a_table_that_is_locked_is_not_waited_for_for_ever(self, served, make_store):
        store = make_store(served)
        store.open()
        lock = {
            "postgresql": "BEGIN; LOCK TABLE {}runs IN ACCESS EXCLUSIVE MODE",
            "mariadb": "LOCK TABLES {}runs WRITE",
        }
        with served.connection() as connection:
            connection.exec_driver_sql(lock[served.kind].format(served.prefix))
            with trouble(served, "[Ll]ock"):
                store.peek(NOON)
        assert not store.peek(NOON).has_work


class TestAProcessThatIsFrozen:
    @pytest.fixture
    def frozen(self, served, make_store, monkeypatch):
        """A store whose process was frozen in a transaction, and another's, which waited for it."""
        monkeypatch.setattr(engine, "STORE_WAIT_SECONDS", 20)
        monkeypatch.setattr(engine, "IDLE_WRITE_SECONDS", 1)
        frozen, store = make_store(served), make_store(served)
        with (
            trouble(served, "gone away|terminating|Lost connection"),
            frozen.claim_transaction(NOON, NOON + MINUTE) as claims,
        ):
            claims.claim([slot("a")])
            assert claim(store, slot("b"))
            claims.claim([slot("c")])
        return frozen

    def test_its_transaction_is_ended_for_it(self, frozen):
        """It can't keep others from working for longer than they wait."""
        assert [run.task for run in frozen.history()] == ["b"]
        assert claim(frozen, slot("a"))

    def test_it_is_given_more_time_afterwards_as_it_may_be_only_slow(
        self, served, make_store, frozen
    ):
        assert idle_limit(served, frozen) == engine.IDLE_TRANSACTION_SECONDS
        assert idle_limit(served, make_store(served)) == 1

    def test_one_that_says_it_takes_long_has_more_time_at_once(self, served, make_store):
        store = make_store(served)
        assert idle_limit(served, store) == engine.IDLE_WRITE_SECONDS
        assert idle_limit(served, store, is_long=True) == engine.IDLE_TRANSACTION_SECONDS
        assert idle_limit(served, store) == engine.IDLE_WRITE_SECONDS
        assert engine.IDLE_WRITE_SECONDS < engine.STORE_WAIT_SECONDS


class TestTooManyConnections:
    def test_more_than_the_pool_has_are_waited_for(self, shared, make_store, monkeypatch):
        monkeypatch.setattr(engine, "STORE_WAIT_SECONDS", 1)
        store = make_store(shared)
        store.open()
        with ExitStack() as held:
            for _ in range(15):
                held.enter_context(store.database.read())
            with trouble(shared, "TimeoutError: QueuePool limit"):
                store.history()
            with trouble(shared, "TimeoutError: QueuePool limit"):
                store.peek(NOON)
        assert claim(store)

    def test_more_than_the_server_takes(self, limited, make_store):
        store = make_store(limited)
        store.open()
        with ExitStack() as held:
            held.enter_context(store.database.read())
            with trouble(limited, "too many connections|max_user_connections"):
                store.history()
            with trouble(limited, "too many connections|max_user_connections"):
                store.peek(NOON)
        assert claim(store)

    @pytest.fixture
    def limited(self, served):
        """The place, as seen by a user who may have one connection."""
        user = served.prefix
        for statement in self.MAKE[served.kind]:
            served.execute(statement.format(user))
        yield replace(served, url=served.url.set(username=user, password="hush"))
        for statement in self.DROP[served.kind]:
            served.execute(statement.format(user))

    MAKE: ClassVar = {
        "postgresql": [
            "CREATE ROLE {} LOGIN PASSWORD 'hush' CONNECTION LIMIT 1",
            "GRANT CREATE ON SCHEMA public TO {}",
        ],
        "mariadb": [
            "CREATE USER {}@'%' IDENTIFIED BY 'hush' WITH MAX_USER_CONNECTIONS 1",
            "GRANT ALL ON test.* TO {}@'%'",
        ],
    }
    DROP: ClassVar = {
        "postgresql": ["DROP OWNED BY {}", "DROP ROLE {}"],
        "mariadb": ["DROP USER {}@'%'"],
    }


def test_a_password_that_is_wrong_is_not_told(mariadb, make_store):
    wrong = replace(mariadb, url=mariadb.url.set(username="nobody", password="hush"))
    with trouble(wrong, "Access denied"):
        make_store(wrong).open()


class TestWhatTheURLSays:
    """It goes before what would be said else."""

    def test_how_long_to_wait_for_an_answer(self, mariadb, make_store):
        hurried = replace(mariadb, url=mariadb.url.update_query_dict({"read_timeout": "1"}))
        store = make_store(hurried)
        with trouble(hurried, "timed out"), store.database.read() as connection:
            connection.exec_driver_sql("SELECT SLEEP(30)")

    def test_text_is_kept_whatever_it_says_of_characters(self, mariadb, make_store):
        latin = replace(mariadb, url=mariadb.url.update_query_dict({"charset": "latin1"}))
        [run] = claim(make_store(latin), slot("\U0001f600", payload="\U0001f600"))
        assert make_store(mariadb).get_run(run.id) == run

    def test_where_the_tables_are(self, postgresql, make_store):
        schema = postgresql.prefix
        postgresql.execute(f"CREATE SCHEMA {schema}")
        try:
            apart = postgresql.url.update_query_dict({"options": f"-c search_path={schema}"})
            [run] = claim(make_store(replace(postgresql, url=apart)))
            assert make_store(postgresql).get_run(run.id) is None
            with postgresql.connection() as connection:
                found = connection.exec_driver_sql(f"SELECT id FROM {schema}.{schema}runs")
                assert found.scalars().all() == [run.id]
        finally:
            postgresql.execute(f"DROP SCHEMA {schema} CASCADE")
