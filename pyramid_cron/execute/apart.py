"""Telling an application what happened while no request of its own was there."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pyramid.registry import Registry
from pyramid.scripting import prepare

from .. import events
from ..runtime.executions import QueuedEvent
from ..runtime.transactions import without_transaction


def notify_in_thread(registry: Registry, queued_events: Sequence[QueuedEvent]) -> None:
    """Call subscribers from a thread of their own, so that a slow one keeps nobody from watching.

    The events have a request made for the purpose.
    """
    teller = threading.Thread(
        target=_call_subscribers,
        args=(registry, queued_events),
        name="pyramid_cron events",
        daemon=True,
    )
    teller.start()


def _call_subscribers(registry: Registry, queued_events: Sequence[QueuedEvent]) -> None:
    with prepare(registry=registry) as made:
        request = made["request"]
        with without_transaction(request) as transactions:
            for kind, *values in queued_events:
                events.notify_subscribers(kind, request, *values, call=transactions.call_subscriber)
