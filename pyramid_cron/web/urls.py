"""The paths of the pages. A task's name may have any characters, slashes and dots too."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlencode

from pyramid.request import Request

from ..app import get_cron
from ..run import Run
from ..serializers import JSONObject, run_data, waiting_run_data

TRIGGER_ROUTE = "pyramid_cron"
"""The name of the trigger's route; an application may have a route "cron" of its own."""


def page_path(request: Request, *segments: str, **query: object) -> str:
    """Return a path below the trigger's.

    A query parameter that is None is left out, one that is a list is there several times.
    """
    base = "/".join((request.route_path(TRIGGER_ROUTE), *segments))
    given = {name: value for name, value in query.items() if value is not None}
    parameters = urlencode(given, doseq=True)
    return f"{base}?{parameters}" if parameters else base


def crontab_line(request: Request) -> str | None:
    """Return the line of a crontab that makes the ticks; None where processes make them."""
    cron = get_cron(request.registry)
    if cron.settings.self_trigger:
        return None
    token = ' -H "Authorization: Bearer TOKEN"' if cron.guard.tokens else ""
    url = request.route_url(TRIGGER_ROUTE).replace("%", r"\%")  # cron ends the command at a %
    return f"* * * * *  curl -fsSL --max-redirs 0 -o /dev/null{token} {url}"


def task_path(request: Request, name: str, *segments: str, **query: object) -> str:
    """Return the path of a task's page, or of an action on the task."""
    return page_path(request, "tasks", _quote_name(name), *segments, **query)


def schedule_path(request: Request, name: str) -> str:
    """Return the path of a stored schedule."""
    return page_path(request, "schedules", _quote_name(name))


def run_path(request: Request, run_id: str, *segments: str, **query: object) -> str:
    """Return the path of a run's page, or of an action on the run."""
    return page_path(request, "runs", quote(run_id, safe=""), *segments, **query)


def linked_run(request: Request, run: Run) -> JSONObject:
    """Return a run without its long texts, with the path of its page."""
    return {**run_data(run), "url": run_path(request, run.id)}


def linked_waiting_run(request: Request, run: Run) -> JSONObject:
    """Return a waiting run with its payload and the path of its page."""
    return {**waiting_run_data(run), "url": run_path(request, run.id)}


def unquote_name(name: str) -> str:
    """Return the name that :func:`task_path` has quoted twice."""
    return unquote(name)


def _quote_name(name: str) -> str:
    """Quote a name; twice if it has a segment of dots, which browsers resolve even if quoted."""
    if {".", ".."} & set(name.split("/")):
        name = quote(name, safe="/").replace(".", "%2E")
    return quote(name, safe="/")
