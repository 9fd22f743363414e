"""Scheduled tasks inside a Pyramid application: one include, one crontab line."""

from __future__ import annotations

from functools import partial

from pyramid.config import PHASE0_CONFIG, Configurator
from pyramid.events import ApplicationCreated
from pyramid.exceptions import ConfigurationError
from pyramid.security import NO_PERMISSION_REQUIRED

from .app import CronApp, ICronApp, get_cron
from .directives import add_cron_queue, add_cron_task
from .monitors import check_monitors, subscribe_monitors
from .run import Run, RunState, TaskCancelled, TaskTimeout
from .runtime.background import notify_in_thread
from .runtime.shutdown import install_shutdown_hooks
from .schedule import At, Cron, Every
from .scheduler import request_scheduler, scheduler
from .settings import parse_settings
from .sources.command import add_cron_command
from .sources.crontab import add_crontab
from .sources.folder import add_cron_folder
from .store.engine import explain_unusable
from .task import Retry
from .version import __version__
from .web import add_routes, add_views, put_routes_first
from .web.trigger import tick_view
from .web.urls import TRIGGER_ROUTE

__all__ = [
    "At",
    "Cron",
    "Every",
    "Retry",
    "Run",
    "RunState",
    "TaskCancelled",
    "TaskTimeout",
    "__version__",
    "includeme",
    "scheduler",
]

AFTER_APPLICATION_ORDER = 1000
"""The order of actions that come after all of the application's own."""


def includeme(config: Configurator) -> None:
    """Set up the directives, ``request.cron``, the trigger and the pages.

    The directives are ``add_cron_task``, ``add_cron_command``, ``add_cron_folder``,
    ``add_crontab`` and ``add_cron_queue``.

    The settings begin with ``cron.`` and are read when the configuration is committed, so an
    application may still change them after the include.
    """

    def set_up() -> None:
        settings = parse_settings(config.registry.settings)
        cron = CronApp(settings, notify=partial(notify_in_thread, config.registry))
        config.registry.registerUtility(cron, ICronApp)
        config.add_route(TRIGGER_ROUTE, cron.settings.path)
        add_routes(config, cron.settings.path)
        subscribe_monitors(config, cron.settings)

    def check_store() -> None:
        problem = explain_unusable(get_cron(config.registry).settings.url)
        if problem:
            raise ConfigurationError(problem)

    def arrange_stop(event: ApplicationCreated) -> None:
        cron = get_cron(event.app.registry)
        install_shutdown_hooks(cron.supervisor, cron.settings.shutdown_timeout.total_seconds())

    config.add_subscriber(arrange_stop, ApplicationCreated)
    config.action("pyramid_cron settings", set_up, order=PHASE0_CONFIG)
    config.action("pyramid_cron store", check_store, order=AFTER_APPLICATION_ORDER)
    config.action("pyramid_cron routes", put_routes_first, (config,), order=AFTER_APPLICATION_ORDER)
    config.action(
        "pyramid_cron monitors", check_monitors, (config.registry,), order=AFTER_APPLICATION_ORDER
    )
    config.add_directive("add_cron_task", add_cron_task)
    config.add_directive("add_cron_command", add_cron_command)
    config.add_directive("add_cron_folder", add_cron_folder)
    config.add_directive("add_crontab", add_crontab)
    config.add_directive("add_cron_queue", add_cron_queue)
    config.add_request_method(request_scheduler, "cron", reify=True)
    config.add_view(
        tick_view,
        route_name=TRIGGER_ROUTE,
        permission=NO_PERMISSION_REQUIRED,
        require_csrf=False,
    )
    add_views(config)
