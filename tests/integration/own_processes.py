"""An application whose tasks run in processes of their own, and end these in every way."""

import ctypes
import logging
import os
import resource
import time

from pyramid.config import Configurator


def deliver(system):
    print("order", system["payload"]["order"])
    logging.getLogger("shop").warning("delivered")


def exit_early(system):
    print("before the end")
    os._exit(3)


def crash(system):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def wait_in_c(system):
    print("waiting", flush=True)
    time.sleep(60)


def compute_in_c(system):
    """Keep Python's one lock for all the time."""
    sum(range(10**11))


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("pyramid_cron")
    for task, timeout in (
        (deliver, "1m"),
        (exit_early, "1m"),
        (crash, "1m"),
        (wait_in_c, 0.1),
        (compute_in_c, 0.1),
    ):
        config.add_cron_task(
            task, on_demand=True, name=task.__name__, executor="process", timeout=timeout
        )
    config.add_cron_task(wait_in_c, on_demand=True, name="cancelled", executor="process")
    return config.make_wsgi_app()
