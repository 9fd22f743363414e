"""Eight processes tick at once, and never does more run outside of requests than is allowed."""

import multiprocessing
import time

import pytest
from sqlalchemy import select

from pyramid_cron import RunState
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import configure
from tests.databases import SHARED, place

PROCESSES = 8
CAPACITY = 4
SECONDS = 3.0
DEADLINE = 60
WEIGHTS = {"light": 1, "other light": 1, "middle": 2, "heavy": 3, "whole": 4}


def application(url, prefix):
    """Tasks of several weights, each due every second; more than there is room for."""
    config = configure(
        **{"cron.url": url, "cron.table_prefix": prefix, "cron.capacity": str(CAPACITY)}
    )
    for name, weight in WEIGHTS.items():
        config.add_cron_task(
            lambda system: time.sleep(0.1),
            every=1,
            name=name,
            weight=weight,
            overlap="allow",
            executor="thread",
        )
    config.make_wsgi_app()
    return config.registry


def tick_for_some_time(url, prefix, barrier):
    cron = CronTester(application(url, prefix))
    barrier.wait(DEADLINE)
    start = time.monotonic()
    while time.monotonic() < start + SECONDS or not has_enough_runs(cron, start):
        cron.tick()


def has_enough_runs(cron, start):
    """Whether more than one process has had its turn; a busy machine takes longer than others."""
    runs = succeeded_runs(get_cron(cron.registry).store)
    enough = len(runs) >= SECONDS and len({run.pid for run in runs}) > 1
    return enough or time.monotonic() > start + DEADLINE / 2


def succeeded_runs(store):
    return store.history(states=[RunState.SUCCEEDED], limit=10**6)


def loads(runs):
    """The weight that went on after each start and each end, by the record."""
    steps = [(run.started, WEIGHTS[run.task]) for run in runs]
    steps += [(run.finished, -WEIGHTS[run.task]) for run in runs]
    load = 0
    for _, step in sorted(steps):
        load += step
        yield load


@pytest.mark.parametrize("kind", SHARED)
def test_the_capacity_holds_over_all_processes(kind, tmp_path):
    with place(kind, tmp_path) as found:
        url = found.url.render_as_string(hide_password=False)
        # Its processes are forked from one that has imported all of this, and nothing else.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        barrier = context.Barrier(PROCESSES)
        arguments = (url, found.prefix, barrier)
        workers = [
            context.Process(target=tick_for_some_time, args=arguments) for _ in range(PROCESSES)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(DEADLINE)
        store = get_cron(application(url, found.prefix)).store
        runs = succeeded_runs(store)
        with store.database.read() as connection:
            weights = set(connection.scalars(select(store.tables.runs.c.weight)))
        store.database.dispose()
    assert {worker.exitcode for worker in workers} == {0}
    assert len({run.pid for run in runs}) > 1
    assert len(runs) >= SECONDS
    assert max(loads(runs)) == CAPACITY
    assert weights - {0} <= {*WEIGHTS.values()}
