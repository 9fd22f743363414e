"""An application that goes on between ticks, for servers and for ``pcron work``.

``CRON_FOLDER`` is where its tasks leave lines as they begin: task, slot, attempt, process, run.
``CRON_SPEED`` is how many times as fast as others its clock goes, from ``CRON_EPOCH`` on.
"""

import logging
import os
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from waitress.server import create_server

from pyramid_cron import Retry
from pyramid_cron.app import get_cron
from tests.apps import configure
from tests.integration.killing import append

INI = """\
[app:main]
use = call:tests.integration.between:main
folder = {folder}
"""


def configured(folder, **settings):
    """Tasks in the request, and tasks for workers; those that hang do until ``finish`` is there."""
    folder = Path(folder)
    defaults = {"cron.url": f"sqlite:///{folder}/cron.sqlite", "cron.beats": "true"}
    config = configure(**defaults | settings)

    def begin(system):
        run = system["run"]
        line = f"{run.task} {run.slot.isoformat()} {run.attempt} {os.getpid()} {run.id}"
        append(folder / "starts", line)

    def hang(system):
        begin(system)
        while not (folder / "finish").exists():
            time.sleep(0.01)

    def work(system):
        begin(system)
        time.sleep(0.05)

    config.add_cron_task(hang, name="hanging", on_demand=True, priority=1)
    config.add_cron_task(begin, name="other", on_demand=True)
    config.add_cron_task(begin, name="minutely", min="*")
    config.add_cron_task(begin, name="secondly", every="2s")
    for_worker = {"on_demand": True, "executor": "worker", "overlap": "allow"}
    config.add_cron_task(work, name="parcel", **for_worker)
    config.add_cron_task(work, name="letter", **for_worker)
    config.add_cron_task(hang, name="crate", **for_worker, retry=Retry(attempts=2, delay=0))
    return config


def make_app(config):
    """Return the application, with its clock."""
    config.commit()
    if "CRON_SPEED" in os.environ:
        epoch, speed = float(os.environ["CRON_EPOCH"]), float(os.environ["CRON_SPEED"])

        def clock():
            since_epoch = timedelta(seconds=(time.time() - epoch) * speed)
            return datetime.fromtimestamp(epoch, timezone.utc) + since_epoch

        get_cron(config.registry).clock = clock
    return config.make_wsgi_app()


def main(_, folder, **settings):
    """Return the application as the ini file has it."""
    return make_app(configured(folder, **settings))


def app(**settings):
    """Return what gunicorn serves."""
    logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(message)s")
    return make_app(configured(os.environ["CRON_FOLDER"], **settings))


def app_that_triggers_itself():
    """Return what gunicorn serves where nobody hits the trigger."""
    return app(**{"cron.self_trigger": "true"})


def serve():
    """Serve that on a free port, which is printed."""
    server = create_server(app_that_triggers_itself(), host="127.0.0.1", port=0, threads=2)
    print(f"Listening at: http://127.0.0.1:{server.effective_port} ", flush=True)
    server.run()


if __name__ == "__main__":
    sys.exit(serve())
