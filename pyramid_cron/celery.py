"""The worker's side of ``executor="celery"``.

``PYRAMID_CRON_INI=production.ini celery -A pyramid_cron.celery worker`` takes over the runs that
ticks have handed off. The variable names the application's configuration, ``#name`` after it the
section, as in ``production.ini#shop``; without that it is ``main``. An application that has a
Celery app of its own passes it to :func:`add_task`.
"""

from __future__ import annotations

import logging
import os
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pyramid.config import global_registries
from pyramid.exceptions import ConfigurationError
from pyramid.paster import get_app, get_appsettings
from pyramid.registry import Registry
from pyramid.scripts.common import get_config_loader

from .app import get_cron
from .errors import StoreError
from .monitors import EXIT_FLUSH_SECONDS, get_monitoring
from .runtime.process_hooks import ForkHook
from .runtime.queues import CELERY_TASK_NAME, HANDOFF_TIMEOUT, find_celery_app
from .scheduler import scheduler

if TYPE_CHECKING:
    from celery import Celery

INI_VARIABLE = "PYRAMID_CRON_INI"

TAKE_OVER_MAX_DELAY_SECONDS = 60
"""The longest delay before a message of a run that could not be taken over is tried again."""

TAKE_OVER_TRIES = HANDOFF_TIMEOUT // timedelta(seconds=TAKE_OVER_MAX_DELAY_SECONDS / 2)
"""How often that is tried, with random delays: until the run is lost anyway."""

log = logging.getLogger("pyramid_cron")


class ApplicationLoadError(Exception):
    """Raised when the application can't be made, so that no run can be taken over."""


def add_task(app: Celery) -> None:
    """Add the task that takes runs over to a Celery app.

    The Pyramid application is made from the file in ``PYRAMID_CRON_INI`` when the first run comes,
    once in each process. While it can't be made, the store can't be reached, or the run or its task
    is not known here, the message is sent again, for later.
    """
    from celery.signals import worker_process_shutdown

    application = _WorkerApplication()
    # An unknown run may be of a newer version, or of another application.
    retried_errors = (StoreError, ApplicationLoadError, LookupError)

    def run(run_id: str) -> None:
        try:
            scheduler(application.registry()).execute(run_id)
        except retried_errors as error:
            has_cause = isinstance(error, ApplicationLoadError)
            log.warning("run=%s could not be taken over: %s", run_id, error, exc_info=has_cause)
            raise

    app.task(
        run,
        name=CELERY_TASK_NAME,
        ignore_result=True,
        # Nothing but this message has the run taken over.
        autoretry_for=retried_errors,
        max_retries=TAKE_OVER_TRIES,
        retry_backoff=1,
        retry_backoff_max=TAKE_OVER_MAX_DELAY_SECONDS,
    )

    # A process of the pool ends without its exit hooks.
    worker_process_shutdown.connect(application.flush_monitors, weak=False)


class _WorkerApplication:
    """The Pyramid application of one worker process, made when it is first needed."""

    def __init__(self) -> None:
        self._fork_hook = ForkHook()
        self._fork_hook.add(self._reset)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._registry: Registry | None = None

    def registry(self) -> Registry:
        """Return its registry. Raises ApplicationLoadError."""
        with self._lock:
            if self._registry is None:
                self._registry = _load_application()
            return self._registry

    def flush_monitors(self, **_: Any) -> None:
        """Send the reports that wait for monitors."""
        if self._registry is not None and (monitoring := get_monitoring(self._registry)):
            monitoring.flush(EXIT_FLUSH_SECONDS)


def _load_application() -> Registry:
    try:
        app = get_app(_read_ini_variable())
        registry = getattr(app, "registry", None)
        # Middleware around an application may hide its registry.
        return registry if isinstance(registry, Registry) else global_registries.last
    except Exception as error:
        raise ApplicationLoadError(f"the application can't be made: {error!r}") from error


def _read_ini_variable() -> str:
    if INI_VARIABLE not in os.environ:
        raise ConfigurationError(
            f"the environment variable {INI_VARIABLE} is missing; it names the application's"
            " configuration, as in production.ini or production.ini#shop"
        )
    return os.environ[INI_VARIABLE]


def _make_worker_app() -> Celery:
    app = find_celery_app(*_read_celery_settings())
    add_task(app)
    _set_up_logging(app)
    return app


def _read_celery_settings() -> tuple[str | None, str | None]:
    """Return ``cron.celery.app`` and ``cron.celery.broker_url``."""
    settings = get_appsettings(_read_ini_variable())
    name, broker_url = settings.get("cron.celery.app"), settings.get("cron.celery.broker_url")
    if name or broker_url:
        return name or None, broker_url or None
    # The section is of middleware, or the application's own code sets them.
    cron = get_cron(_load_application())
    cron.close()
    return cron.settings.celery_app, cron.settings.celery_broker_url


def _set_up_logging(app: Celery) -> None:
    """Set up logging as the configuration says, but for Celery's own lines."""
    from celery.signals import setup_logging

    loader = get_config_loader(_read_ini_variable())
    if "loggers" not in loader.get_sections() or setup_logging.receivers:
        return  # Celery sets it up, or the application's own Celery app does

    def set_up(loglevel: int, logfile: str | None, colorize: bool | None, **options: Any) -> None:
        loader.setup_logging({"__script__": "celery"})
        celery_log = logging.getLogger("celery")
        is_null = [isinstance(handler, logging.NullHandler) for handler in celery_log.handlers]
        if celery_log.level or not all(is_null):
            return  # the configuration has a logger for them
        celery_log.setLevel(loglevel)
        celery_log.propagate = False
        app.log.setup_handlers(celery_log, logfile, options["format"], colorize)
        if logfile is not None:  # of a worker without a terminal
            for handler in celery_log.handlers:
                logging.getLogger().addHandler(handler)

    setup_logging.connect(set_up, weak=False)


def __getattr__(name: str) -> Any:
    """Return ``app``, which is made when a worker gets it: not every import is a worker's."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = _make_worker_app()
    return app
