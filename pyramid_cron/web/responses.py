"""Responses as HTML or JSON at the same URL, errors in one line, and query parameters."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..errors import StoreError, TemplatesMissingError
from ..health_report import HealthReport, read_health_report
from ..planning.health import HealthState
from ..run import RUN_ID_PATTERN, RunReason, RunState, Trigger
from ..runtime.request_scope import set_actor
from ..schedule.quantities import parse_integer_text
from ..schedule.zones import parse_moment
from ..text import suggest
from .access import client_name, is_action, require_access
from .pages import local_health_report, render_page
from .problems import HTTPProblem, problem_json_response

PageView = Callable[[Request], Response]
EnumT = TypeVar("EnumT", bound=Enum)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

VOLATILE_KEYS = frozenset(("now", "elapsed", "since_last_tick"))
"""Keys whose values are others at each moment, though nothing has happened."""

VOLATILE_HTML = re.compile(r"<footer>.*?</footer>|<small>[^<]*</small></time>", re.DOTALL)
"""Matches what is other on a page at each moment: how long ago or ahead a moment is."""

log = logging.getLogger("pyramid_cron")


def wants_html(request: Request) -> bool:
    """Return whether ``Accept`` names HTML, as browsers do, rather than ``*/*``."""
    weights = accept_weights(request)
    return weights.get("text/html", 0.0) > weights.get("application/json", 0.0)


def page_view(*methods: str) -> Callable[[PageView], Callable[[Any, Request], Response]]:
    """Decorate a view: access checks, allowed methods, and responses for its errors."""

    def decorate(view: PageView) -> Callable[[Any, Request], Response]:
        @functools.wraps(view)
        def respond_or_explain(_context: Any, request: Request) -> Response:
            try:
                if request.method not in methods:
                    raise HTTPProblem(
                        405, f"{request.method} is not allowed here", ", ".join(methods)
                    )
                _check_query(request)
                get_cron(request.registry).refresh_sources()
                if is_action(request):
                    set_actor(request, client_name(request))
                return view(request)
            except HTTPProblem as error:
                return problem_response(request, error)
            except TemplatesMissingError as error:
                return text_response(f"{error}\n", 501)
            except StoreError as error:
                log.error("%s failed: %s", request.path_info, error)
                return problem_response(
                    request, HTTPProblem(503, "the store can't be read or written")
                )

        return require_access(respond_or_explain)

    return decorate


def _check_query(request: Request) -> None:
    try:
        request.GET  # noqa: B018
    except UnicodeDecodeError:
        raise HTTPProblem(400, "the query is not in UTF-8") from None


def page_health_report(request: Request) -> HealthReport:
    """Return the health: moments in details are local on a page, and in UTC in JSON."""
    if wants_html(request):
        return local_health_report(request)
    return read_health_report(get_cron(request.registry))


def respond(request: Request, template: str, data: Any, **context: Any) -> Response:
    """Return the data as JSON, or as a page with more values for its template."""
    if not wants_html(request):
        return json_response(data)
    html = render_page(request, template, data=data, **context)
    return tagged(html_response(html), VOLATILE_HTML.sub("", html))


def json_response(data: Any, status: int = 200) -> Response:
    """Return data as JSON; who has it already by its ``ETag`` gets 304 instead."""
    response = Response(json_body=data, status=status, content_type="application/json")
    _with_page_headers(response)
    if status != 200:
        return response
    response.headers["Cache-Control"] = "private, no-cache"
    return tagged(response, json.dumps(_without_volatile(data), sort_keys=True))


def _without_volatile(data: Any) -> Any:
    if isinstance(data, dict):
        return {
            key: _without_volatile(value) for key, value in data.items() if key not in VOLATILE_KEYS
        }
    return [_without_volatile(value) for value in data] if isinstance(data, list) else data


def tagged(response: Response, content: str) -> Response:
    """Give a response a weak ``ETag`` for its content, so that ``If-None-Match`` is obeyed."""
    response.etag = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32], False
    response.conditional_response = True
    return response


def html_response(html: str, status: int = 200) -> Response:
    """Return a page that may load only our own style and script."""
    response = Response(html, status=status, content_type="text/html", charset="UTF-8")
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return _with_page_headers(response)


def text_response(text: str, status: int = 200) -> Response:
    """Return plain text."""
    return _with_page_headers(
        Response(text, status=status, content_type="text/plain", charset="UTF-8")
    )


def redirect(path: str) -> Response:
    """Return a 303 to a path of this site."""
    return _with_page_headers(_RelativeRedirect(status=303, location=path))


class _RelativeRedirect(Response):  # type: ignore[misc]
    """Keeps its Location a path: WebOb would add the scheme and host of the request.

    They are wrong behind a proxy that ends TLS unannounced, and ``form-action 'self'`` would block
    the redirect.
    """

    def __call__(self, _environ: Any, start_response: Any) -> Any:
        start_response(self.status, self.headerlist)
        return self.app_iter


def problem_response(request: Request, problem: HTTPProblem) -> Response:
    """Return an error as JSON or as a page."""
    if not wants_html(request):
        return problem_json_response(request, problem)
    status, message = problem.status, problem.detail
    try:
        html = render_page(request, "problem.html", status=status, message=message)
    except TemplatesMissingError:
        response = text_response(f"{message}\n", status)
    else:
        response = html_response(html, status)
    if problem.allow:
        response.headers["Allow"] = problem.allow
    return response


def _with_page_headers(response: Response) -> Response:
    response.headers.update(PAGE_HEADERS)
    return response


def wants_json(request: Request) -> bool:
    """Return whether ``Accept`` names JSON, at least as high as text or HTML."""
    if "json" not in request.headers.get("Accept", "").lower():
        return False
    weights = accept_weights(request)
    json_weight = weights.get("application/json", 0.0)
    others = (weights.get(name, 0.0) for name in ("text/plain", "text/html"))
    return json_weight > 0 and json_weight >= max(others)


def accept_weights(request: Request) -> dict[str, float]:
    """Return the weight of each type that ``Accept`` names; none if the header is malformed.

    Parameters of a type, as its charset, are ignored.
    """
    weights: dict[str, float] = {}
    for name, quality, *_ in request.accept.parsed or ():
        media_type = name.partition(";")[0].lower()
        weights[media_type] = max(quality, weights.get(media_type, 0.0))
    return weights


def check_parameters(request: Request, *names: str) -> None:
    """Refuse parameters of the query that are none of these."""
    unknown = next((name for name in request.GET if name not in names), None)
    if unknown is not None:
        known = f"there is {', '.join(sorted(names))}" if names else "there is none"
        message = f"{unknown!r} is no parameter{suggest(unknown, names)}; {known}"
        raise HTTPProblem(400, message, blamed=unknown)


def query_number(request: Request, name: str, default: int, maximum: int) -> int:
    """Return a query parameter that is a whole number from 1 to ``maximum``."""
    try:
        return parse_integer_text(name, request.GET.get(name, str(default)), maximum=maximum)
    except ValueError as error:
        raise HTTPProblem(400, str(error)) from None


def query_text(request: Request, name: str) -> str | None:
    """Return a query parameter that is text; None without one."""
    text = request.GET.get(name) or None
    if text is not None:
        check_storable(name, text)
    return text


def query_states(request: Request) -> list[RunState]:
    """Return the states of runs of the query; an empty list means any."""
    return _query_members(request, "state", RunState)


def query_task_states(request: Request) -> list[HealthState]:
    """Return the states of tasks of the query; an empty list means any."""
    return _query_members(request, "state", HealthState)


def _query_members(request: Request, name: str, kind: type[EnumT]) -> list[EnumT]:
    """Return the members of an enumeration that a query parameter names, once or several times."""
    members = []
    for text in filter(None, request.GET.getall(name)):
        try:
            members.append(kind(text))
        except ValueError:
            allowed = ", ".join(str(member) for member in kind)
            raise HTTPProblem(400, f"{name}={text!r}: must be one of {allowed}") from None
    return members


def query_trigger(request: Request) -> Trigger | None:
    """Return the trigger of the query; None means any."""
    return parse_trigger(request.GET.get("trigger"))


def parse_trigger(text: str | None) -> Trigger | None:
    """Return the trigger that a request names; None without one."""
    try:
        return Trigger(text) if text else None
    except ValueError:
        allowed = ", ".join(Trigger)
        raise HTTPProblem(400, f"trigger={text!r}: must be one of {allowed}") from None


def query_reason(request: Request) -> RunReason | None:
    """Return the reason of the query, of runs that were skipped; None means any."""
    reasons = _query_members(request, "reason", RunReason)
    return reasons[0] if reasons else None


def query_moment(request: Request, name: str) -> datetime | None:
    """Return a moment of the query; without an offset it is in the time zone of the pages."""
    text = request.GET.get(name)
    if not text:
        return None
    try:
        return parse_moment(text, ZoneInfo(get_cron(request.registry).settings.timezone))
    except (ValueError, OverflowError):
        raise HTTPProblem(
            400, f"{name}={text!r}: must be a moment in ISO 8601, as 2026-12-01T09:00:00Z"
        ) from None


def query_before(request: Request) -> str | None:
    """Return the id of the run that a page of older runs begins after."""
    run_id = request.GET.get("before") or None
    if run_id is not None and not RUN_ID_PATTERN.fullmatch(run_id):
        raise HTTPProblem(400, f"before={run_id!r}: must be the id of a run, 26 hexadecimal digits")
    return run_id


def check_storable(name: str, text: str) -> None:
    """Refuse text with NUL, which not every database can compare with."""
    if "\0" in text:
        raise HTTPProblem(400, f"{name}: must not contain NUL")
