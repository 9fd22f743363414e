"""``pyramid_cron.alembic``: autogenerate leaves the tables of the store alone."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Index, Integer, MetaData, Table, create_engine, make_url

from pyramid_cron.alembic import (
    include_name,
    include_object,
    make_include_name,
    make_include_object,
)
from pyramid_cron.store.store import Store


@pytest.fixture
def compare(tmp_path):
    """Compare a database that a store and an application share with the application's metadata."""
    engines = []

    def compare(prefix="cron_", **options):
        url = make_url(f"sqlite:///{tmp_path}/{prefix}app.sqlite")
        store = Store(url, prefix)
        store.open()
        store.database.dispose()
        metadata = MetaData()
        Table("carts", metadata, Column("id", Integer, primary_key=True), Column("owner", Integer))
        Table("cron_jobs", metadata, Column("id", Integer, primary_key=True))
        engine = create_engine(url)
        engines.append(engine)
        metadata.create_all(engine)
        Table("orders", metadata, Column("id", Integer, primary_key=True))
        Index("carts_by_owner", metadata.tables["carts"].c.owner)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=options)
            differences = compare_metadata(context, metadata)
        return sorted((one[0], one[1].name) for one in differences)

    yield compare
    for engine in engines:
        engine.dispose()


OWN = [("add_index", "carts_by_owner"), ("add_table", "orders")]
"""What the application has changed itself."""


def test_without_it_the_store_would_be_dropped(compare):
    assert ("remove_table", "cron_runs") in compare()


@pytest.mark.parametrize(
    "options", [{"include_name": include_name}, {"include_object": include_object}]
)
def test_with_it_only_the_applications_own_changes_are_left(compare, options):
    assert compare(**options) == OWN


@pytest.mark.parametrize(
    "options",
    [
        {"include_name": make_include_name("tick_")},
        {"include_object": make_include_object("tick_")},
    ],
)
def test_tables_may_have_another_prefix(compare, options):
    assert compare("tick_", **options) == OWN


def test_a_filter_of_the_applications_own_is_asked_about_the_rest(compare):
    def no_orders(object_, name, type_, reflected, compare_to):
        return name != "orders"

    options = {"include_object": make_include_object(other=no_orders)}
    assert compare(**options) == [("add_index", "carts_by_owner")]
    options = {"include_name": make_include_name(other=lambda name, type_, parents: True)}
    assert compare(**options) == OWN
