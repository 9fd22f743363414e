"""The shop's tasks. Each works in ``request.dbsession``, in a transaction of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from pyramid.config import Configurator
from sqlalchemy import select
from sqlalchemy.orm import Session

from .models import STOCK_AT_FIRST, Cart, Line, Mail, Product, Sales, put_back

log = logging.getLogger(__name__)
System = Mapping[str, Any]

CUSTOMERS = ("Ada", "Ben", "Chidi", "Dana", "Emre", "Fatou", "Grace", "Hugo")
PATIENCE = timedelta(minutes=5)
"""How long an open cart keeps what is in it."""

KEPT = timedelta(minutes=30)
"""How long a cart that is done with stays in the database."""


class SupplierError(Exception):
    """The supplier's server did not answer."""


def includeme(config: Configurator) -> None:
    """Register the tasks: one way of saying when after the other."""
    config.add_cron_task(welcome_customers, name="customers", priority=10)
    config.add_cron_task(expire_carts, name="expire-carts", min="*/2")
    config.add_cron_task(import_stock, name="import-stock", every="3m")
    config.add_cron_task(roll_up_sales, name="roll-up-sales", hour="*", priority=20)
    config.add_cron_task(send_digest, name="digest", schedule="30 8 * * mon-fri")
    config.add_cron_task(send_digest, name="digest-now", on_demand=True)
    config.add_cron_task(prune_carts, name="prune-carts", min=range(5, 60, 10), idle=True)


def welcome_customers(system: System) -> None:
    """Let customers order what is in their carts, and fill new ones."""
    session, now = _session(system), _now(system)
    # The same minute brings the same customers, which makes a run easy to follow.
    chance = Random(int(now.timestamp()))  # noqa: S311
    ordered = [cart for cart in _carts(session, "open") if chance.random() < 0.2]
    for cart in ordered:
        cart.state, cart.touched = "ordered", now
    customers = chance.sample(CUSTOMERS, chance.randint(1, 3))
    filled = [name for name in customers if _fill_cart(session, name, now, chance)]
    log.info("%s, %s", _count(len(filled), "new cart"), _count(len(ordered), "order"))


def _fill_cart(session: Session, customer: str, now: datetime, chance: Random) -> bool:
    """Put a product or two in a new cart; False if the shelves are empty."""
    shelves = session.scalars(select(Product).where(Product.stock > 0).order_by(Product.name)).all()
    wanted = chance.sample(shelves, min(len(shelves), chance.randint(1, 2)))
    lines = [Line(product=each, pieces=chance.randint(1, min(2, each.stock))) for each in wanted]
    for line in lines:
        line.product.stock -= line.pieces
    if lines:
        session.add(Cart(customer=customer, touched=now, lines=lines))
    return bool(lines)


def expire_carts(system: System) -> None:
    """Empty the carts that nobody came back to."""
    session, progress = _session(system), system["progress"]
    carts = _carts(session, "open", until=_now(system) - PATIENCE)
    pieces = 0
    for done, cart in enumerate(carts, 1):
        put_back(cart.lines)
        cart.state = "expired"
        pieces += cart.pieces
        progress(done, len(carts), f"cart of {cart.customer}")
    log.info("%s expired, %s back in stock", _count(len(carts), "cart"), _count(pieces, "piece"))


def import_stock(system: System) -> None:
    """Take in what the supplier delivers, whose server is often down."""
    session, progress = _session(system), system["progress"]
    products = session.scalars(select(Product).order_by(Product.name)).all()
    pieces = 0
    for done, product in enumerate(products):
        progress(done, len(products), product.name)
        if done == 2 and _supplier_is_down(_now(system)):
            raise SupplierError(f"no answer about {product.name}; nothing is taken in")
        delivered = max(0, STOCK_AT_FIRST - product.stock)
        product.stock += delivered
        pieces += delivered
    log.info("%s delivered", _count(pieces, "piece"))


def _supplier_is_down(now: datetime) -> bool:
    """Tell whether these are the last five minutes of a quarter of an hour."""
    return now.minute % 15 >= 10


def roll_up_sales(system: System) -> None:
    """Add up the orders of the hours that are over."""
    session, now = _session(system), _now(system)
    carts = [cart for cart in _carts(session, "ordered") if _hour(cart.touched) < _hour(now)]
    for cart in carts:
        sales = _sales(session, _hour(cart.touched))
        sales.orders += 1
        sales.cents += cart.cents
        cart.state = "counted"
    log.info("%s worth %s", _count(len(carts), "order"), _money(sum(c.cents for c in carts)))


def _sales(session: Session, hour: datetime) -> Sales:
    """Return the sales of this hour, made if missing."""
    sales = session.get(Sales, hour)
    if sales is None:
        sales = Sales(hour=hour, orders=0, cents=0)
        session.add(sales)
    return sales


def send_digest(system: System) -> None:
    """Mail the shopkeeper what was sold in the last 24 hours."""
    session, now = _session(system), _now(system)
    counted = session.scalars(select(Sales).where(Sales.hour > now - timedelta(days=1))).all()
    fresh = _carts(session, "ordered")
    orders = sum(sales.orders for sales in counted) + len(fresh)
    cents = sum(sales.cents for sales in counted) + sum(cart.cents for cart in fresh)
    text = f"{_count(orders, 'order')} worth {_money(cents)} in the last 24 hours"
    session.add(Mail(written=now, subject="Your shop", body=text))
    log.info("mailed: %s", text)


def prune_carts(system: System) -> None:
    """Delete carts that are done with, while nothing else needs the time."""
    session, until = _session(system), _now(system) - KEPT
    carts = [*_carts(session, "counted", until), *_carts(session, "expired", until)]
    pruned = 0
    for cart in carts:
        if system["time_left"]() <= 0:
            break
        session.delete(cart)
        pruned += 1
    log.info("%d of %s deleted", pruned, _count(len(carts), "old cart"))


def _session(system: System) -> Session:
    session: Session = system["request"].dbsession
    return session


def _now(system: System) -> datetime:
    """Return the moment the task is meant to run at: a late run does the same as a punctual one."""
    slot: datetime = system["run"].slot
    return slot


def _carts(session: Session, state: str, until: datetime | None = None) -> Sequence[Cart]:
    """Return the carts in this state; those last touched then or earlier."""
    query = select(Cart).where(Cart.state == state).order_by(Cart.id)
    return session.scalars(query if until is None else query.where(Cart.touched <= until)).all()


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _money(cents: int) -> str:
    return f"{cents / 100:,.2f}"
