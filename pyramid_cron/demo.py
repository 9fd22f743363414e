"""A demo: a small shop with seven tasks, and a server that hits its own trigger.

Its only pages are those of pyramid_cron.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from itertools import count
from queue import Empty, SimpleQueue
from random import Random
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.request import ProxyHandler, build_opener

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.httpexceptions import HTTPFound
from pyramid.request import Request
from pyramid.router import Router
from waitress import create_server

from .app import get_cron
from .clock import utc_now
from .scheduler import scheduler
from .settings import parse_settings
from .task import Retry

log = logging.getLogger(__name__)

System = Mapping[str, Any]

CUSTOMERS = ("Ada", "Ben", "Chidi", "Dana", "Emre", "Fatou", "Grace", "Hugo")
ORDERS_PER_IMPORT = 8
RETAINED_ORDERS = 40
CHARGE_RETRY = Retry(attempts=3, delay=10)


class PaymentServiceError(Exception):
    """The payment service did not answer."""


class PaymentService:
    """A service elsewhere, which fails one call in three, the first one too."""

    def __init__(self) -> None:
        self._calls = count()

    def charge(self, orders: list[Order]) -> None:
        """Charge the customers; PaymentServiceError if the service does not answer."""
        if next(self._calls) % 3 == 0:
            raise PaymentServiceError("503 Service Unavailable")
        for order in orders:
            order.state = "paid"


@dataclass
class Order:
    """One order; its state is open, paid or refunded."""

    number: int
    customer: str
    cents: int
    state: str = "open"


class Shop:
    """The orders by number, in memory, and the service that charges for them.

    :param import_delay: the seconds that it takes to import one order.
    """

    def __init__(self, import_delay: float) -> None:
        self.orders: dict[int, Order] = {}
        self.payments = PaymentService()
        self.import_delay = import_delay
        self._numbers = count(1001)
        self.add_order()  # one that nobody has paid yet

    def add_order(self) -> Order:
        """Add an order, which depends on nothing but its number."""
        number = next(self._numbers)
        chance = Random(number)  # noqa: S311
        order = Order(number, chance.choice(CUSTOMERS), chance.randrange(9_00, 250_00))
        self.orders[number] = order
        return order

    def in_state(self, state: str) -> list[Order]:
        """Return the orders in this state, the oldest first."""
        return [order for order in list(self.orders.values()) if order.state == state]


def main(_global_config: Mapping[str, str], **settings: Any) -> Router:
    """Return the application; the setting ``shop.import_delay`` is that of the shop."""
    config = Configurator(settings=settings)
    config.registry["shop"] = Shop(float(settings.get("shop.import_delay", 1)))
    config.include("pyramid_cron")
    config.add_cron_task(import_orders, name="import-orders", executor="thread", timeout="1m")
    config.add_cron_task(charge_orders, name="charge-orders", retry=CHARGE_RETRY)
    config.add_cron_task(report_sales, name="report-sales", hour=3, min=30)
    config.add_cron_task(delete_old_orders, name="delete-old-orders", min="*/5", idle=True)
    config.add_cron_task(refund_order, name="refund-order", on_demand=True)
    config.add_cron_task(watch_orders, name="watch-orders", every="20s")
    config.add_cron_task(send_statement, name="send-statement", on_demand=True)
    config.add_route("home", "/")
    config.add_view(show_tasks, route_name="home")
    return config.make_wsgi_app()


def show_tasks(request: Request) -> HTTPFound:
    """Lead to the page of all tasks."""
    return HTTPFound(request.route_url("pyramid_cron") + "/tasks")


def import_orders(system: System) -> None:
    """Import the orders that customers have placed in the web shop."""
    shop, progress = _shop(system), system["progress"]
    for done in range(ORDERS_PER_IMPORT):
        time.sleep(shop.import_delay)
        order = shop.add_order()
        log.info("order %d of %s: %s", order.number, order.customer, _money(order.cents))
        progress(done + 1, ORDERS_PER_IMPORT, f"order {order.number}")


def charge_orders(system: System) -> None:
    """Charge for open orders, by a payment service that often fails."""
    shop = _shop(system)
    orders = shop.in_state("open")
    shop.payments.charge(orders)
    log.info("charged for %s", _total(orders))


def report_sales(system: System) -> None:
    """Report what the orders on record are worth, each night."""
    shop = _shop(system)
    for state in ("open", "paid", "refunded"):
        log.info("%s: %s", state, _total(shop.in_state(state)))


def delete_old_orders(system: System) -> None:
    """Delete paid orders but for the latest, when nothing else needs the time."""
    shop = _shop(system)
    orders = shop.in_state("paid")[:-RETAINED_ORDERS]
    for order in orders:
        del shop.orders[order.number]
    log.info("%d orders deleted", len(orders))


def refund_order(system: System) -> None:
    """Refund a paid order; the payload is {"order": its number}."""
    payload = system["payload"]
    for order in _shop(system).in_state("paid"):
        if payload == {"order": order.number}:
            order.state = "refunded"
            log.info("%s refunded to %s", _money(order.cents), order.customer)
            return
    raise ValueError(f"{payload!r} names no paid order; the payload is like {{'order': 1001}}")


def watch_orders(system: System) -> None:
    """Look three times a minute how many orders wait to be paid."""
    log.info("open: %s", _total(_shop(system).in_state("open")))


def send_statement(system: System) -> None:
    """Send a customer a statement; the payload is {"customer": a name}."""
    customer = (system["payload"] or {}).get("customer")
    orders = [order for order in _shop(system).in_state("paid") if order.customer == customer]
    log.info("statement for %s: %s", customer, _total(orders))


def add_stored_schedule(app: Router) -> None:
    """Make a schedule at run time, as a customer of the shop would on a page of it."""
    scheduler(app.registry).schedule(
        "statement for Ada", "send-statement", payload={"customer": "Ada"}, every="1m"
    )


def _shop(system: System) -> Shop:
    shop: Shop = system["registry"]["shop"]
    return shop


def _total(orders: list[Order]) -> str:
    return f"{len(orders)} orders, {_money(sum(order.cents for order in orders))}"


def _money(cents: int) -> str:
    return f"{cents / 100:,.2f}"


HOST = "127.0.0.1"

TICK_PATIENCE = 60
"""Seconds that a tick has to answer, and to end when the demo stops."""

COMMAND = "curl -fsSL --max-redirs 0 -o /dev/null {url}/cron"

BANNER = """\
The shop and its tasks: {url}/

    an overview          {url}/cron/overview
    a log that grows     {url}/cron/runs?task=import-orders
    attempts, a retry    {url}/cron/runs?task=charge-orders
    each 20 seconds      {url}/cron/runs?task=watch-orders
    a stored schedule    {url}/cron/schedules

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
        add_stored_schedule(app)
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
