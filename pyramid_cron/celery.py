"""The worker's side of ``executor="celery"``.

``PYRAMID_CRON_INI=production.ini celery -A pyramid_cron.celery worker`` carries out what ticks have
sent. The variable names the application's configuration, ``#name`` after it the section, as in
``production.ini#shop``; without that it is ``main``. An application that has a Celery app of its
own gives it to :func:`add_task`.
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
from .runtime.queues import CELERY_TASK_NAME, HANDOFF_TIMEOUT, find_celery_app
from .scheduler import scheduler

if TYPE_CHECKING:
    from celery import Celery

INI_VARIABLE = "PYRAMID_CRON_INI"

TAKE_OVER_MAX_DELAY_SECONDS = 60
"""Seconds, at most, after which it is tried again to take up a run."""

TAKE_OVER_TRIES = HANDOFF_TIMEOUT // timedelta(seconds=TAKE_OVER_MAX_DELAY_SECONDS / 2)
"""How often that is tried: until the run is lost anyway. The delays are random, up to the most."""

log = logging.getLogger("pyramid_cron")


class ApplicationLoadError(Exception):
    """Raised when the application can't be made, so that no run can be taken up."""


def add_task(app: Celery) -> None:
    """Add the task that carries runs out to a Celery app.

    The Pyramid application is made from the file in ``PYRAMID_CRON_INI`` when the first run comes,
    once in each process. While it can't be made, the store can't be reached, or the run or its task
    is not known here, the message is sent again, for later.
    """
    from celery.signals import worker_process_shutdown

    loaded: dict[int, Registry] = {}
    lock = threading.Lock()
    # A run that is not known may be a newer version's, or another application's.
    not_taken_up = (StoreError, ApplicationLoadError, LookupError)

    def registry() -> Registry:
        with lock:
            if os.getpid() not in loaded:  # what was made before a fork stays with the parent
                loaded.clear()
                loaded[os.getpid()] = _load_application()
            return loaded[os.getpid()]

    def run(run_id: str) -> None:
        try:
            scheduler(registry()).execute(run_id)
        except not_taken_up as error:
            cause = isinstance(error, ApplicationLoadError)
            log.warning("run=%s could not be taken up: %s", run_id, error, exc_info=cause)
            raise

    app.task(
        run,
        name=CELERY_TASK_NAME,
        ignore_result=True,
        # The message is all that will ever have it taken up.
        autoretry_for=not_taken_up,
        max_retries=TAKE_OVER_TRIES,
        retry_backoff=1,
        retry_backoff_max=TAKE_OVER_MAX_DELAY_SECONDS,
    )

    def send_the_last(**_: Any) -> None:
        # A process of the pool ends without what is to be done at exit.
        made = loaded.get(os.getpid())
        if made is not None and (told := get_monitoring(made)) is not None:
            told.flush(EXIT_FLUSH_SECONDS)

    worker_process_shutdown.connect(send_the_last, weak=False)


def _load_application() -> Registry:
    try:
        app = get_app(_read_ini_variable())
        registry = getattr(app, "registry", None)
        # Middleware around an application need not show it.
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
    # The section is that of middleware, or the application's own code sets them.
    cron = get_cron(_load_application())
    cron.close()
    return cron.settings.celery_app, cron.settings.celery_broker_url


def _set_up_logging(app: Celery) -> None:
    """Have what the configuration says of logging hold, but for Celery's own lines."""
    from celery.signals import setup_logging

    loader = get_config_loader(_read_ini_variable())
    if "loggers" not in loader.get_sections() or setup_logging.receivers:
        return  # Celery sets it up, or an app of the application's own has it done

    def set_up(loglevel: int, logfile: str | None, colorize: bool | None, **asked: Any) -> None:
        loader.setup_logging({"__script__": "celery"})
        own = logging.getLogger("celery")
        if own.level or not all(isinstance(each, logging.NullHandler) for each in own.handlers):
            return  # the configuration has a logger for them
        own.setLevel(loglevel)
        own.propagate = False
        app.log.setup_handlers(own, logfile, asked["format"], colorize)
        if logfile is not None:  # of a worker without a terminal
            for handler in own.handlers:
                logging.getLogger().addHandler(handler)

    setup_logging.connect(set_up, weak=False)


def __getattr__(name: str) -> Any:
    """Return ``app``, which is made when a worker asks for it: not every import is a worker's."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = made = _make_worker_app()
    return made
