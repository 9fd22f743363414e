"""``{cron.path}/health``: whether all is well, for whatever watches over servers."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from ..health import health
from ..state import cronwork
from ..store.engine import StoreError
from .access import guarded

ROUTE = "cron.health"

log = logging.getLogger("pyramid_cron")


def add_health_route(config: Configurator, path: str) -> None:
    """Add the route, below the path of the trigger."""
    config.add_route(ROUTE, f"{path.rstrip('/')}/health")


def add_health_view(config: Configurator) -> None:
    """Add the view."""
    config.add_view(
        guarded(health_view),
        route_name=ROUTE,
        request_method="GET",
        permission=NO_PERMISSION_REQUIRED,
    )


def health_view(_context: Any, request: Request) -> Response:
    """Answer 200 where all is well, else 503, with the reasons."""
    try:
        found = health(cronwork(request.registry))
    except StoreError as error:
        log.error("health unknown: %s", error)
        unknown = {"healthy": False, "error": str(error)}
        return _answer(request, unknown, f"the store can't be read: {error}", healthy=False)
    text = "\n".join(found.complaints() or ["ok"])
    return _answer(request, found.as_dict(), text, healthy=found.healthy)


def _answer(request: Request, data: dict[str, Any], text: str, *, healthy: bool) -> Response:
    if _asks_for_json(request):
        response = Response(json_body=data, content_type="application/json")
    else:
        response = Response(text, content_type="text/plain", charset="UTF-8")
    response.status_int = 200 if healthy else 503
    response.headers["Cache-Control"] = "no-store"
    return response


def _asks_for_json(request: Request) -> bool:
    if "application" not in request.headers.get("Accept", ""):
        return False
    offers = request.accept.acceptable_offers(["text/plain", "application/json"])
    return bool(offers) and offers[0][0] == "application/json"
