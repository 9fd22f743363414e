"""The tables: made when first needed, whole, and refused when they are newer."""

from dataclasses import replace

import pytest
from sqlalchemy import event, inspect

from pyramid_cron.errors import StoreError
from pyramid_cron.store import schema
from pyramid_cron.store.retention import prune
from tests.apps import NOON
from tests.records import claim


def tables(found):
    with found.connection() as connection:
        names = inspect(connection).get_table_names()
        return {name for name in names if name.startswith(found.prefix)}


def indexes(found):
    with found.connection() as connection:
        found_indexes = inspect(connection).get_indexes(f"{found.prefix}runs")
    return {index["name"].removeprefix(f"{found.prefix}runs_") for index in found_indexes}


def test_they_are_made_when_first_needed_and_bear_the_prefix(shared, make_store):
    store = make_store(shared)
    assert tables(shared) == set()
    assert store.history() == []
    names = (
        "schema_info",
        "runs",
        "run_outputs",
        "ends",
        "ticks",
        "task_sets",
        "pause_rules",
        "schedules",
        "run_stats",
        "actions",
    )
    assert tables(shared) == {f"{shared.prefix}{name}" for name in names}


def test_any_question_or_change_makes_them(anywhere, make_store):
    assert make_store(anywhere).cancel_requests() == set()
    assert prune(make_store(anywhere), NOON, 10, (), NOON) == 0


def test_they_are_made_once(shared, make_store):
    [run] = claim(make_store(shared))
    assert make_store(shared).get_run(run.id) == run


def test_tables_of_a_newer_version_are_refused(shared, make_store):
    make_store(shared).open()
    shared.execute(f"UPDATE {shared.prefix}schema_info SET value = '99' WHERE name = 'schema'")
    store = make_store(shared)
    with pytest.raises(StoreError, match=r"cron.url .*schema version 99.*; upgrade pyramid_cron"):
        store.history()
    with pytest.raises(StoreError, match="schema version 99"):
        claim(store)


def test_tables_that_a_newer_version_makes_meanwhile_are_refused(shared, make_store, monkeypatch):
    """Who waited for another process to make the tables looks at what it made."""
    answers = iter([None])
    version = schema._read_version
    monkeypatch.setattr(schema, "_read_version", lambda *args: next(answers, version(*args)))
    make_store(shared).open()
    shared.execute(f"UPDATE {shared.prefix}schema_info SET value = '99' WHERE name = 'schema'")
    answers = iter([None])
    with pytest.raises(StoreError, match="schema version 99"):
        make_store(shared).open()


@pytest.mark.parametrize("there", [["schema_info"], ["schema_info", "runs"], ["runs"]])
def test_tables_that_were_made_in_part_are_completed(shared, make_store, there):
    """MariaDB has no transaction around the making, and who makes them may be stopped in it."""
    whole = replace(shared, prefix=f"w{shared.prefix}")
    made = make_store(whole)
    store = make_store(shared)
    try:
        made.open()
        with shared.connection() as connection:
            for name in there:
                table = getattr(store.tables, name)
                kept, table.indexes = table.indexes, set()
                table.create(connection)
                table.indexes = kept
        assert claim(store)
        assert tables(shared) == {name.removeprefix("w") for name in tables(whole)}
        assert indexes(shared) == indexes(whole)
    finally:
        whole.drop()


class TestAnotherProcessThatMakesThemForLong:
    def test_it_is_not_waited_for_without_end(self, mariadb, make_store, monkeypatch):
        monkeypatch.setattr(schema, "SCHEMA_LOCK_SECONDS", 0)
        store = make_store(mariadb)
        with mariadb.connection() as connection:
            connection.exec_driver_sql(f"SELECT GET_LOCK('{mariadb.prefix}schema_info', 0)")
            with pytest.raises(StoreError, match=r"cron.url mariadb.*has been making the tables"):
                store.open()
        assert claim(store)

    def test_who_fails_at_it_lets_others_try(self, mariadb, make_store, monkeypatch):
        monkeypatch.setattr(schema, "SCHEMA_LOCK_SECONDS", 0)
        store, other = make_store(mariadb), make_store(mariadb)
        with monkeypatch.context() as patch:
            patch.setattr(store.tables.metadata, "create_all", fail)
            with pytest.raises(ZeroDivisionError):
                store.open()
        assert claim(other)
        assert store.history()

    def test_stores_beside_each_other_do_not_wait_for_each_other(
        self, mariadb, make_store, monkeypatch
    ):
        monkeypatch.setattr(schema, "SCHEMA_LOCK_SECONDS", 0)
        beside = replace(mariadb, prefix=f"b{mariadb.prefix}")
        with mariadb.connection() as connection:
            connection.exec_driver_sql(f"SELECT GET_LOCK('{beside.prefix}schema_info', 0)")
            assert claim(make_store(mariadb))

    def test_the_lock_lasts_until_the_version_is_committed(self, mariadb, make_store):
        store = make_store(mariadb)
        is_locked = []
        with mariadb.connection() as connection, store.database.read() as opened:

            def on_commit(_):
                query = f"SELECT IS_USED_LOCK('{mariadb.prefix}schema_info') IS NOT NULL"
                is_locked.append(connection.exec_driver_sql(query).scalar())

            event.listen(opened.engine, "commit", on_commit)
            store.open()
        assert is_locked == [1]


def fail(_):
    raise ZeroDivisionError
