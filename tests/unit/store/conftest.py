"""A store, empty, in each kind of database."""

import pytest

from tests.databases import EVERY, SERVERS, SHARED, place


@pytest.fixture(params=EVERY)
def anywhere(request, tmp_path):
    """A place for a store, in any database."""
    with place(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=SHARED)
def shared(request, tmp_path):
    """A place that several processes can use at once."""
    with place(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=SERVERS)
def served(request, tmp_path):
    """A place in a database server."""
    with place(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def mariadb(tmp_path):
    with place("mariadb", tmp_path) as found:
        yield found


@pytest.fixture
def postgresql(tmp_path):
    with place("postgresql", tmp_path) as found:
        yield found


@pytest.fixture
def file(tmp_path):
    """A place in a SQLite file."""
    with place("file", tmp_path) as found:
        yield found


@pytest.fixture
def memory(tmp_path):
    """A place in memory."""
    with place("memory", tmp_path) as found:
        yield found


@pytest.fixture
def make_store():
    """Makes the stores of a place, and closes their connections when the test is over."""
    made = []

    def make(found):
        made.append(found.store())
        return made[-1]

    yield make
    for store in made:
        store.database.dispose()


@pytest.fixture
def store(anywhere, make_store):
    return make_store(anywhere)
