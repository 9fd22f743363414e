"""A shop to serve: pyramid_tm, zope.sqlalchemy, a SQLite database, and tasks that write to it."""

import logging
import sys
import time

from waitress.server import create_server

from tests.apps import Note, configure_with_database


def sell(system):
    """Sell something."""
    system["request"].dbsession.add(Note(text=f"sold in {system['run'].slot}"))
    logging.getLogger("shop").info("sold")


def break_down(system):
    """Write something and fail."""
    system["request"].dbsession.add(Note(text="never to be seen"))
    raise RuntimeError("broken")


def ponder(system):
    """Take a while, so that a second hit comes meanwhile."""
    time.sleep(0.3)
    system["request"].dbsession.add(Note(text=f"pondered in {system['run'].slot}"))


def configure(folder, **settings):
    url = f"sqlite:///{folder}/cron.sqlite"
    config = configure_with_database(folder, **{"cron.url": url} | settings)
    config.add_cron_task(sell, min="*")
    config.add_cron_task(break_down, min="*")
    config.add_cron_task(ponder, min="*")
    return config


def main(folder):
    """Serve the shop of a folder on a free port, which is printed."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    server = create_server(configure(folder).make_wsgi_app(), host="127.0.0.1", port=0, threads=4)
    print(server.effective_port, flush=True)
    server.run()


if __name__ == "__main__":
    main(sys.argv[1])
