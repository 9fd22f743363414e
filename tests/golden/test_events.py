"""The events that an application gets, and what they say."""

from __future__ import annotations

import threading
from datetime import datetime

from pyramid_cron import Run
from pyramid_cron.events import TickStarted
from tests.golden.conftest import play
from tests.golden.shop import configure

RUN = "id task slot attempt trigger state reason count started finished duration error payload"
"""What the documentation says of a run, but for its long texts."""


def test_the_events_of_two_hours(clock, golden):
    heard = []

    def hear(event):
        heard.append((event, threading.current_thread() is not threading.main_thread()))

    config = configure(**{"cron.url": "sqlite://"})
    config.add_subscriber(hear, "pyramid_cron.events.Event")
    control = play(config, clock)
    control.cancel(control.history("parcels", limit=1)[0].id)
    golden("events.json", [{type(event).__name__: shown(event)} for event in in_order(heard)])


def in_order(heard):
    """Return the events, those of a tick's threads after its own: they come when they come."""
    tick, places = 0, []
    for event, is_in_thread in heard:
        tick += isinstance(event, TickStarted)
        places.append((tick, is_in_thread, event.run.task if is_in_thread else ""))
    in_place = sorted(zip(places, heard, strict=True), key=lambda pair: pair[0])
    return [event for _, (event, _) in in_place]


def shown(event):
    """The public attributes of an event, without the request it happened in."""
    names = {name for name in dir(event) if not name.startswith("_")}
    assert {"request", "registry"} <= names
    return {name: plain(getattr(event, name)) for name in sorted(names - {"request", "registry"})}


def plain(value):
    if isinstance(value, Run):
        return {name: plain(getattr(value, name)) for name in RUN.split()}
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if hasattr(value, "runs"):
        runs = {name: getattr(value, name) for name in ("runs", "skipped", "waiting")}
        tasks = {name: [each.task for each in found] for name, found in runs.items()}
        return {"tick": value.tick, "now": plain(value.now)} | tasks
    return value
