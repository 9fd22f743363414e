"""Serving the shop: a web server, and beside it the trigger that a crontab would be elsewhere."""

from __future__ import annotations

import logging
import signal
import sys
from http.client import HTTPException
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.request import ProxyHandler, build_opener

from pyramid.exceptions import ConfigurationError
from waitress import create_server

from ..app import get_cron
from ..clock import utc_now
from ..settings import parse_settings
from .shop import main

log = logging.getLogger(__name__)

HOST = "127.0.0.1"

TICK_PATIENCE = 60
"""Seconds that a tick has to answer, and to end when the demo stops."""

COMMAND = "curl -fsSL --max-redirs 0 -o /dev/null {url}/cron"

BANNER = """\
The shop and its tasks: {url}/

For an application of yours, this line in a crontab hits the trigger:

    * * * * *  {command}

Here the demo does that itself, at each full minute.
Times are in {zone}. Data is in {folder}, removed at the end.
Stop with Ctrl-C.
"""


def serve(port: int) -> int:
    """Serve the shop until SIGINT or SIGTERM; return the exit code.

    :param port: where to listen; 0 for any free port.
    """
    stops = stop_signals()
    zone = zone_name()
    with TemporaryDirectory(prefix="pyramid_cron_demo_") as folder:
        settings = {"cron.url": f"sqlite:///{folder}/cron.sqlite", "cron.timezone": zone}
        app = main({}, **settings)
        try:
            server = create_server(app, host=HOST, port=port, clear_untrusted_proxy_headers=False)
        except OSError as error:
            print(f"can't listen on {HOST}:{port}: {error.strerror}", file=sys.stderr)
            return 2
        url = f"http://{HOST}:{server.effective_port}"
        command = COMMAND.format(url=url)
        print(BANNER.format(url=url, command=command, zone=zone, folder=folder), flush=True)
        logging.basicConfig(
            stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%X"
        )
        Thread(target=server.run, daemon=True).start()
        trigger(url, stops)
        server.task_dispatcher.shutdown(timeout=TICK_PATIENCE)
        get_cron(app.registry).close()
    print("Stopped.", flush=True)
    return 0


def stop_signals() -> SimpleQueue[int]:
    """Return a queue that gets the signals to stop.

    Unlike an exception, it lets a tick end; unlike an event, a handler may fill it at any moment.
    """
    stops: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stops.put(number))
    return stops


def zone_name() -> str:
    """Return the host's time zone, or UTC where the host does not tell."""
    try:
        return parse_settings({}).timezone
    except ConfigurationError:
        return "UTC"


def trigger(url: str, stops: SimpleQueue[int]) -> None:
    """Hit the trigger now and at each full minute, until there is a signal to stop."""
    while True:
        hit(url)
        now = utc_now()
        try:
            stops.get(timeout=60 - now.second - now.microsecond / 1e6)
        except Empty:
            continue
        return


def hit(url: str) -> None:
    """Do what curl would do, whatever proxy the environment names, and log the command."""
    try:
        with build_opener(ProxyHandler({})).open(f"{url}/cron", timeout=TICK_PATIENCE) as answer:
            outcome = answer.read().decode()
    except (OSError, HTTPException) as error:
        outcome = f"failed: {error}"
    log.info("$ %s  # %s", COMMAND.format(url=url), outcome)
