"""What runs on a host of a deployment: the application, its server, its trigger, its worker's app.

``CRON_HOST`` is what the host is called, ``CRON_INI`` its configuration. Every task is due each
second or two, and leaves a line in a file as it begins.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

from celery import Celery
from pyramid.paster import get_app
from waitress.server import create_server

from pyramid_cron import Retry
from pyramid_cron.runtime import queues
from pyramid_cron.store import engine
from tests.apps import configure
from tests.integration.killing import append

INI = """\
[app:main]
use = call:tests.integration.hosted:main
folder = {folder}
cron.celery.app = tests.integration.hosted:celery"""

NO_BROKER = {"cron.celery.broker_url": "redis://nowhere.invalid"}
"""What an application is told that sends nothing."""

UNTAKEN = timedelta(seconds=10)
"""After which a run counts as lost that was sent and that nobody takes up: no hour."""

IDLE_TIMEOUT = 3
"""Seconds for which one that is cut off may keep others from claiming: no half a minute."""

PATIENCE = 2.0
"""Seconds that a trigger waits for its answer."""


def configured(folder, **settings):
    config = configure(**settings)
    queues.HANDOFF_TIMEOUT, engine.IDLE_TRANSACTION_SECONDS = UNTAKEN, IDLE_TIMEOUT
    host = os.environ.get("CRON_HOST", "nobody")

    def add(name, *, takes=0.0, **policy):
        def work(system):
            run = system["run"]
            line = f"{name} {run.slot.isoformat()} {run.attempt} {run.id} {host}"
            append(Path(folder) / "starts", line)
            time.sleep(takes)

        config.add_cron_task(work, name=name, **policy)

    again = Retry(attempts=2, delay=0.2)
    add("here", every=1)
    add("here-each", every=1, catch_up="all")
    add("here-again", every=2, takes=0.1, retry=again)
    add("beside", every=1, executor="thread")
    add("beside-each", every=1, catch_up="all", overlap="allow", executor="thread")
    add("beside-again", every=2, takes=0.5, retry=again, executor="thread")
    away = {"executor": "celery", "celery": {"queue": settings["cron.table_prefix"]}}
    add("away", every=1, **away)
    add("away-each", every=1, catch_up="all", overlap="allow", **away)
    add("away-again", every=2, takes=0.5, retry=again, **away)
    return config


def main(_, folder, **settings):
    """Return the application as the ini file has it."""
    return configured(folder, **settings).make_wsgi_app()


def app():
    """Return what gunicorn serves."""
    return get_app(os.environ["CRON_INI"])


def __getattr__(name):
    """Return the host's Celery app, ``celery``, when a host asks for it."""
    if name != "celery":
        raise AttributeError(name)
    made = Celery("hosted", broker=os.environ["CRON_BROKER"], set_as_current=False)
    made.conf.broker_connection_timeout = PATIENCE
    made.conf.broker_connection_retry_on_startup = True
    made.conf.broker_connection_max_retries = None
    made.conf.worker_prefetch_multiplier = 1
    made.conf.broker_transport_options = {
        "global_keyprefix": os.environ["CRON_KEYS"],
        "socket_connect_timeout": PATIENCE,
        "visibility_timeout": 3,  # after which another worker gets what one has taken along
    }
    globals()["celery"] = made
    return made


def serve():
    """Serve on a free port, which is printed as gunicorn does."""
    server = create_server(app(), host="127.0.0.1", port=0, threads=6)
    print(f"Listening at: http://127.0.0.1:{server.effective_port} ", flush=True)
    server.run()


def work(*arguments):
    """Run a Celery worker, and a new one whenever it ends, as a service manager does.

    Celery gives up where Redis goes away while it does certain things.
    """
    while True:
        command = [sys.executable, "-um", "celery", *arguments]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with worker:
            for line in worker.stdout:
                print(line.decode(), end="", flush=True)
                if b"Unrecoverable error" in line:
                    worker.kill()
        time.sleep(0.2)


def trigger(url):
    """Hit the trigger each second, and print what came of it."""
    while True:
        print("answered", _hit(url), flush=True)
        time.sleep(1 - time.time() % 1)


def _hit(url):
    try:
        with urllib.request.urlopen(f"{url}/cron", timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return repr(error)


if __name__ == "__main__":
    {"serve": serve, "trigger": trigger, "work": work}[sys.argv[1]](*sys.argv[2:])
