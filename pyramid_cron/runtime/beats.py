"""Connecting an application with the dispatcher that goes on between its ticks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pyramid.registry import Registry

from ..app import CronApp
from ..errors import StoreError
from ..run import Run
from ..store.waiting import peek_waiting
from .dispatcher import Dispatcher, DispatcherPorts, WaitingPeek
from .request_scope import make_request, own_request
from .tick import run_beat, run_tick

log = logging.getLogger("pyramid_cron")

PEEK_LIMIT = 1000
"""Waiting runs by which a dispatcher notices that there are new ones."""


def go_on_with_queue(cron: CronApp, registry: Registry, run: Run) -> None:
    """In a queue's worker: send what waits for the room that a run has left, of its queue."""
    task = cron.find_task(run.task)
    if task is None or not cron.settings.beats:
        return
    now = cron.clock()
    try:
        startable_ids, _ = peek_waiting(cron.store, now, 1)
        if startable_ids:
            executors = (task.executor,)
            run_beat(cron, registry, now, budget=0, url_environ={}, executors=executors)
    except StoreError as error:
        log.info("what waits for %s is left to the next tick: %s", task.executor, error)


def make_dispatcher(cron: CronApp, registry: Registry, *, is_worker: bool = False) -> Dispatcher:
    """Return a dispatcher for an application, which makes beats once a hit has come.

    A worker makes beats whatever ``cron.beats`` says, and puts on record that it is there.
    """

    def peek(now: datetime) -> WaitingPeek:
        cron.refresh_schedules()
        startable_ids, next_not_before = peek_waiting(cron.store, now, PEEK_LIMIT)
        return WaitingPeek(frozenset(startable_ids), next_not_before)

    def beat(now: datetime, budget: float, url_environ: Mapping[str, Any]) -> None:
        run_beat(cron, registry, now, budget=budget, url_environ=url_environ)

    def tick(now: datetime, url_environ: Mapping[str, Any]) -> None:
        blank_request = make_request(registry, cron.settings.base_url, url_environ)
        with own_request(registry, blank_request) as request:
            run_tick(cron, request, now)
        if is_worker:
            cron.store.record_worker(now)

    ports = DispatcherPorts(
        clock=lambda: cron.clock(),
        next_slot=cron.next_slot_between,
        window_end=lambda: cron.window_end,
        peek=peek,
        is_draining=lambda: cron.background_threads.is_draining,
        beat=beat,
        tick=tick,
    )
    return Dispatcher(
        cron.supervisor, ports, cron.settings.budget, cron.settings.beats or is_worker
    )
