"""``{cron.path}/metrics``: what Prometheus scrapes."""

from __future__ import annotations

import logging

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..errors import StoreError
from ..metrics import ExtraMissingError, render_metrics
from .responses import page_view

log = logging.getLogger("pyramid_cron")


@page_view("GET", "HEAD")
def metrics_view(request: Request) -> Response:
    """Answer with the metrics; 501 without prometheus_client, 503 without a store."""
    cron = get_cron(request.registry)
    try:
        body, content_type = render_metrics(cron, request.headers.get("Accept", ""), cron.clock())
    except ExtraMissingError as error:
        return _metrics_error(501, str(error))
    except StoreError as error:
        log.error("metrics unknown: %s", error)
        return _metrics_error(503, f"the store can't be read: {error}")
    response = Response(body)
    response.headers.update({"Content-Type": content_type, "Cache-Control": "no-store"})
    return response


def _metrics_error(status: int, body: str) -> Response:
    response = Response(body, status=status, content_type="text/plain", charset="UTF-8")
    response.headers["Cache-Control"] = "no-store"
    return response
