"""The recipes of the documentation, and an application to try them on."""

from __future__ import annotations

import random
import re
import socket
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyramid_cron import Run, scheduler
from tests.integration import stopping
from tests.integration.processes import ROOT

DOCS = ROOT / "docs"


def recipe(caption: str, pages: Sequence[str] = ("deployment", "servers", "nginx")) -> str:
    """Return the text of the code block with a caption."""
    text = "\n".join((DOCS / f"{page}.rst").read_text() for page in pages)
    block = rf"\n\.\. code-block:: \S+\n   :caption: {re.escape(caption)}\n\n((?:   .*\n|\n)+)"
    [found] = re.findall(block, text)
    return textwrap.dedent(found).strip("\n") + "\n"


class Shop:
    """Where a test has what is in /srv/shop and on port 6543 in the recipes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/cron"

    def has(self, caption: str, changes: Mapping[str, str] | None = None) -> str:
        """Return a recipe with this folder and port, and with other ``changes``."""
        own = {"/srv/shop": str(self.folder), ":6543": f":{self.port}"}
        own["egg:shop"] = f"call:{__name__}:main"
        return replaced(replaced(recipe(caption), changes or {}), own, all_there=False)

    def write(
        self, name: str, caption: str | None = None, changes: Mapping[str, str] | None = None
    ) -> Path:
        """Write a recipe to a file of the folder; return its path."""
        path = self.folder / name
        path.write_text(self.has(caption or f"/srv/shop/{name}", changes))
        return path

    def runs(self, task: str) -> list[Run]:
        """Return what the store knows of a task, newest first, but for slots that were skipped."""
        config = stopping.configured(self.folder)
        config.commit()
        return [run for run in scheduler(config.registry).history(task) if run.state != "skipped"]

    def starts_long_task(self) -> None:
        """Have a task begin at the next tick that goes on until ``finish``."""
        (self.folder / "go").touch()

    def finish(self) -> None:
        """Let that task end."""
        (self.folder / "finish").touch()

    @property
    def is_busy(self) -> bool:
        """Whether that task has begun."""
        return (self.folder / "started").exists()


class Login:
    """A security policy: who has the cookie ``user=boss`` has the permission ``see cron``."""

    def identity(self, request):
        return request.cookies.get("user")

    authenticated_userid = identity

    def permits(self, request, context, permission):
        return (self.identity(request), permission) == ("boss", "see cron")


def main(global_config, **settings):
    """Make the application: a task each minute, and those that take their time."""
    config = stopping.configured(global_config["here"], **settings)
    config.set_security_policy(Login())
    config.add_cron_task(lambda system: None, name="sell", min="*")
    return config.make_wsgi_app()


def replaced(text: str, changes: Mapping[str, str], all_there: bool = True) -> str:
    """Put what a test has in the place of what the page has."""
    for there, here in changes.items():
        assert there in text or not all_there, (there, text)
        text = text.replace(there, here)
    return text


def free_port() -> int:
    """Return a port on loopback at which nobody listens.

    It is none of those that the system gives out, which might go to somebody else meanwhile.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
