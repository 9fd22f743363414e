"""Errors for machines: problem details as RFC 9457 has them."""

from __future__ import annotations

import re
from http.client import responses as phrases
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

PROBLEM_TYPE = "application/problem+json"

BLAMED_NAME = re.compile(r"(\w+)(?:=|: )")
"""Matches what is to blame in a message such as ``limit='0': must be a whole number``."""

PROBLEM_HEADERS = {
    "Cache-Control": "no-store",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}


class HTTPProblem(Exception):  # noqa: N818
    """An HTTP error: its status, and a line that says why.

    :param allow: the methods that are allowed, for a 405.
    :param blamed: the parameter of the query, or the field of the body, that is to blame; where the
        line begins with its name, that is it.
    """

    def __init__(
        self, status: int, message: str, allow: str | None = None, *, blamed: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.allow = allow
        self.blamed = blamed

    @property
    def detail(self) -> str:
        """What is wrong, in one line."""
        return " ".join(str(self).split())


def problem_data(request: Request, problem: HTTPProblem) -> dict[str, Any]:
    """Return an error as JSON values.

    It is the ``parameter`` of a query, or the ``argument`` in a body, that is to blame for a 400.
    """
    data: dict[str, Any] = {
        "type": "about:blank",
        "title": phrases[problem.status],
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.status == 400 and (blamed := find_blamed(problem)):
        data["parameter" if request.method in ("GET", "HEAD") else "argument"] = blamed
    return data


def find_blamed(problem: HTTPProblem) -> str | None:
    """Return the parameter, or the field of the body, that is to blame for an error."""
    match = BLAMED_NAME.match(problem.detail)
    return problem.blamed or (match and match[1])


def problem_json_response(request: Request, problem: HTTPProblem, **more: Any) -> Response:
    """Return an error as JSON, with more members."""
    data = {**problem_data(request, problem), **more}
    response = Response(json_body=data, status=problem.status)
    response.headers.update({**PROBLEM_HEADERS, "Content-Type": PROBLEM_TYPE})
    if problem.allow:
        response.headers["Allow"] = problem.allow
    return response
