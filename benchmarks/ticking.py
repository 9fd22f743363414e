"""An application as the benchmarks tick it: in this process, through WSGI, under pyramid_tm."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.router import Router

from pyramid_cron.app import get_cron


def bare(_: Request) -> Response:
    """Do what the least view does."""
    return Response("ok", content_type="text/plain")


def application(folder: Path, register: Callable[[Configurator], None]) -> Router:
    """Return an application with its store in the folder and the tasks that ``register`` adds.

    Every run tells a subscriber of its events, where there are any.
    """
    settings = {
        "cron.url": f"sqlite:///{folder / 'cron.sqlite'}",
        "cron.timezone": "UTC",
        "tm.manager_hook": "pyramid_tm.explicit_manager",
    }
    config = Configurator(settings=settings, introspection=False)
    config.include("pyramid_tm")
    config.include("pyramid_cron")
    config.add_route("bare", "/bare")
    config.add_view(bare, route_name="bare")
    if find_spec("pyramid_cron.events"):
        for event in ("RunStarted", "RunSucceeded"):
            config.add_subscriber(lambda _: None, f"pyramid_cron.events.{event}")
    register(config)
    return config.make_wsgi_app()


def set_clock(app: Router, moment: datetime) -> None:
    """Let the application's cron take this for the time."""
    get_cron(app.registry).clock = lambda: moment


def hit(app: Router, path: str) -> None:
    """Request a path, as a server would; RuntimeError unless the answer is 200."""
    answers: list[str] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    body = b"".join(app(environ, lambda status, *_: answers.append(status)))
    if answers != ["200 OK"]:
        raise RuntimeError(f"{path} answered {answers} {body!r}")
