"""A process that is killed at a chosen point of its tick.

python -m tests.integration.dying FOLDER POINT ATTEMPTS STORE
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from datetime import timedelta

import transaction
from sqlalchemy import event

from pyramid_cron import events
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import NOON, Note, configure_with_database

APART = "a database of its own"
WITH_WORK = "the application's database"
"""Where the store is; in the application's, work and record are one transaction."""

log = logging.getLogger(__name__)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def configured(folder, attempts, point=None, store=APART):
    """Two tasks at noon, the first of which writes a note; the process ends at ``point``."""
    file = "cron.sqlite" if store == APART else "app.sqlite"
    config = configure_with_database(
        folder, mode="none", **{"cron.url": f"sqlite:///{folder}/{file}"}
    )
    if store == WITH_WORK:
        config.set_cron_session(lambda request: request.dbsession)

    def write(system):
        log.warning("begun")
        request, run = system["request"], system["run"]
        request.dbsession.add(Note(text=f"{run.task} {run.attempt}"))
        request.dbsession.flush()
        if point == "in the task":
            die()
        if point == "before the commit":
            event.listen(config.registry["engine"], "commit", die)
        if point == "between the commit and the record":
            transaction.get().addAfterCommitHook(die)
        if point == "between the commit and what is deferred":
            transaction.get().addAfterCommitHook(die)
            request.cron.defer("later")

    if point == "before the claim":
        config.add_subscriber(lambda event: event.now == NOON and die(), events.TickStarted)
    if point == "after the record":
        config.add_subscriber(lambda event: event.report.runs and die(), events.TickFinished)
    config.add_cron_task(write, name="first", hour=12, priority=1, retry=attempts)
    config.add_cron_task(write, name="second", hour=12, retry=attempts)
    config.add_cron_task(write, name="later", on_demand=True)
    return config


def main(folder, point, attempts, store):
    """Tick a minute before noon, when nothing is due, and at noon."""
    cron = CronTester(configured(folder, int(attempts), point, store).make_wsgi_app())
    cron.tick(at=NOON - timedelta(minutes=1))
    get_cron(cron.registry).supervisor.flush()  # soon it would be anyway
    cron.tick(at=NOON)


if __name__ == "__main__":
    main(*sys.argv[1:])
