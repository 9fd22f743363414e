"""A shop in a folder: an ini file, a module with tasks, a store."""

from __future__ import annotations

import importlib
import json
import sys
from functools import lru_cache

import pytest
from plaster import loaders

from pyramid_cron.scripts.pcron import main

MODULE = '''
import logging

from pyramid.config import Configurator

log = logging.getLogger("shop")
DONE = []


def clean(system):
    """Delete old carts."""
    DONE.append(system["payload"])
    log.warning("cleaned %s", system["payload"])


def fail(system):
    raise RuntimeError("no stock")


def interrupt(system):
    raise KeyboardInterrupt


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("pyramid_cron")
    config.add_cron_task(clean, schedule="30 2 * * *", name="nightly", retry=3)
    config.add_cron_task(clean, on_demand=True, name="clean")
    config.add_cron_task(fail, every="15m", name="fails")
    config.add_cron_command(["sh", "-c", "echo out; echo err >&2"], name="prints", hour=4)
    EXTRA
    return config.make_wsgi_app()
'''

INI = """
[app:main]
use = call:{module}:main
cron.timezone = Europe/Berlin
cron.url = sqlite:///%(here)s/cron.sqlite
"""


class Shop:
    """Runs ``pcron`` on the shop; has its output."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys
        self.module = f"shop_{abs(hash(str(folder)))}"
        self.ini = str(folder / "shop.ini")
        self.write()

    def write(self, extra="", settings=""):
        """Write the shop, with more configuration and settings."""
        (self.folder / f"{self.module}.py").write_text(MODULE.replace("EXTRA", extra))
        (self.folder / "shop.ini").write_text(INI.format(module=self.module) + settings)
        sys.modules.pop(self.module, None)
        importlib.invalidate_caches()

    def __call__(self, *arguments):
        """Return the exit status."""
        self.capsys.readouterr()
        status = main(["pcron", self.ini, *arguments])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.err
        return status

    def fine(self, *arguments):
        """Return what it printed with exit status 0."""
        assert self(*arguments) == 0, self.err
        return self.out

    def json(self, *arguments):
        return json.loads(self.fine(*arguments, "--json"))

    def wrong(self, *arguments):
        """Return the one line on stderr of wrong use."""
        assert self(*arguments) == 2, self.out
        assert self.out == ""
        [line] = self.err.splitlines()
        return line.removeprefix("pcron: ")


find_loaders = lru_cache(loaders.find_loaders)
"""plaster's own reads the metadata of every package at each call."""


@pytest.fixture
def shop(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    # A compiled module would hide one written again within the same second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(
        loaders,
        "find_loaders",
        lambda scheme, protocols=None: find_loaders(scheme, tuple(protocols or ())),
    )
    shop = Shop(tmp_path, capsys)
    yield shop
    sys.modules.pop(shop.module, None)
