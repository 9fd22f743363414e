"""A small shop as a Pyramid application, with five tasks; its only pages are pyramid_cron's."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.request import Request
from pyramid.router import Router

from ..task import Retry

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
    config.registry["shop"] = Shop(float(settings.get("shop.import_delay", 0.25)))
    config.include("pyramid_cron")
    config.add_cron_task(import_orders, name="import-orders", executor="thread", timeout="1m")
    config.add_cron_task(charge_orders, name="charge-orders", retry=CHARGE_RETRY)
    config.add_cron_task(report_sales, name="report-sales", hour=3, min=30)
    config.add_cron_task(delete_old_orders, name="delete-old-orders", min="*/5", idle=True)
    config.add_cron_task(refund_order, name="refund-order", on_demand=True)
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


def _shop(system: System) -> Shop:
    shop: Shop = system["registry"]["shop"]
    return shop


def _total(orders: list[Order]) -> str:
    return f"{len(orders)} orders, {_money(sum(order.cents for order in orders))}"


def _money(cents: int) -> str:
    return f"{cents / 100:,.2f}"
