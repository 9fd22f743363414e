"""Applications that tell monitors of their runs."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

from pyramid_cron.monitors import get_monitoring
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure


class App:
    """An application with a monitored task named ``task``."""

    def __init__(self, function=lambda system: None, *, monitor="nightly", task=None, **settings):
        self.config = configure(**settings)
        self.config.add_cron_task(function, name="task", monitor=monitor, **(task or {}))
        self.wsgi = self.config.make_wsgi_app()
        self.cron = CronTester(self.wsgi)

    def tick(self, *moments):
        """Tick at each moment; return all runs, once everybody is told."""
        runs = [run for moment in moments for run in self.cron.tick(moment).runs]
        assert self.flush()
        return runs

    def flush(self, timeout=20):
        return get_monitoring(self.config.registry).flush(timeout)


def main(url, store, what):
    """Be a process that dies in the middle of a run, is forked, or ends right after one."""
    app = App(
        lambda system: app.flush() and os._exit(9) if what == "die" else None,
        task={"hour": 12},
        **{
            "cron.url": f"sqlite:///{store}",
            "cron.lease": "1",
            "cron.monitors": "healthchecks",
            "cron.healthchecks.url": url,
            "cron.healthchecks.ping_key": "key",
        },
    )
    if what == "fork":
        app.tick(NOON - timedelta(days=1))
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
    app.cron.tick(NOON)


if __name__ == "__main__":
    main(*sys.argv[1:])
