"""The quickstart is done as it is written, but for what pip would install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.processes import ROOT
from tests.integration.recipes import free_port

PAGE = (ROOT / "docs" / "quickstart.rst").read_text()
FILES = ("shop.py", "pyproject.toml", "development.ini", "test_shop.py")


def captioned(name: str) -> str:
    """Return the text of a file that the page has."""
    block = rf"\.\. code-block:: \w+\n   :caption: {re.escape(name)}\n\n((?:   .*\n|\n)+)"
    [text] = re.findall(block, PAGE)
    return textwrap.dedent(text).strip("\n") + "\n"


def command(part: str) -> str:
    """Return the one command that the page has with this in it."""
    blocks = re.findall(r"\.\. code-block:: sh\n\n((?:   .*\n|\n)+)", PAGE)
    lines = [line for block in blocks for line in textwrap.dedent(block).splitlines()]
    [found] = [line for line in lines if part in line]
    return found


class Beginner:
    """Somebody with an empty folder, a shell in it, and a port of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = str(free_port())
        path = os.pathsep.join((str(folder), str(ROOT)))
        self.environ = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
        self.environ["no_proxy"] = "localhost"

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text.replace("6543", self.port))

    def install(self) -> None:
        """Have ``venv/bin`` be that of these tests, and the shop be known as pip would have it."""
        (self.folder / "venv").mkdir()
        (self.folder / "venv" / "bin").symlink_to(Path(sys.executable).parent)
        pattern = r'entry-points\."(\S+)"\]\nmain = "(.*)"'
        [(group, function)] = re.findall(pattern, captioned("pyproject.toml"))
        info = self.folder / "shop-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[{group}]\nmain = {function}\n")

    def run(self, line: str, status: int = 0) -> str:
        process = subprocess.run(
            ["sh", "-c", line.replace("6543", self.port)],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.returncode == status, (line, process.returncode, process.stdout)
        return process.stdout

    @contextmanager
    def served(self) -> Iterator[None]:
        server = subprocess.Popen(command("pserve").split(), cwd=self.folder, env=self.environ)
        with server:
            try:
                self.run("curl -sS --retry 90 --retry-connrefused --retry-delay 1 localhost:6543/")
                yield
            finally:
                server.terminate()


@pytest.fixture
def beginner(tmp_path: Path) -> Beginner:
    beginner = Beginner(tmp_path)
    for name in FILES:
        beginner.write(name, captioned(name))
    beginner.install()
    return beginner


def test_tasks_run_are_shown_and_can_be_tested(beginner):
    with beginner.served():
        assert '"runs"' in beginner.run(command("application/json"))
        page = "curl -fsSL -H 'Accept: text/html' http://localhost:6543/cron/tasks"
        assert "shop.expire_carts" in beginner.run(page)
    assert "at 07:30 every day" in beginner.run(command(" list"))
    assert "goes out" in beginner.run(command(" run shop.send_digest"))
    assert "succeeded" in beginner.run(command(" history"))
    assert "1 passed" in beginner.run(
        f"{command('pytest -q')} -p no:cacheprovider -c pyproject.toml"
    )


def test_with_a_token_nobody_else_is_let_in(beginner):
    token = captioned("in development.ini").removeprefix("[app:main]\n")
    assert len(beginner.run(command("token_urlsafe")).strip()) > 40
    ini = captioned("development.ini").replace("use = egg:shop\n", f"use = egg:shop\n{token}")
    beginner.write("development.ini", ini)
    beginner.run(command("> cron-header"))
    with beginner.served():
        beginner.run(command("-H @cron-header"))
        beginner.run(command("application/json"), status=22)
    assert "a token" in beginner.run(command(" check"))
