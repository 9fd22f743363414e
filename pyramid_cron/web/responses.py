"""HTML or JSON at the same URL, and errors of one line in either."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..app import get_cron
from ..errors import StoreError
from ..run import RUN_ID_PATTERN, RunState
from .access import require_access
from .pages import TemplatesMissingError, render_page

PageView = Callable[[Request], Response]

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

log = logging.getLogger("pyramid_cron")


class HTTPProblem(Exception):  # noqa: N818
    """A request can't be answered as asked: its status, and a line that says why."""

    def __init__(self, status: int, message: str, allow: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.allow = allow


def wants_html(request: Request) -> bool:
    """Return whether HTML is asked for by name, as browsers do; ``*/*`` is not asking."""
    asked = accept_weights(request)
    return asked.get("text/html", 0.0) > asked.get("application/json", 0.0)


def page_view(*methods: str) -> Callable[[PageView], Callable[[Any, Request], Response]]:
    """Decorate a view: it is guarded, takes these methods, and its errors are answered."""

    def decorate(view: PageView) -> Callable[[Any, Request], Response]:
        @functools.wraps(view)
        def answered(_context: Any, request: Request) -> Response:
            try:
                if request.method not in methods:
                    raise HTTPProblem(
                        405, f"{request.method} is not allowed here", ", ".join(methods)
                    )
                _check_query(request)
                get_cron(request.registry).refresh_sources()
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

        return require_access(answered)

    return decorate


def _check_query(request: Request) -> None:
    try:
        request.GET  # noqa: B018
    except UnicodeDecodeError:
        raise HTTPProblem(400, "the query is not in UTF-8") from None


def respond(request: Request, template: str, data: Any, **context: Any) -> Response:
    """Return the data as JSON, or the page made of it and the context."""
    if not wants_html(request):
        return json_response(data)
    return html_response(render_page(request, template, data=data, **context))


def json_response(data: Any, status: int = 200) -> Response:
    """Return data as JSON."""
    return _with_page_headers(
        Response(json_body=data, status=status, content_type="application/json")
    )


def html_response(html: str, status: int = 200) -> Response:
    """Return a page that may load nothing but our own style and script."""
    response = Response(html, status=status, content_type="text/html", charset="UTF-8")
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return _with_page_headers(response)


def text_response(text: str, status: int = 200) -> Response:
    """Return plain text."""
    return _with_page_headers(
        Response(text, status=status, content_type="text/plain", charset="UTF-8")
    )


def redirect(path: str) -> Response:
    """Return what sends a browser on to another page."""
    return _with_page_headers(_RelativeRedirect(status=303, location=path))


class _RelativeRedirect(Response):  # type: ignore[misc]
    """Its Location stays the path that it is.

    With the scheme and host of the request in front it would lead elsewhere if a proxy ends TLS and
    the server is not told: browsers do not follow a form there that may go to ``'self'`` only.
    """

    def __call__(self, _environ: Any, start_response: Any) -> Any:
        start_response(self.status, self.headerlist)
        return self.app_iter


def problem_response(request: Request, error: HTTPProblem) -> Response:
    """Return an error as JSON or as a page."""
    message = " ".join(str(error).split())
    if wants_html(request):
        try:
            html = render_page(request, "problem.html", status=error.status, message=message)
        except TemplatesMissingError:
            response = text_response(f"{message}\n", error.status)
        else:
            response = html_response(html, error.status)
    else:
        response = json_response({"error": message}, error.status)
    if error.allow:
        response.headers["Allow"] = error.allow
    return response


def _with_page_headers(response: Response) -> Response:
    response.headers.update(PAGE_HEADERS)
    return response


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


def query_number(request: Request, name: str, default: int, maximum: int) -> int:
    """Return a whole number from 1 to ``most``."""
    given = request.GET.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", given) or not 1 <= int(given) <= maximum:
        raise HTTPProblem(400, f"{name}={given!r}: must be a whole number from 1 to {maximum}")
    return int(given)


def query_states(request: Request) -> list[RunState]:
    """Return the states that are asked for; none means any."""
    given = [text for text in request.GET.getall("state") if text]
    try:
        return [RunState(text) for text in given]
    except ValueError:
        known = ", ".join(RunState)
        raise HTTPProblem(400, f"state={given[-1]!r}: must be one of {known}") from None


def query_before(request: Request) -> str | None:
    """Return the id of the run before which to go on."""
    given = request.GET.get("before") or None
    if given is not None and not RUN_ID_PATTERN.fullmatch(given):
        raise HTTPProblem(400, f"before={given!r}: must be the id of a run, 26 hexadecimal digits")
    return given


def check_storable(name: str, text: str) -> str:
    """Return a text that every database can compare with."""
    if "\0" in text:
        raise HTTPProblem(400, f"{name}: must not contain NUL")
    return text
