"""The shop's one page: its tasks, when they run next, and what the latest runs did."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html import escape
from zoneinfo import ZoneInfo

from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy import func, select

from ..control import TaskStatus
from ..run import Run
from ..state import cronwork
from .models import Cart, Mail

SHOWN = 20
"""How many of the latest runs are shown."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
{refresh}
<title>A shop and its tasks</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif }}
main {{ margin: 2rem auto; max-width: 70rem; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #767676; padding: .3rem 1rem .3rem 0; text-align: left }}
caption {{ font-size: 1.3rem; font-weight: bold; padding-top: 2rem; text-align: left }}
th, td {{ vertical-align: top }}
</style>
</head>
<body>
<main>
<h1>A shop and its tasks</h1>
<p>It is {now} ({zone}). {shop}</p>
<p>{steady}</p>
<form method="post" action="{digest}">
<input type="hidden" name="csrf_token" value="{token}">
<button>Mail a digest now</button>
</form>
{tasks}
{runs}
</main>
</body>
</html>
"""
REFRESH = '<meta http-equiv="refresh" content="3">'
REFRESHING = 'This page loads itself again every 3 seconds. <a href="?still">Keep it still</a>'
STILL = 'This page keeps still. <a href="./">Load it again every 3 seconds</a>'


def includeme(config: Configurator) -> None:
    """Add the page, and what its button does."""
    config.add_route("page", "/")
    config.add_route("digest", "/digest")
    config.add_view(show_page, route_name="page", request_method="GET")
    config.add_view(mail_digest, route_name="digest", request_method="POST")


def show_page(request: Request) -> Response:
    """Show the tasks and the latest runs; with ``?still``, once."""
    cron = cronwork(request.registry)
    zone = ZoneInfo(cron.settings.timezone)
    still = "still" in request.GET
    html = PAGE.format(
        refresh="" if still else REFRESH,
        steady=STILL if still else REFRESHING,
        now=f"{cron.clock().astimezone(zone):%A %H:%M}",
        zone=escape(zone.key),
        shop=_shop(request),
        digest=escape(request.route_path("digest")),
        token=escape(get_csrf_token(request)),
        tasks=_tasks(request, zone),
        runs=_runs(request, zone),
    )
    return Response(html, content_type="text/html", charset="UTF-8")


def mail_digest(request: Request) -> Response:
    """Run a task by hand, then show the page again."""
    request.cron.run("digest-now")
    return HTTPSeeOther(request.route_url("page"))


def _shop(request: Request) -> str:
    carts = select(func.count()).select_from(Cart).where(Cart.state == "open")
    mails = select(func.count()).select_from(Mail)
    session = request.dbsession
    return f"Open carts: {session.scalar(carts)}. Mails sent: {session.scalar(mails)}."


def _tasks(request: Request, zone: ZoneInfo) -> str:
    found = [request.cron.status(task.name) for task in request.cron.tasks()]
    return _table(
        "Tasks",
        ("Task", "What it does", "When", "Last run", "Next"),
        (_task_cells(status, zone) for status in found),
    )


def _task_cells(status: TaskStatus, zone: ZoneInfo) -> tuple[str, ...]:
    task, last = status.task, status.last
    state = "not yet" if last is None else f"{last.state} at {_time(last.slot, zone)}"
    return task.name, task.description, task.describe(), state, _time(status.next, zone)


def _runs(request: Request, zone: ZoneInfo) -> str:
    return _table(
        "Latest runs",
        ("Time", "Task", "State", "Seconds", "What it did"),
        (_run_cells(run, zone) for run in request.cron.history(limit=SHOWN)),
    )


def _run_cells(run: Run, zone: ZoneInfo) -> tuple[str, ...]:
    seconds = "" if run.duration is None else f"{run.duration:.3f}"
    # Each task logs one line; its time, level and logger stand before the bracket.
    said = (run.output or "").partition("] ")[2].strip()
    return _time(run.slot, zone), run.task, run.state, seconds, run.error or said


def _time(moment: datetime | None, zone: ZoneInfo) -> str:
    return "" if moment is None else f"{moment.astimezone(zone):%a %H:%M}"


def _table(caption: str, heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "\n".join(_row(cells) for cells in rows)
    return (
        f"<table>\n<caption>{escape(caption)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    )


def _row(cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in cells) + "</tr>"
