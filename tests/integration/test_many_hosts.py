"""Hosts are cut off and die, and every slot still ends once."""

import sys
from dataclasses import asdict

import pytest
import redis

from tests import databases
from tests.integration.hosts import BROKER, COMMANDS, FAULTS, Place, deployment, outcome
from tests.integration.network import no_namespaces, ways
from tests.integration.processes import missing, program, wait_until

IMPATIENT = """
from pyramid_cron.store import engine
from tests.integration import ticker
engine.IDLE_TRANSACTION_SECONDS = 1
ticker.main({folder!r}, {url!r}, {prefix!r}, 60)
"""


@pytest.fixture
def hosts(tmp_path):
    """Two hosts with servers, two with workers, each with a line that can be cut."""
    try:
        with redis.Redis.from_url(BROKER) as client:
            client.ping()
    except redis.ConnectionError as error:
        missing(f"needs a Redis server at {BROKER}: {error}")
    namespaces = no_namespaces() is None
    with (
        databases.place("postgresql", tmp_path) as found,
        deployment(Place(found.url, found.prefix, tmp_path), namespaces=namespaces) as made,
    ):
        yield made


def test_a_store_that_falls_silent_is_an_error_before_long(tmp_path):
    if reason := no_namespaces():
        pytest.skip(reason)
    with databases.place("postgresql", tmp_path) as found:
        here = Place(found.url, found.prefix, tmp_path)
        with ways(1, here.servers, namespaces=True) as [line]:
            url = here.settings(line)["cron.url"]
            code = IMPATIENT.format(folder=str(tmp_path), url=url, prefix=found.prefix)
            command = [*line.command, sys.executable, "-uc", code]
            with program(tmp_path / "printed", *command) as child:
                child.ticks_until("first:succeeded")
                line.cut("silent")
                child.say("tick")
                wait_until(child.over)
                assert "StoreError: cron.url postgresql" in child.output


def test_every_slot_ends_once_though_hosts_are_cut_off_and_die(hosts):
    web1, web2, worker1, worker2 = (hosts[name] for name in COMMANDS)
    for each in hosts.hosts.values():
        each.works_on()

    web1.line.cut("silent")
    worker1.line.cut("refused")
    web1.fails()
    web2.works_on()
    worker2.works_on()
    web1.line.mend()
    worker1.line.mend()
    web1.works_on()
    worker1.works_on()

    web1.line.cut("refused")
    web2.line.cut("silent")
    worker2.line.cut("silent")
    web1.fails()
    web2.fails()
    web1.line.mend()
    web2.line.mend()
    web2.works_on()
    worker1.works_on()
    worker2.line.mend()
    worker2.works_on()

    web2.kill()
    worker1.kill()
    web1.works_on()
    worker2.works_on()
    for each in (web2, worker1):
        each.start()
    for each in (web2, worker1):
        each.be_ready()
        each.works_on()

    came = asdict(outcome(hosts, hosts.settle()))
    assert {name: came[name] for name in FAULTS} == {name: [] for name in FAULTS}
    # It was no idle time. What was deferred is no slot of these, and succeeds as well.
    assert came["states"]["succeeded"] > came["slots"] / 4
    assert set(came["lateness"]) == {"request", "thread", "celery"}
