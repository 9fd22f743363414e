"""Serving the shop: a web server, and beside it the trigger that a crontab would be elsewhere."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.request import ProxyHandler, build_opener
from zoneinfo import ZoneInfo

from pyramid.exceptions import ConfigurationError
from pyramid.router import Router
from sqlalchemy import URL
from waitress import create_server

from ..clock import utc_now
from ..settings import parse_settings
from ..state import Cronwork, cronwork
from .app import make_app
from .pace import FastPace, Pace
from .terminal import HEAD, RunLines, show

HOST = "127.0.0.1"

PATIENCE = 60
"""Seconds that a tick has to answer, and to end when the demo stops."""

BANNER = """\
The shop and its tasks: {url}/
The trigger:            {url}/cron
What ran and will run:  {url}/cron/tasks

For an application of yours, this line in a crontab hits the trigger:

    * * * * *  curl -fsS -o /dev/null {url}/cron

Here the demo does that itself, {pace}.
Times are in {zone}. Data is in {folder}, removed at the end.
Stop with Ctrl-C.
"""


def serve(port: int, fast: float | None) -> int:
    """Serve the shop until SIGINT or SIGTERM; return the exit code.

    :param port: where to listen; 0 for any free port.
    :param fast: how many seconds a minute takes; None for sixty, on the real clock.
    """
    stops = stop_signals()
    pace = Pace() if fast is None else FastPace(utc_now(), fast)
    with (
        TemporaryDirectory(prefix="pyramid_cron_demo_") as folder,
        opened(Path(folder), zone_name()) as app,
    ):
        try:
            server = create_server(app, host=HOST, port=port)
        except OSError as error:
            print(f"can't listen on {HOST}:{port}: {error.strerror}", file=sys.stderr)
            return 2
        url = f"http://{HOST}:{server.effective_port}"
        introduce(cronwork(app.registry), url, pace, folder)
        Thread(target=server.run, daemon=True).start()
        trigger(f"{url}/cron", pace, stops)
        server.task_dispatcher.shutdown(timeout=PATIENCE)
    show("Stopped.")
    return 0


def stop_signals() -> SimpleQueue[int]:
    """Return a queue that gets the signals to stop.

    Unlike an exception, it lets a tick end; unlike an event, a handler may fill it at any moment.
    """
    stops: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stops.put(number))
    return stops


@contextmanager
def opened(folder: Path, zone: str) -> Iterator[Router]:
    """Give the shop, its data in this folder and its times in this zone; close it afterwards."""
    app = make_app(
        {
            "shop.url": URL.create("sqlite", database=str(folder / "shop.sqlite")),
            "cron.url": URL.create("sqlite", database=str(folder / "cron.sqlite")),
            "cron.timezone": zone,
        }
    )
    try:
        yield app
    finally:
        close(app)


def close(app: Router) -> None:
    """Write what is left to write, and close the databases."""
    cron = cronwork(app.registry)
    cron.close()
    app.registry["shop.engine"].dispose()


def zone_name() -> str:
    """Return the host's time zone, or UTC where the host does not tell."""
    try:
        return parse_settings({}).timezone
    except ConfigurationError:
        return "UTC"


def introduce(cron: Cronwork, url: str, pace: Pace, folder: str) -> None:
    """Put the shop on this pace's clock, say where to look, and show the runs from now on."""
    cron.clock = pace.now
    zone = cron.settings.timezone
    show(BANNER.format(url=url, pace=pace.describe(), zone=zone, folder=folder))
    show(HEAD)
    logging.getLogger("pyramid_cron").setLevel(logging.INFO)
    logging.getLogger().addHandler(RunLines(ZoneInfo(zone), show))


def trigger(url: str, pace: Pace, stops: SimpleQueue[Any]) -> None:
    """Hit the URL now and at each minute, until there is a signal to stop."""
    hit(url)
    while not stopped(stops, pace.wait()):
        pace.next_minute()
        hit(url)


def stopped(stops: SimpleQueue[Any], seconds: float) -> bool:
    """Wait so long for a signal; return whether there was one."""
    try:
        stops.get(timeout=seconds)
    except Empty:
        return False
    return True


def hit(url: str) -> None:
    """Do what curl would do, whatever proxy the environment names."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
            answer.read()
    except (OSError, HTTPException) as error:
        show(f"The trigger failed: {error}")
