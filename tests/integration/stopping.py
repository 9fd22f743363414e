"""An application to stop while it runs a task, for waitress and gunicorn."""

import logging
import os
import sys
import time
from pathlib import Path

from waitress.server import create_server

from pyramid_cron import Retry
from tests.apps import configure

LOGGING = "%(levelname)s %(name)s %(message)s"


def configured(folder, **settings):
    """Two tasks a second, once there is a file named ``go``; ``finish`` ends the first."""
    folder = Path(folder)
    config = configure(**{"cron.url": f"sqlite:///{folder}/cron.sqlite"} | settings)

    def long(system):
        (folder / "started").touch()
        while not (folder / "finish").exists():
            time.sleep(0.01)
        (folder / "ended").touch()

    def deaf(system):
        (folder / "started").touch()
        time.sleep(60)  # one call of C code, which nothing stops; no test waits for its end

    def following(system):
        (folder / f"following {system['run'].attempt}").touch()

    tasks = {"long": long, "deaf": deaf}
    task = tasks[os.environ.get("CRON_TASK", "long")]
    when = {"every": 1, "when": lambda _: (folder / "go").exists()}
    executor = os.environ.get("CRON_EXECUTOR", "request")
    retry = Retry(attempts=int(os.environ.get("CRON_ATTEMPTS", "1")), delay=0)
    config.add_cron_task(task, name="long", priority=1, executor=executor, retry=retry, **when)
    config.add_cron_task(following, name="following", catch_up="all", **when)
    return config


def app():
    """Return what gunicorn serves."""
    logging.basicConfig(level=logging.INFO, format=LOGGING)
    return configured(
        os.environ["CRON_FOLDER"], **{"cron.shutdown_timeout": os.environ["CRON_SHUTDOWN_TIMEOUT"]}
    ).make_wsgi_app()


class Both:
    """Two applications in one process: one under /a, one under /b."""

    def __init__(self, folder):
        self._apps = {}
        for name in "ab":
            os.makedirs(f"{folder}/{name}", exist_ok=True)
            timeout = os.environ["CRON_SHUTDOWN_TIMEOUT"]
            config = configured(f"{folder}/{name}", **{"cron.shutdown_timeout": timeout})
            self._apps[f"/{name}"] = config.make_wsgi_app()

    def __call__(self, environ, start_response):
        name, environ["PATH_INFO"] = environ["PATH_INFO"][:2], environ["PATH_INFO"][2:]
        return self._apps[name](environ, start_response)


def main(kind):
    """Serve on a free port, which is printed."""
    logging.basicConfig(level=logging.INFO, format=LOGGING)
    served = app() if kind == "one" else Both(os.environ["CRON_FOLDER"])
    server = create_server(served, host="127.0.0.1", port=0, threads=4)
    print(f"Listening at: http://127.0.0.1:{server.effective_port} ", flush=True)
    server.run()


if __name__ == "__main__":
    main(sys.argv[1])
