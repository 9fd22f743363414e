"""An application whose task is killed, or frozen, at a chosen point of its first attempt.

python -m tests.integration.once URL PREFIX POINT [SIGNAL]
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyramid.paster import get_app
from sqlalchemy import NullPool, create_engine, event, make_url, select

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.runtime.tick import run_tick_and_wait
from tests.apps import NOON
from tests.databases import Place
from tests.exactly import Books, make_ledger
from tests.integration.processes import wait_until

POINTS = ("after the work", "before the commit", "after the commit")


def signal_itself(number: signal.Signals) -> Callable[..., None]:
    def send(*_: Any) -> None:
        print("signalled", flush=True)
        os.kill(os.getpid(), number)

    return send


def configured(
    place: Place,
    point: str | None = None,
    number: signal.Signals = signal.SIGKILL,
    settings: dict[str, str] | None = None,
    **arguments: Any,
) -> Books:
    """A task that writes into the ledger and defers another; the process gets a signal."""
    books = Books(place, settings=settings or {})
    die = signal_itself(number)

    def work(system: dict) -> None:
        request = system["request"]
        is_first = system["run"].attempt == 1
        if is_first and point == "before the work":
            die()
        books.write(request, "work")
        request.cron.defer("later")
        request.db.flush()
        if not is_first:
            return
        if point == "after the work":
            die()
        if point == "before the commit":
            event.listen(books.engine, "commit", die)
        if point == "after the commit":
            event.listen(request.db, "after_commit", die)

    books.add_task("work", work, **(arguments or {"hour": 12}))
    books.add_task("later", lambda system: books.write(system["request"], "later"), on_demand=True)
    return books


def main(_: Any, **settings: str) -> Any:
    """Return the application as an ini file has it, its task outside of the request."""
    place = Place("once", make_url(settings["cron.url"]))
    own = {name: value for name, value in settings.items() if name.startswith("cron.")}
    where: dict[str, Any] = {"executor": settings["executor"]}
    if "queue" in settings:
        where["celery"] = {"queue": settings["queue"]}
    books = configured(place, settings["point"], settings=own, on_demand=True, **where)
    return books.config.make_wsgi_app()


INI = """
[app:main]
use = call:tests.integration.once:main
executor = {executor}
point = {point}
cron.url = sqlite:///{folder}/shop.sqlite
cron.timezone = UTC
cron.lease = {lease}
cron.beats = false
cron.config_uri = {folder}/shop.ini
{rest}"""


class Outside:
    """An application whose task is carried out outside of the request, by processes that die."""

    def __init__(
        self, folder: Path, executor: str, point: str, lease: int = 60, rest: str = ""
    ) -> None:
        self.folder, self.ini = folder, folder / "shop.ini"
        values = {"folder": folder, "executor": executor, "point": point}
        self.ini.write_text(INI.format(lease=lease, rest=rest, **values))
        app = get_app(f"{self.ini}#main")
        self.registry, self.cron = app.registry, get_cron(app.registry)
        self.control = scheduler(app.registry)
        self.ledger = make_ledger("cron_")
        self.engine = create_engine(f"sqlite:///{folder}/shop.sqlite", poolclass=NullPool)

    def tick(self) -> None:
        run_tick_and_wait(self.cron, self.registry, self.cron.clock())

    def ended(self) -> list[tuple[int, str]]:
        """Return how attempts ended, as far as they have."""
        runs = [run for run in self.control.history("work") if run.state.is_final]
        return [(run.attempt, str(run.state)) for run in reversed(runs)]

    def written(self) -> list[str]:
        with self.engine.connect() as connection:
            return sorted(connection.scalars(select(self.ledger.c.text)))

    def finish(self) -> None:
        """Tick until the work is done, and what it has deferred."""
        wait_until(lambda: self.tick() or self.written() == ["later", "work"])
        wait_until(lambda: not self.control.waiting())


def tick(url: str, prefix: str, point: str, name: str = "SIGKILL") -> None:
    """Tick at noon."""
    books = configured(Place("once", make_url(url), prefix), point, signal.Signals[name])
    tester = books.tester()
    get_cron(tester.registry).store.open()
    tester.tick(NOON)


if __name__ == "__main__":
    tick(*sys.argv[1:])
