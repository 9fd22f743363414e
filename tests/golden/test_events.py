"""The events that an application gets, and what they say."""

from __future__ import annotations

from datetime import datetime

from pyramid_cron import Run
from tests.golden.conftest import play
from tests.golden.shop import configure

RUN = "id task slot attempt trigger state reason count started finished duration error payload"
"""What the documentation says of a run, but for its long texts."""


def test_the_events_of_two_hours(clock, golden):
    seen = []
    config = configure(**{"cron.url": "sqlite://"})
    config.add_subscriber(seen.append, "pyramid_cron.events.Event")
    control = play(config, clock)
    control.cancel(control.history("parcels", limit=1)[0].id)
    golden("events.json", [{type(event).__name__: shown(event)} for event in seen])


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
