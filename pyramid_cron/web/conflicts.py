"""Routes and views of the application that lie at the trigger's path, or at that of a page."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import IRootFactory, IRoutesMapper
from pyramid.registry import Registry
from pyramid.traversal import DefaultRootFactory
from zope.interface.interfaces import IInterface

from .urls import TRIGGER_ROUTE

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
