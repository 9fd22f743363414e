"""The trigger: ``GET`` or ``POST`` on the cron path makes a tick."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..logs import format_instant
from ..runtime.tick import TickReport, run_tick
from ..store.engine import StoreError

log = logging.getLogger("pyramid_cron")


def tick_view(request: Request) -> Response:
    """Answer a hit on the trigger: 200 with what was done, or 403, 405 or 503."""
    if request.method not in ("GET", "POST"):
        return _text_response("method not allowed", status=405, headers={"Allow": "GET, POST"})
    cron = get_cron(request.registry)
    verdict = cron.guard.check(request.environ.get("REMOTE_ADDR"), request.headers)
    if verdict.reason is not None:
        log.warning("tick refused: %s", verdict.reason)
        return _text_response(f"fail {verdict.address}", status=403)
    try:
        report = run_tick(cron, request, cron.clock())
    except StoreError as error:
        log.error("tick failed: %s", error)
        return _text_response("fail store", status=503)
    return _report_response(report) if wants_json(request) else _text_response("ok")


def wants_json(request: Request) -> bool:
    """Return whether JSON is asked for by name; otherwise it is text."""
    if "json" not in request.headers.get("Accept", "").lower():
        return False
    asked = accept_weights(request)
    json = asked.get("application/json", 0.0)
    return json > 0 and json >= max(asked.get(name, 0.0) for name in ("text/plain", "text/html"))


def accept_weights(request: Request) -> dict[str, float]:
    """Return how much each type is asked for; none for a header that can't be read.

    ``*/*`` and its kin stand for any answer, so they say nothing of which. There is one answer of
    each type, so what else is said of one, as its charset, does not matter.
    """
    asked: dict[str, float] = {}
    for name, quality, *_ in request.accept.parsed or ():
        plain = name.partition(";")[0].lower()
        asked[plain] = max(quality, asked.get(plain, 0.0))
    return asked


def _text_response(
    body: str, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    response = Response(body, status=status, content_type="text/plain", charset="UTF-8")
    response.headers.update({"Cache-Control": "no-store", **(headers or {})})
    return response


def _report_response(report: TickReport) -> Response:
    response = Response(json_body=_report_data(report), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _report_data(report: TickReport) -> dict[str, Any]:
    return {
        "tick": report.tick,
        "now": format_instant(report.now),
        "runs": [
            {
                "task": run.task,
                "run": run.id,
                "slot": format_instant(run.slot),
                "state": run.state.value,
                "duration": run.duration,
            }
            for run in report.runs
        ],
        "skipped": [
            {
                "task": run.task,
                "slot": format_instant(run.slot),
                "reason": run.reason,
                "count": run.count,
            }
            for run in report.skipped
        ],
        "waiting": [
            {"task": each.task, "slot": format_instant(each.slot)} for each in report.waiting
        ],
    }
