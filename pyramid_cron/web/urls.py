"""Where the pages are. A task's name may hold anything, slashes and dots too."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlencode

from pyramid.request import Request

from ..run import Run
from ..serializers import JSONObject, run_data

TRIGGER_ROUTE = "pyramid_cron"
"""The name of the trigger's route, below which everything is; applications may have a "cron"."""


def page_path(request: Request, *segments: str, **query: object) -> str:
    """Return the path of what is below the trigger; a None in the query is left out."""
    base = "/".join((request.route_path(TRIGGER_ROUTE), *segments))
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{base}?{asked}" if asked else base


def task_path(request: Request, name: str, *segments: str, **query: object) -> str:
    """Return the path of a task's page, or of what is done to the task."""
    return page_path(request, "tasks", _quote_name(name), *segments, **query)


def run_path(request: Request, run_id: str, *segments: str, **query: object) -> str:
    """Return the path of a run's page, or of what is done to the run."""
    return page_path(request, "runs", quote(run_id, safe=""), *segments, **query)


def linked_run(request: Request, run: Run) -> JSONObject:
    """Return a run without its long texts, with the path of its page."""
    return {**run_data(run), "url": run_path(request, run.id)}


def unquote_name(name: str) -> str:
    """Return the name that :func:`task_path` has quoted once more."""
    return unquote(name)


def _quote_name(name: str) -> str:
    """Quote a name. Browsers would follow segments of dots, however they are quoted once."""
    if {".", ".."} & set(name.split("/")):
        name = quote(name, safe="/").replace(".", "%2E")
    return quote(name, safe="/")
