"""The trigger, the pages and the data as Pyramid views."""

from __future__ import annotations

from pyramid.config import Configurator
from pyramid.security import NO_PERMISSION_REQUIRED

from .files import file_view
from .health import health_view
from .metrics import metrics_view
from .openapi import openapi_view
from .runs import run_view, runs_view
from .tasks import task_view, tasks_view
from .timeline import timeline_view

PAGES = (
    ("cron.tasks", "/tasks", tasks_view),
    ("cron.task", "/tasks/{name:.+}", task_view),
    ("cron.runs", "/runs", runs_view),
    ("cron.run", "/runs/{id:.+}", run_view),
    ("cron.timeline", "/timeline", timeline_view),
    ("cron.health", "/health", health_view),
    ("cron.metrics", "/metrics", metrics_view),
    ("cron.openapi", "/openapi.json", openapi_view),
    ("cron.file", "/static/{file}", file_view),
)
"""The names of the routes, where they are below the trigger, and their views."""


def add_routes(config: Configurator, path: str) -> None:
    """Add the routes of the pages below the trigger's path."""
    for name, pattern, _ in PAGES:
        config.add_route(name, path + pattern)


def add_views(config: Configurator) -> None:
    """Add the views. Who may see them, and whether a POST is meant, they find out themselves."""
    for name, _, view in PAGES:
        config.add_view(
            view, route_name=name, permission=NO_PERMISSION_REQUIRED, require_csrf=False
        )
