"""``{cron.path}/health``: whether all is well, for whatever watches over servers."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..health import health
from ..state import cronwork
from ..store.engine import StoreError
from .answers import page
from .views import asks_for_json

log = logging.getLogger("pyramid_cron")


@page("GET", "HEAD")
def health_view(request: Request) -> Response:
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
    if asks_for_json(request):
        response = Response(json_body=data, content_type="application/json")
    else:
        response = Response(text, content_type="text/plain", charset="UTF-8")
    response.status_int = 200 if healthy else 503
    response.headers["Cache-Control"] = "no-store"
    return response
