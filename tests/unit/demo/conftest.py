import logging
from datetime import datetime, timezone

import pytest
from sqlalchemy.orm import Session

from pyramid_cron.demo.models import STOCK_AT_FIRST, Cart, Line, Product
from pyramid_cron.demo.serve import opened
from pyramid_cron.testing import CronTester

MONDAY_8_30 = datetime(2026, 11, 23, 8, 30, tzinfo=timezone.utc)


class Shop:
    """The shop's application, with what a test wants to see of it and do in it."""

    def __init__(self, app):
        self.app = app
        self.cron = CronTester(app)
        self.engine = app.registry["shop.engine"]

    def add_cart(self, touched, state="open", product="Lamp", pieces=2):
        """Add a cart whose pieces have been taken off the shelf."""
        with Session(self.engine) as session, session.begin():
            found = session.get_one(Product, product)
            found.stock -= pieces
            lines = [Line(product=found, pieces=pieces)]
            session.add(Cart(customer="Ada", touched=touched, state=state, lines=lines))

    def set_stock(self, stock):
        with Session(self.engine) as session, session.begin():
            for product in session.query(Product):
                product.stock = stock

    def stock(self, product="Lamp"):
        with Session(self.engine) as session:
            return session.get_one(Product, product).stock

    def off_the_shelf(self):
        """Return how many pieces the shelves lack."""
        with Session(self.engine) as session:
            return sum(STOCK_AT_FIRST - product.stock for product in session.query(Product))

    def all(self, model):
        """Return all rows, to be read but not followed."""
        with Session(self.engine) as session:
            return session.query(model).all()

    def states(self):
        return [cart.state for cart in self.all(Cart)]


@pytest.fixture
def shop(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="pyramid_cron")
    with opened(tmp_path, "UTC") as app:
        yield Shop(app)


@pytest.fixture
def monday():
    """A Monday, 8:30 in the shop's zone."""
    return MONDAY_8_30
