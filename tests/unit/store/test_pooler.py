"""A store behind a pooler, which gives each transaction whatever session is free."""

import os
import shutil
import socket
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.apps import NOON
from tests.integration.processes import missing, program, wait_until
from tests.integration.recipes import free_port
from tests.records import claim, ended, slot, write

SETTINGS = """
[databases]
{url.database} = host={url.host} port={url.port} user={url.username} password='{url.password}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
"""


@pytest.fixture
def pooled(postgresql, tmp_path):
    """A place in PostgreSQL, all of whose connections share one session."""
    pgbouncer = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if pgbouncer is None:
        missing("needs pgbouncer")
    url, port = postgresql.url, free_port()
    settings = tmp_path / "pgbouncer.ini"
    settings.write_text(SETTINGS.format(url=url.set(port=url.port or 5432), port=port))
    other = ["-u", "nobody"] if os.geteuid() == 0 else []  # root it refuses to be
    with program(tmp_path / "printed", pgbouncer, *other, settings) as process:
        wait_until(lambda: process.over() or answers(port))
        assert not process.over(), process.output
        yield replace(postgresql, url=url.set(host="127.0.0.1", port=port))


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_hosts_take_turns_in_one_session(pooled, make_store):
    """Each with so much at once that the driver would prepare statements for it."""
    names = "abcdefghij"
    stores = [make_store(pooled) for _ in range(3)]
    moments = [NOON + timedelta(minutes=minute) for minute in range(6)]
    for moment, store in zip(moments, stores * 2, strict=True):
        runs = claim(store, *(slot(name, moment) for name in names), now=moment)
        write(store, *map(ended, runs))
    history = stores[0].history(limit=100)
    assert [str(run.state) for run in history] == ["succeeded"] * len(moments) * len(names)
