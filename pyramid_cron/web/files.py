"""The pages' style and script."""

from __future__ import annotations

from importlib.resources import files

from pyramid.request import Request
from pyramid.response import Response

from .answers import Refused, page

TYPES = {"cron.css": "text/css", "cron.js": "text/javascript"}


@page("GET", "HEAD")
def file_view(request: Request) -> Response:
    """Return a file."""
    name = request.matchdict["file"]
    if name not in TYPES:
        raise Refused(404, f"there is no file {name!r}")
    body = (files(__package__) / "static" / name).read_bytes()
    response = Response(body, content_type=TYPES[name], charset="UTF-8")
    response.cache_control = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.conditional_response = True
    response.md5_etag()
    return response
