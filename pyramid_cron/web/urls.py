"""The paths of the pages, and routes and views of the application that lie at them.

A task's name may have any characters, slashes and dots too.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlencode

from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import IRootFactory, IRoutesMapper
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.traversal import DefaultRootFactory
from zope.interface.interfaces import IInterface

from ..app import get_cron
from ..run import Run
from ..serializers import JSONObject, run_data, waiting_run_data

TRIGGER_ROUTE = "pyramid_cron"
"""The name of the trigger's route; an application may have a route "cron" of its own."""


def page_path(request: Request, *segments: str, **query: object) -> str:
    """Return a path below the trigger's.

    A query parameter that is None is left out, one that is a list is there several times.
    """
    base = "/".join((request.route_path(TRIGGER_ROUTE), *segments))
    given = {name: value for name, value in query.items() if value is not None}
    parameters = urlencode(given, doseq=True)
    return f"{base}?{parameters}" if parameters else base


def crontab_line(request: Request) -> str | None:
    """Return the line of a crontab that makes the ticks; None where processes make them."""
    cron = get_cron(request.registry)
    if cron.settings.self_trigger:
        return None
    token = ' -H "Authorization: Bearer TOKEN"' if cron.guard.tokens else ""
    url = request.route_url(TRIGGER_ROUTE).replace("%", r"\%")  # cron ends the command at a %
    return f"* * * * *  curl -fsSL --max-redirs 0 -o /dev/null{token} {url}"


def task_path(request: Request, name: str, *segments: str, **query: object) -> str:
    """Return the path of a task's page, or of an action on the task."""
    return page_path(request, "tasks", _quote_name(name), *segments, **query)


def schedule_path(request: Request, name: str, *segments: str, **query: object) -> str:
    """Return the path of a stored schedule, or of an action on it."""
    return page_path(request, "schedules", _quote_name(name), *segments, **query)


def run_path(request: Request, run_id: str, *segments: str, **query: object) -> str:
    """Return the path of a run's page, or of an action on the run."""
    return page_path(request, "runs", quote(run_id, safe=""), *segments, **query)


def linked_run(request: Request, run: Run) -> JSONObject:
    """Return a run without its long texts, with the path of its page."""
    return {**run_data(run), "url": run_path(request, run.id)}


def linked_waiting_run(request: Request, run: Run) -> JSONObject:
    """Return a waiting run with its payload and the path of its page."""
    return {**waiting_run_data(run), "url": run_path(request, run.id)}


def unquote_name(name: str) -> str:
    """Return the name that :func:`task_path` has quoted twice."""
    return unquote(name)


def _quote_name(name: str) -> str:
    """Quote a name; twice if it has a segment of dots, which browsers resolve even if quoted."""
    if {".", ".."} & set(name.split("/")):
        name = quote(name, safe="/").replace(".", "%2E")
    return quote(name, safe="/")


PROBE_SEGMENT = "neither-the-trigger-nor-a-page"
"""What stands for any other last segment: a route that takes it, too, is one for every path."""


def check_conflicts(registry: Registry) -> None:
    """Refuse a route or view of the application that the trigger or a page would hide.

    Routes with a placeholder that takes other paths as well may stay: they keep those. Raises
    ConfigurationError naming the route or view.
    """
    mapper = registry.queryUtility(IRoutesMapper)
    routes = mapper.get_routes()
    ours = [route for route in routes if _is_ours(route)]
    trigger_path = _path_of(mapper.get_route(TRIGGER_ROUTE))
    for route in routes:
        if not _is_ours(route) and (path := _hidden_path(route, ours)):
            raise ConfigurationError(
                f"the application's route {route.name!r} with the pattern {route.pattern!r} lies at"
                f" {path}, where pyramid_cron has its own; give it another pattern,"
                f" or set cron.path, which is {trigger_path}"
            )
    for title in _views_at(registry, trigger_path):
        raise ConfigurationError(
            f"the application's view {title} lies at {trigger_path}, where pyramid_cron has its"
            " trigger; give it another name, or set cron.path"
        )


def _is_ours(route: Any) -> bool:
    name = str(route.name)
    return name == TRIGGER_ROUTE or name.startswith(f"{TRIGGER_ROUTE}.")


def _path_of(route: Any) -> str:
    return "/" + str(route.pattern).lstrip("/")


def _is_fixed(route: Any) -> bool:
    """Return whether a route has no placeholders."""
    return bool(route.match(_path_of(route)) == {})


def _hidden_path(route: Any, ours: list[Any]) -> str | None:
    """Return the path at which one of our routes hides one of the application's."""
    path = _path_of(route)
    if _is_fixed(route):
        return path if any(our.match(path) is not None for our in ours) else None
    paths = (_path_of(our) for our in ours if _is_fixed(our))
    return next((path for path in paths if _takes_only(route, path)), None)


def _takes_only(route: Any, path: str) -> bool:
    """Return whether a route takes a path and not those beside it."""
    other = f"{path.rpartition('/')[0]}/{PROBE_SEGMENT}"
    return route.match(path) is not None and route.match(other) is None


def _views_at(registry: Registry, path: str) -> Iterator[str]:
    """Yield what describes each view that traversal finds at a path of one segment."""
    root = registry.queryUtility(IRootFactory, default=DefaultRootFactory)
    for entry in registry.introspector.get_category("views", ()):
        view = entry["introspectable"]
        is_named = view["name"] and f"/{view['name']}" == path and not view["route_name"]
        if is_named and _is_for_root(view["context"], root):
            yield view.title


def _is_for_root(context: Any, root_factory: Any) -> bool:
    """Return whether a view with this context is one of the root; if in doubt, it is not."""
    if context is None:
        return True
    if not inspect.isclass(root_factory):
        return False
    if IInterface.providedBy(context):
        return bool(context.implementedBy(root_factory))
    return inspect.isclass(context) and issubclass(root_factory, context)
