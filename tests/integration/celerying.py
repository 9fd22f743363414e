"""An application whose tasks Celery workers carry out."""

import logging
import os
import time
from pathlib import Path

from pyramid_cron import Retry
from tests.apps import configure
from tests.integration.killing import append


def configured(folder, broker, tasks, **settings):
    """The tasks named, each due every minute; they leave lines in a file in ``folder``."""
    folder = Path(folder)
    config = configure(
        **{
            "cron.url": f"sqlite:///{folder}/store/cron.sqlite",
            "cron.celery.broker_url": broker,
            "cron.lease": "4",
        }
        | settings
    )

    def quick(system):
        append(folder / "starts", f"quick {os.getpid()} {system['request'].host_url}")
        system["progress"](1, 1)
        logging.getLogger("shop").info("swept")
        print("printed")

    def failing(system):
        raise ValueError("no")

    def long(system):
        append(folder / "starts", f"long {os.getpid()}")
        while not (folder / "finish").exists():
            time.sleep(0.01)

    policies = {"long": {"retry": Retry(attempts=2, delay=0)}}
    known = {"quick": quick, "failing": failing, "long": long, "endless": long}
    policies["endless"] = {"timeout": 0.5}
    for name in tasks:
        config.add_cron_task(
            known[name],
            name=name,
            executor="celery",
            celery={"queue": f"q{folder.name}", "priority": 3},
            monitor=name,
            **policies.get(name, {}),
        )
    return config


def main(_, **settings):
    """Return the application as the ini file has it."""
    folder, tasks = settings["folder"], settings["tasks"].split()
    if (Path(folder) / "broken").exists():
        raise RuntimeError("the shop's database is down")
    own = {name: value for name, value in settings.items() if name.startswith("cron.")}
    own["cron.base_url"] = "https://shop.test"
    return configured(folder, own["cron.celery.broker_url"], tasks, **own).make_wsgi_app()


class Middleware:
    """What knows nothing of the application it calls but how to call it."""

    def __init__(self, wrapped):
        self._wrapped = wrapped

    def __call__(self, environ, start_response):
        return self._wrapped(environ, start_response)


def middleware(_):
    """Return a filter, as a pipeline has it."""
    return Middleware


def wrapped(_, **settings):
    """Return the application inside middleware."""
    return Middleware(main(_, **settings))
