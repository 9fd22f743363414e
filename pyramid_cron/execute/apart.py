"""Telling an application what happened while no request of its own was there."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pyramid.registry import Registry
from pyramid.scripting import prepare

from .. import events
from .held import News
from .transaction import between_transactions


def tell_apart(registry: Registry, news: Sequence[News]) -> None:
    """Call subscribers from a thread of their own, so that a slow one keeps nobody from watching.

    The events have a request made for the purpose.
    """
    teller = threading.Thread(
        target=_tell, args=(registry, news), name="pyramid_cron events", daemon=True
    )
    teller.start()


def _tell(registry: Registry, news: Sequence[News]) -> None:
    with prepare(registry=registry) as made:
        request = made["request"]
        with between_transactions(request) as transactions:
            for kind, *values in news:
                events.notify(kind, request, *values, call=transactions.call)
