"""Scheduled tasks inside a Pyramid application: one include, one crontab line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pyramid.config import PHASE0_CONFIG, Configurator
from pyramid.events import ApplicationCreated
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry

from .app import CronApp, ICronApp, get_cron
from .directives import (
    AFTER_APPLICATION_ORDER,
    add_cron_queue,
    add_cron_task,
    cron_task,
    set_cron_session,
)
from .errors import GiveUp, RetryLater, StoreError
from .monitors import check_monitors, subscribe_monitors
from .planning.forecast import PlannedRun
from .planning.health import Health, HealthState, TaskHealth
from .planning.snapshot import PauseRule, TickReport, WaitingRun
from .run import (
    Progress,
    Run,
    RunReason,
    RunState,
    TaskCancelled,
    TaskTimeout,
    Trigger,
    WaitReason,
)
from .runtime.background import notify_in_thread
from .runtime.dispatcher import make_dispatcher
from .runtime.process_hooks import is_preloading
from .runtime.shutdown import install_shutdown_hooks
from .schedule import At, Cron, Every, Schedule
from .schedule.every import EveryDays
from .scheduler import Scheduler, TaskStatus, request_scheduler, scheduler
from .settings import Settings, parse_settings
from .sources.command import add_cron_command
from .sources.crontab import add_crontab
from .sources.folder import add_cron_folder
from .store.engine import explain_unusable
from .task import CatchUp, Overlap, Retry, Task
from .version import __version__
from .web import add_routes, add_views, put_routes_first, set_cron_view_options
from .web.urls import TRIGGER_ROUTE, check_conflicts

__all__ = [
    "At",
    "CatchUp",
    "Cron",
    "Every",
    "EveryDays",
    "GiveUp",
    "Health",
    "HealthState",
    "Overlap",
    "PauseRule",
    "PlannedRun",
    "Progress",
    "Retry",
    "RetryLater",
    "Run",
    "RunReason",
    "RunState",
    "Schedule",
    "Scheduler",
    "StoreError",
    "Task",
    "TaskCancelled",
    "TaskHealth",
    "TaskStatus",
    "TaskTimeout",
    "TickReport",
    "Trigger",
    "WaitReason",
    "WaitingRun",
    "__version__",
    "cron_task",
    "includeme",
    "scheduler",
]

log = logging.getLogger("pyramid_cron")

DIRECTIVES = (
    add_cron_task,
    add_cron_command,
    add_cron_folder,
    add_crontab,
    add_cron_queue,
    set_cron_session,
    set_cron_view_options,
)
"""The methods of ``config`` that the include adds."""


def includeme(config: Configurator) -> None:
    """Set up the directives, ``request.cron``, the trigger and the pages.

    The directives are ``add_cron_task``, ``add_cron_command``, ``add_cron_folder``,
    ``add_crontab``, ``add_cron_queue``, ``set_cron_session`` and ``set_cron_view_options``.

    The settings begin with ``cron.`` and are read when the configuration is committed, so an
    application may still change them after the include.
    """
    for directive in DIRECTIVES:
        config.add_directive(directive.__name__, directive)
    config.add_request_method(request_scheduler, "cron", reify=True)
    config.action("pyramid_cron settings", _create_app, (config,), order=PHASE0_CONFIG)
    for name, function, argument in (
        ("store", _check_store, config.registry),
        ("routes", put_routes_first, config),
        ("conflicts", check_conflicts, config.registry),
        ("monitors", check_monitors, config.registry),
    ):
        config.action(f"pyramid_cron {name}", function, (argument,), order=AFTER_APPLICATION_ORDER)
    config.add_subscriber(_check_conflicts, ApplicationCreated)
    config.add_subscriber(_start_application, ApplicationCreated)


def _create_app(config: Configurator) -> None:
    """Read the settings, and create what depends on them."""
    settings = parse_settings(config.registry.settings)
    registry = config.registry
    cron = CronApp(
        settings, notify=lambda events: notify_in_thread(get_cron(registry), registry, events)
    )
    if settings.beats or settings.self_trigger:
        cron.use_dispatcher(make_dispatcher(cron, config.registry))
    config.registry.registerUtility(cron, ICronApp)
    config.add_route(TRIGGER_ROUTE, settings.path)
    add_routes(config, settings.path)
    add_views(config)
    subscribe_monitors(config)
    _add_sources(config, settings)


def _add_sources(config: Configurator, settings: Settings) -> None:
    """Register the tasks of the folders and crontabs that settings name."""
    for path in settings.folders:
        with _naming_setting("cron.folders"):
            add_cron_folder(config, path)
    for crontab in settings.crontabs:
        with _naming_setting("cron.crontabs"):
            add_crontab(config, crontab.path, user=crontab.has_users)


@contextmanager
def _naming_setting(name: str) -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from error


def _check_store(registry: Registry) -> None:
    if problem := explain_unusable(get_cron(registry).settings.url):
        raise ConfigurationError(problem)


def _check_conflicts(event: ApplicationCreated) -> None:
    """Check what was added after the include by a configurator that commits at once."""
    check_conflicts(event.app.registry)


def _open_store(cron: CronApp) -> None:
    """Make the tables before a request needs them, whose own transaction might block that."""
    try:
        cron.store.open()
    except StoreError as error:
        log.warning("the store could not be opened, the first tick will: %s", error)


def _start_application(event: ApplicationCreated) -> None:
    cron = get_cron(event.app.registry)
    if cron.get_session is not None:
        _open_store(cron)
    install_shutdown_hooks(cron.supervisor, cron.settings.shutdown_timeout.total_seconds())
    if cron.settings.self_trigger and cron.dispatcher is not None:
        cron.dispatcher.start_ticking(after_fork=is_preloading())
