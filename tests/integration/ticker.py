"""A process that does as it is told: one line in, one line out."""

import sys
import threading
import time
from pathlib import Path

from pyramid_cron import Retry, scheduler
from pyramid_cron.testing import CronTester
from tests.apps import configure
from tests.integration.killing import Place, append


def application(place, folder):
    """Two tasks for each second; the first goes on while there is a file named ``hold``."""
    config = configure(**place.settings())

    def first(system):
        run = system["run"]
        append(folder / "starts", f"first {run.slot.isoformat()} {run.attempt} {run.pid}")
        print("started", run.id, flush=True)
        while (folder / "hold").exists():
            print("holding", flush=True)
            time.sleep(0.02)

    def second(system):
        run = system["run"]
        append(folder / "starts", f"second {run.slot.isoformat()} {run.attempt} {run.pid}")

    config.add_cron_task(first, name="first", every=1, priority=1)
    config.add_cron_task(second, name="second", every=1, retry=Retry(attempts=2, delay=0))
    config.make_wsgi_app()
    return config.registry


def obey(cron, registry, order):
    if order == "tick":
        print("ticked", *[f"{run.task}:{run.state}" for run in cron.tick().runs], flush=True)
    elif order == "thread":
        threading.Thread(target=threading.Event().wait).start()
    elif order == "history":
        errors = [run.error for run in scheduler(registry).history() if run.error]
        print("error", errors[-1], flush=True)


def main(folder, url, prefix, lease):
    registry = application(Place(url, prefix, float(lease)), Path(folder))
    cron = CronTester(registry)
    print("ready", flush=True)
    while True:
        try:
            for order in sys.stdin:
                obey(cron, registry, order.strip())
            return
        except KeyboardInterrupt:
            print("interrupted", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
