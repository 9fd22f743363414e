"""The names that users import, pass and set, and the tables that they may read."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from tests.golden.shop import configure

MODULES = ("", ".schedule", ".events", ".logs", ".testing", ".export", ".celery")
DIRECTIVES = ("task", "command", "folder", "queue")
DOCS = Path(__file__).parents[2] / "docs"


def test_the_names_that_modules_export(golden):
    names = {}
    for name in MODULES:
        module = importlib.import_module(f"pyramid_cron{name}")
        names[module.__name__] = sorted(getattr(module, "__all__", ())) or None
    golden("names/exports.json", names)


def test_the_arguments_of_the_directives(golden):
    config = configure()
    found = {f"add_cron_{name}": getattr(config, f"add_cron_{name}") for name in DIRECTIVES}
    found["add_crontab"] = config.add_crontab
    arguments = {name: inspect.signature(directive) for name, directive in found.items()}
    golden("names/directives.json", {name: shown(each) for name, each in arguments.items()})


def shown(signature):
    """The parameters without what they are annotated with, which may be names of our own."""
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return str(inspect.Signature(bare))


def test_the_settings_and_what_each_takes(golden):
    [every] = refusals({"cron.qqqq": "1"})
    names = every.partition("there are ")[2].split(", ")
    assert "cron.url" in names
    values = ({}, "?")
    golden(
        "names/settings.json",
        {
            "an unknown one": every,
            "a misspelt one": refusals({"cron.pth": "/cron"}),
            **{name: refusals(*({name: value} for value in values)) for name in names},
        },
    )


def refusals(*wrong):
    """What is said of settings that are wrong; None of one that is not."""
    return [refusal(settings) for settings in wrong]


def refusal(settings):
    try:
        config = Configurator(settings=settings)
        config.include("pyramid_cron")
        config.commit()
    except ConfigurationError as error:
        return str(getattr(error, "evalue", error))
    return None


@pytest.mark.parametrize("directive", ["cron-tables", "cron-settings"])
def test_the_tables_of_the_documentation(golden, monkeypatch, directive):
    pytest.importorskip("sphinx")
    from docutils.core import publish_doctree
    from docutils.parsers.rst import directives

    spec = importlib.util.spec_from_file_location("cron_docs", DOCS / "_ext" / "cron_docs.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for name, found in {"cron-tables": "CronTables", "cron-settings": "CronSettings"}.items():
        directives.register_directive(name, getattr(module, found))
    text = publish_doctree(f".. {directive}::\n").pformat()
    golden(f"names/{directive.replace('-', '_')}.txt", text)
