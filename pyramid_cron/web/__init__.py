"""The trigger, the pages and the data as Pyramid views."""

from __future__ import annotations

from pyramid.config import Configurator
from pyramid.security import NO_PERMISSION_REQUIRED

from .files import file_view, openapi_view
from .monitoring import health_view, metrics_view
from .runs import run_view, runs_view
from .tasks import task_view, tasks_view
from .timeline import timeline_view
from .urls import TRIGGER_ROUTE

PAGE_ROUTES = (
    (f"{TRIGGER_ROUTE}.tasks", "/tasks", tasks_view),
    (f"{TRIGGER_ROUTE}.task", "/tasks/{name:.+}", task_view),
    (f"{TRIGGER_ROUTE}.runs", "/runs", runs_view),
    (f"{TRIGGER_ROUTE}.run", "/runs/{id:.+}", run_view),
    (f"{TRIGGER_ROUTE}.timeline", "/timeline", timeline_view),
    (f"{TRIGGER_ROUTE}.health", "/health", health_view),
    (f"{TRIGGER_ROUTE}.metrics", "/metrics", metrics_view),
    (f"{TRIGGER_ROUTE}.openapi", "/openapi.json", openapi_view),
    (f"{TRIGGER_ROUTE}.file", "/static/{file}", file_view),
)
"""The names of the routes, where they are below the trigger, and their views."""


def add_routes(config: Configurator, path: str) -> None:
    """Add the routes of the pages below the trigger's path."""
    for name, pattern, _ in PAGE_ROUTES:
        config.add_route(name, path + pattern)


def put_routes_first(config: Configurator) -> None:
    """Have the trigger and the pages found before a route of the application that takes all paths.

    They were added late, when the settings were known, and each takes its own paths only.
    """
    routes = config.get_routes_mapper().get_routes()
    names = {TRIGGER_ROUTE, *(name for name, _, _ in PAGE_ROUTES)}
    routes.sort(key=lambda route: route.name not in names)


def add_views(config: Configurator) -> None:
    """Add the views. Who may see them, and whether a POST is meant, they find out themselves."""
    for name, _, view in PAGE_ROUTES:
        config.add_view(
            view, route_name=name, permission=NO_PERMISSION_REQUIRED, require_csrf=False
        )
