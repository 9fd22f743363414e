"""How long the pages take with 1,000 tasks and a million runs.

python benchmarks/pages.py [--quick]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from history import MINUTE, START, TASKS, fill, timed
from pyramid.config import Configurator
from webtest import TestApp

from pyramid_cron.state import cronwork

BROWSER = {"Accept": "text/html"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="100,000 runs")
    count = 100_000 if parser.parse_args().quick else 1_000_000
    with TemporaryDirectory() as folder:
        settings = {"cron.url": f"sqlite:///{Path(folder)}/cron.sqlite", "cron.timezone": "UTC"}
        config = Configurator(settings=settings)
        config.include("pyramid_cron")
        for number in range(TASKS):
            config.add_cron_task(
                lambda _: None, name=f"shop.tasks.task_{number}", schedule="*/5 * * * *"
            )
        app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        cron = cronwork(config.registry)
        fill(cron.store, count)
        cron.clock = lambda: START + (count // TASKS + 1) * MINUTE
        newest = app.get("/cron/runs").json
        for path in (
            "/cron/tasks",
            "/cron/tasks?page=20",
            "/cron/tasks/shop.tasks.task_0",
            "/cron/tasks/shop.tasks.task_501",
            "/cron/runs",
            "/cron/runs?state=failed",
            f"/cron/runs?before={'0196' + '0' * 22}",
            newest["next"],
            newest["runs"][0]["url"],
            "/cron/timeline",
        ):
            html = timed(lambda path=path: app.get(path, headers=BROWSER), 10)
            data = timed(lambda path=path: app.get(path), 10)
            print(f"{path[:44]:<46}{html:>8.1f} ms HTML{data:>8.1f} ms JSON", flush=True)


if __name__ == "__main__":
    main()
