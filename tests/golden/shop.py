"""A small application with a task of each kind; what users see of it is in ``expected/``."""

from __future__ import annotations

import logging

from pyramid.config import Configurator

from pyramid_cron import TaskTimeout

log = logging.getLogger("shop")


def count_orders(system):
    """Count the orders of the hour."""
    system["progress"](1, 2, "half")
    log.warning("41 orders")


def send_mail(system):
    """Mail the confirmations."""
    raise ConnectionError("no mail server")


def is_open(system):
    """Answer that the shop is closed."""
    return False


def quiet(system):
    """Do nothing."""


def refund(system):
    """Pay an order back."""
    log.warning("paid back %s", system["payload"])


def take_too_long(system):
    """Wait for a bank."""
    raise TaskTimeout("ran longer than its timeout")


def configure(**settings) -> Configurator:
    """Return the configuration of the shop."""
    config = Configurator(settings={"cron.timezone": "Europe/Berlin"} | settings)
    config.include("pyramid_cron")
    config.add_cron_queue("conveyor", lambda run: None)
    add = config.add_cron_task
    add(count_orders, min=0, name="orders", priority=5)
    add(send_mail, min=0, name="mail", retry=2, timeout="10m")
    add(quiet, min=0, name="forecast", when=is_open, description="Guess what will be sold.")
    add(refund, name="refund", on_demand=True)
    add(take_too_long, name="slow", on_demand=True, description="")
    add(quiet, hour=14, min=10, name="index", idle=True)
    add(quiet, min=0, name="audit", catch_up="none", description="Check the books.")
    add(quiet, hour=14, min=15, name="thumbnails", executor="thread")
    add(quiet, every="30m", name="poll", overlap="allow")
    add(quiet, at="2026-06-15T14:05:00+02:00", name="launch")
    add(quiet, every="6h", name="sweep", catch_up="all")
    add(send_mail, min=25, name="broken", pause_after=1)
    add(quiet, schedule="30 2 * * sun", name="letter", description="Write to all customers.")
    add(quiet, schedule=["15 14 * * *", "5 16 * * *"], name="parcels", executor="conveyor")
    config.add_cron_command(
        ["sh", "-c", "echo saved; echo 100% >&2"], name="backup", hour=14, min=20, cwd="/"
    )
    return config


def main(_global_config, **settings):
    """Return the application."""
    return configure(**settings).make_wsgi_app()
