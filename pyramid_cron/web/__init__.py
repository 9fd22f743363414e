"""The routes and views of the pages, their files and their OpenAPI document."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.viewderivers import DefaultViewMapper

from ..version import __version__
from . import urls
from .actions_page import actions_view
from .monitoring import health_view, metrics_view
from .overview import front_view, overview_view
from .problems import HTTPProblem
from .responses import check_parameters, json_response, page_view
from .runs import retry_runs_view, run_log_view, run_view, runs_view
from .schedule_forms import explain_view
from .schedules import schedule_view, schedules_view
from .tasks import task_view, tasks_view
from .timeline import timeline_view
from .trigger import tick_view
from .urls import TRIGGER_ROUTE
from .waiting_page import cancel_waiting_view, upcoming_view, waiting_view

STATIC_FILE_TYPES = {"cron.css": "text/css", "cron.js": "text/javascript"}


@page_view("GET", "HEAD")
def file_view(request: Request) -> Response:
    """Answer with the pages' style or script."""
    name = request.matchdict["file"]
    if name not in STATIC_FILE_TYPES:
        raise HTTPProblem(404, f"there is no file {name!r}")
    body = (files(__package__) / "static" / name).read_bytes()
    response = Response(body, content_type=STATIC_FILE_TYPES[name], charset="UTF-8")
    response.cache_control = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.conditional_response = True
    response.md5_etag()
    return response


@page_view("GET", "HEAD")
def openapi_view(request: Request) -> Response:
    """Answer with the OpenAPI document of this version; its one server is this application."""
    check_parameters(request)
    document = json.loads((files(__package__) / "openapi.json").read_text("utf-8"))
    document["info"]["version"] = __version__
    document["servers"] = [{"url": urls.page_path(request)}]
    return json_response(document)


PAGE_ROUTES = (
    (f"{TRIGGER_ROUTE}.front", "/", front_view),
    (f"{TRIGGER_ROUTE}.overview", "/overview", overview_view),
    (f"{TRIGGER_ROUTE}.tasks", "/tasks", tasks_view),
    (f"{TRIGGER_ROUTE}.task", "/tasks/{name:.+}", task_view),
    (f"{TRIGGER_ROUTE}.runs", "/runs", runs_view),
    (f"{TRIGGER_ROUTE}.retry_runs", "/runs/retry", retry_runs_view),
    (f"{TRIGGER_ROUTE}.run_log", "/runs/{id}/log", run_log_view),
    (f"{TRIGGER_ROUTE}.run", "/runs/{id:.+}", run_view),
    (f"{TRIGGER_ROUTE}.waiting", "/waiting", waiting_view),
    (f"{TRIGGER_ROUTE}.cancel_waiting", "/waiting/cancel", cancel_waiting_view),
    (f"{TRIGGER_ROUTE}.schedules", "/schedules", schedules_view),
    (f"{TRIGGER_ROUTE}.schedule", "/schedules/{name:.+}", schedule_view),
    (f"{TRIGGER_ROUTE}.upcoming", "/upcoming", upcoming_view),
    (f"{TRIGGER_ROUTE}.actions", "/actions", actions_view),
    (f"{TRIGGER_ROUTE}.explain", "/explain", explain_view),
    (f"{TRIGGER_ROUTE}.timeline", "/timeline", timeline_view),
    (f"{TRIGGER_ROUTE}.health", "/health", health_view),
    (f"{TRIGGER_ROUTE}.metrics", "/metrics", metrics_view),
    (f"{TRIGGER_ROUTE}.openapi", "/openapi.json", openapi_view),
    (f"{TRIGGER_ROUTE}.file", "/static/{file}", file_view),
)
"""Each route's name, its pattern below the trigger's path, and its view."""


OWN_VIEW_OPTIONS = {
    "permission": NO_PERMISSION_REQUIRED,
    "require_csrf": False,
    "mapper": DefaultViewMapper,
}
"""The options of all our views, whatever the application's defaults are."""

RESERVED_VIEW_OPTIONS = frozenset(("view", "route_name", "name", "context", *OWN_VIEW_OPTIONS))
"""The options that an application can't set."""

VIEW_OPTIONS_KEY = "pyramid_cron view options"
"""The key of the registry under which the application's options for our views are."""


def add_routes(config: Configurator, path: str) -> None:
    """Add the routes of the pages below the trigger's path."""
    for name, pattern, _ in PAGE_ROUTES:
        config.add_route(name, path + pattern)


def put_routes_first(config: Configurator) -> None:
    """Match the trigger's and the pages' routes before a catch-all route of the application.

    They are added late, once the settings are read, and match their own paths only.
    """
    routes = config.get_routes_mapper().get_routes()
    names = {TRIGGER_ROUTE, *(name for name, _, _ in PAGE_ROUTES)}
    routes.sort(key=lambda route: route.name not in names)


def add_views(config: Configurator) -> None:
    """Add the views, which check access and CSRF tokens themselves."""
    views = [(TRIGGER_ROUTE, tick_view), *((name, view) for name, _, view in PAGE_ROUTES)]
    options = config.registry.get(VIEW_OPTIONS_KEY, {})
    for name, view in views:
        config.add_view(view, route_name=name, **OWN_VIEW_OPTIONS, **options)


def set_cron_view_options(config: Configurator, **options: Any) -> None:
    """Give the views of the trigger and the pages options of the application's view derivers.

    Calls add up. They come before the configuration is committed.

    :param options: what ``config.add_view`` of this application takes besides its own arguments,
        such as ``require_methods=None`` where a deriver refuses ``POST`` without that.

    :raises pyramid.exceptions.ConfigurationError: naming an option that the views have already.
    """
    taken = sorted(options.keys() & RESERVED_VIEW_OPTIONS)
    if taken:
        raise ConfigurationError(
            f"set_cron_view_options: {taken[0]}={options[taken[0]]!r}: pyramid_cron sets it itself;"
            " give options of the application's own view derivers"
        )
    config.registry.setdefault(VIEW_OPTIONS_KEY, {}).update(options)
    if config.autocommit:  # the views are there already
        add_views(config)
