"""Runs that a task queue has a worker run: handing them off, and taking them over there."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from pyramid.exceptions import ConfigurationError
from pyramid.path import DottedNameResolver
from pyramid.registry import Registry

from ..clock import Stopwatch
from ..errors import StoreError
from ..registry import TaskRegistry
from ..run import Run
from ..store.handoff import hand_off_run, release_runs, take_over_run
from .cron_parts import CronParts
from .request_scope import own_request, run_in_own_request
from .task_session import ensure_same_database, needs_check
from .transactions import without_transaction

if TYPE_CHECKING:
    from celery import Celery

HANDOFF_TIMEOUT = timedelta(hours=1)
"""How long a run that was handed off may wait for a worker before it is lost."""

SendRun = Callable[[Run], object]
"""Sends a run's id to a worker, which calls Scheduler.execute with it."""

log = logging.getLogger("pyramid_cron")


def send_runs(
    cron: CronParts, task_registry: TaskRegistry, runs: Iterable[Run], clock: Stopwatch
) -> None:
    """Hand runs off, each to its task's queue; those that can't be sent wait for a later tick."""
    by_queue: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_queue[task_registry.get(run.task).executor].append(run)
    for queue, queue_runs in by_queue.items():
        try:
            _send_to_queue(cron, queue, queue_runs, clock)
        except StoreError as error:
            log.error("runs for %s: hand-off not written: %s", queue, error)


def _send_to_queue(cron: CronParts, queue: str, runs: Sequence[Run], clock: Stopwatch) -> None:
    for index, run in enumerate(runs):
        if not cron.supervisor.hand_off(run.id):
            continue
        try:
            cron.queues[queue](run)
        except BaseException as error:  # SystemExit, too: nothing else would release the run
            unsent = [run]
            unsent += [run for run in runs[index + 1 :] if cron.supervisor.hand_off(run.id)]
            release_runs(cron.store, unsent, clock.now())
            names = ", ".join(unsent_run.task for unsent_run in unsent)
            log.warning("%s can't be reached; %s will be sent later: %s", queue, names, error)
            return
        hand_off_run(cron.store, run.id, clock.now() + HANDOFF_TIMEOUT)


def run_handed_off(
    cron: CronParts,
    registry: Registry,
    run_id: str,
    kill: Callable[[], object] | None = None,
) -> Run | None:
    """Take over a run that was handed off, and run it; return it as it ended.

    ``kill`` is called to end a task that does not stop. Returns None if another worker has taken
    the run over, or it has ended. Raises LookupError for a run or a task that is not known here,
    StoreError if it could not be taken over.
    """
    handed_off = cron.store.get_run(run_id)
    if handed_off is None:
        raise LookupError(f"there is no run {run_id!r}")
    task = cron.get_task(handed_off.task)  # refreshes sources: its script may be new
    if needs_check(cron):
        with own_request(registry) as request, without_transaction(request):
            ensure_same_database(cron, request)
    clock = Stopwatch(cron.clock())
    executions = cron.supervisor.executions
    lease_until = executions.new_lease(clock)
    run = take_over_run(cron.store, run_id, clock.now(), lease_until)
    if run is None:
        log.info("%s run=%s is already taken over or finished", task.name, run_id)
        return None
    executions.note_leases([run], lease_until)
    with cron.supervisor.supervising([run], clock):
        if (execution := executions.get(run_id)) is not None:
            execution.kill = kill
        with suppress(StoreError):  # the supervisor asks again in a moment
            if run_id in cron.store.cancel_requests():
                cron.supervisor.cancel(run_id)  # before it starts
        final_run = run_in_own_request(cron, registry, task, run, clock)
        cron.supervisor.flush_or_warn(run)
        return final_run


CELERY_TASK_NAME = "pyramid_cron.run"
"""The name of the Celery task that takes runs over; its argument is the run's id."""

BROKER_TIMEOUT_SECONDS = 5
"""How long a broker may take to be reached, or to answer, before it counts as down."""


class CelerySender:
    """Sends runs to the broker in ``cron.celery.broker_url``, or by the app in ``cron.celery.app``.

    Raises ConfigurationError if neither is set, if the app is none, or Celery is not installed.
    """

    def __init__(self, cron: CronParts) -> None:
        self._cron = cron
        self.app  # noqa: B018 (raises now)

    @cached_property
    def app(self) -> Celery:
        """The Celery app that sends."""
        name = self._cron.settings.celery_app
        app = find_celery_app(name, self._cron.settings.celery_broker_url)
        if name is None:
            # Not for workers, which wait long for messages.
            app.conf.broker_transport_options |= {"socket_timeout": BROKER_TIMEOUT_SECONDS}
        return app

    def __call__(self, run: Run) -> None:
        """Send a run; raises what Celery raises if the broker can't be reached."""
        options = self._cron.task_registry.get(run.task).celery
        self.app.send_task(
            CELERY_TASK_NAME, args=[run.id], retry=False, ignore_result=True, **options
        )


def find_celery_app(name: str | None, broker_url: str | None) -> Celery:
    """Return the application's own Celery app of this dotted name, or one for a broker.

    Raises ConfigurationError if neither is given, if the app is none, or Celery is not installed.
    """
    if name is None and broker_url is None:
        raise ConfigurationError(
            'executor="celery" needs the setting cron.celery.broker_url, such as'
            " redis://127.0.0.1:6379/0, or cron.celery.app, the dotted name of a Celery app"
        )
    try:
        from celery import Celery
    except ImportError:
        raise ConfigurationError(
            'executor="celery" needs the package celery, which is not installed:'
            ' pip install "pyramid_cron[celery]"'
        ) from None
    if name is None:
        app = Celery("pyramid_cron", broker=broker_url, set_as_current=False)
        app.conf.broker_connection_timeout = BROKER_TIMEOUT_SECONDS
        app.conf.broker_transport_options = {"socket_connect_timeout": BROKER_TIMEOUT_SECONDS}
        app.conf.broker_connection_retry_on_startup = True
        return app
    try:
        app = DottedNameResolver(None).resolve(name)
    except Exception as error:
        raise ConfigurationError(f"cron.celery.app: {name!r} can't be imported: {error}") from error
    if not isinstance(app, Celery):
        raise ConfigurationError(f"cron.celery.app: {name!r} is no Celery app but {app!r}")
    return app
