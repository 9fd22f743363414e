"""The trigger: ``GET`` or ``POST`` on ``cron.path`` makes a tick."""

from __future__ import annotations

import logging
from contextlib import nullcontext

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..errors import StoreError
from ..planning.snapshot import TickReport
from ..runtime.request_scope import url_environ_of
from ..runtime.tick import run_tick
from ..serializers import tick_summary
from .access import warn_of_hidden_proxies
from .problems import HTTPProblem, problem_json_response
from .responses import wants_json

log = logging.getLogger("pyramid_cron")


def tick_view(request: Request) -> Response:
    """Answer a hit on the trigger: 200 after the tick, else 403, 405 or 503."""
    if request.method not in ("GET", "POST"):
        return _refuse(request, HTTPProblem(405, "method not allowed", "GET, POST"))
    cron = get_cron(request.registry)
    verdict = cron.guard.check(request.environ.get("REMOTE_ADDR"), request.headers)
    if verdict.reason is not None:
        log.warning("tick refused: %s", verdict.reason)
        return _refuse(request, HTTPProblem(403, f"fail {verdict.address}"))
    warn_of_hidden_proxies(cron, request.environ)
    dispatcher = cron.dispatcher
    try:
        # Before a task that may hang.
        with dispatcher.hit(url_environ_of(request)) if dispatcher else nullcontext():
            report = run_tick(cron, request, cron.clock())
    except StoreError as error:
        log.error("tick failed: %s", error)
        return _refuse(request, HTTPProblem(503, "fail store"))
    return _report_response(report) if wants_json(request) else _text_response("ok")


def _refuse(request: Request, problem: HTTPProblem) -> Response:
    if wants_json(request):
        return problem_json_response(request, problem)
    response = _text_response(problem.detail, problem.status)
    if problem.allow:
        response.headers["Allow"] = problem.allow
    return response


def _text_response(body: str, status: int = 200) -> Response:
    response = Response(body, status=status, content_type="text/plain", charset="UTF-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def _report_response(report: TickReport) -> Response:
    response = Response(json_body=tick_summary(report), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
