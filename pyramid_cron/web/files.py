"""The pages' style and script, and the OpenAPI document of the data."""

from __future__ import annotations

import json
from importlib.resources import files

from pyramid.request import Request
from pyramid.response import Response

from ..version import __version__
from . import urls
from .responses import HTTPProblem, json_response, page_view

STATIC_FILE_TYPES = {"cron.css": "text/css", "cron.js": "text/javascript"}


@page_view("GET", "HEAD")
def file_view(request: Request) -> Response:
    """Return a file."""
    name = request.matchdict["file"]
    if name not in STATIC_FILE_TYPES:
        raise HTTPProblem(404, f"there is no file {name!r}")
    body = (files(__package__) / "static" / name).read_bytes()
    response = Response(body, content_type=STATIC_FILE_TYPES[name], charset="UTF-8")
    response.cache_control = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.conditional_response = True
    response.md5_etag()
    return response


@page_view("GET", "HEAD")
def openapi_view(request: Request) -> Response:
    """Return the OpenAPI document of this version; its one server is this application."""
    document = json.loads((files(__package__) / "openapi.json").read_text("utf-8"))
    document["info"]["version"] = __version__
    document["servers"] = [{"url": urls.page_path(request)}]
    return json_response(document)
