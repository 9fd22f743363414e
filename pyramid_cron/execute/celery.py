"""Sending runs to Celery."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyramid.exceptions import ConfigurationError
from pyramid.path import DottedNameResolver

from ..app import CronApp
from ..run import Run

if TYPE_CHECKING:
    from celery import Celery

CELERY_TASK_NAME = "pyramid_cron.run"
"""The name of the Celery task that carries runs out; its argument is the run's id."""

BROKER_TIMEOUT_SECONDS = 5
"""How long a broker may take to be reached, or to answer, before it counts as down."""


class CelerySender:
    """Sends runs to the broker in ``cron.celery.broker_url``, or by the app in ``cron.celery.app``.

    Raises ConfigurationError if neither is set, if the app is none, or Celery is not installed.
    """

    def __init__(self, cron: CronApp) -> None:
        self._cron = cron
        self.app  # noqa: B018 (what is wrong with it is to be found now)

    @cached_property
    def app(self) -> Celery:
        """The Celery app that sends."""
        name = self._cron.settings.celery_app
        app = find_celery_app(name, self._cron.settings.celery_broker_url)
        if name is None:
            # Not for workers, which wait for long where nothing comes.
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
        found: Any = DottedNameResolver(None).resolve(name)
    except Exception as error:
        raise ConfigurationError(f"cron.celery.app: {name!r} can't be imported: {error}") from error
    if not isinstance(found, Celery):
        raise ConfigurationError(f"cron.celery.app: {name!r} is no Celery app but {found!r}")
    return found
