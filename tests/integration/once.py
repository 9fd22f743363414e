"""A process that is killed at a chosen point of a task whose end is in its own transaction.

python -m tests.integration.once URL PREFIX POINT
"""

from __future__ import annotations

import os
import signal
import sys

from sqlalchemy import event, make_url

from pyramid_cron.app import get_cron
from tests.apps import NOON
from tests.databases import Place
from tests.exactly import Books

POINTS = ("after the work", "before the commit", "after the commit")


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def configured(place, point=None):
    """A task at noon that writes into the ledger, and defers another."""
    books = Books(place)

    def work(system):
        request = system["request"]
        books.write(request, "work")
        request.cron.defer("later")
        request.db.flush()
        if point == "after the work":
            die()
        if point == "before the commit":
            event.listen(books.engine, "commit", die)
        if point == "after the commit":
            event.listen(request.db, "after_commit", die)

    books.add_task("work", work, hour=12)
    books.add_task("later", lambda system: books.write(system["request"], "later"), on_demand=True)
    return books


def main(url, prefix, point):
    books = configured(Place("once", make_url(url), prefix), point)
    tester = books.tester()
    get_cron(tester.registry).store.open()
    tester.tick(NOON)


if __name__ == "__main__":
    main(*sys.argv[1:])
