"""How long the pages take with 1,000 tasks and a million runs on record, or 100,000 if quick.

    python benchmarks/pages.py [--quick]

Each page is asked for as a browser does and as JSON, in this process through WSGI; the store is a
SQLite file. Times are medians. ``task_0`` has one in twenty of all runs, ``task_501`` its share.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from common import Column, options, show, show_machine, timed
from history import MINUTE, START, TASKS, fill
from pyramid.config import Configurator
from webtest import TestApp

from pyramid_cron.app import get_cron

BROWSER = {"Accept": "text/html"}
COLUMNS = (Column("page"), Column("HTML", ",.1f"), Column("JSON", ",.1f"))
PATHS = (
    "/cron/overview",
    "/cron/tasks",
    "/cron/tasks?page=20",
    "/cron/tasks/shop.tasks.task_0",
    "/cron/tasks/shop.tasks.task_501",
    "/cron/timeline",
    "/cron/runs",
    "/cron/runs?state=failed",
)


def main() -> None:
    count = 100_000 if options(__doc__, "100,000 runs").parse_args().quick else 1_000_000
    with TemporaryDirectory() as folder:
        settings = {"cron.url": f"sqlite:///{folder}/cron.sqlite", "cron.timezone": "UTC"}
        config = Configurator(settings=settings)
        config.include("pyramid_cron")
        for number in range(TASKS):
            config.add_cron_task(
                lambda _: None, name=f"shop.tasks.task_{number}", schedule="*/5 * * * *"
            )
        app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        cron = get_cron(config.registry)
        fill(cron.store, count)
        cron.clock = lambda: START + (count // TASKS + 1) * MINUTE
        newest = app.get("/cron/runs").json
        paths = {path: path for path in PATHS} | {
            "/cron/runs, the next page": newest["next"],
            "/cron/runs, the newest of them": newest["runs"][0]["url"],
            "/cron/runs, far back": f"/cron/runs?before={'0196' + '0' * 22}",
        }
        rows = []
        for shown, path in paths.items():
            html = timed(lambda path=path: app.get(path, headers=BROWSER), 10)
            data = timed(lambda path=path: app.get(path), 10)
            rows.append((shown, html, data))
    show(f"1,000 tasks, {count:,} runs; milliseconds", COLUMNS, rows)
    show_machine("SQLAlchemy", "jinja2")


if __name__ == "__main__":
    main()
