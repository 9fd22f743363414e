"""A server that plays the monitor."""

import logging

import pytest

from tests.http_servers import serving


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def second_server():
    with serving() as server:
        yield server


@pytest.fixture
def warnings(caplog):
    """Gives what pyramid_cron has warned of so far."""
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name == "pyramid_cron"
        and record.levelno == logging.WARNING
        and record.getMessage().startswith("monitor ")
    ]
