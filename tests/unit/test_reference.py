"""Everything that users can name has a place in the documentation."""

import argparse
import inspect
import re
from pathlib import Path

import pytest

import pyramid_cron
from pyramid_cron import directives, events
from pyramid_cron.app import get_cron
from pyramid_cron.metrics import render_metrics
from pyramid_cron.planning.health import HealthState
from pyramid_cron.run import RunReason, RunState, Trigger, WaitReason
from pyramid_cron.scheduler import Scheduler
from pyramid_cron.scripts.command_line import make_parser
from pyramid_cron.settings import SETTINGS
from pyramid_cron.sources.command import add_cron_command
from pyramid_cron.sources.folder import add_cron_folder
from pyramid_cron.web import PAGE_ROUTES
from pyramid_cron.web.actions import RUN_ACTION_FIELDS, TASK_ACTION_FIELDS
from tests.apps import NOON, configure, cron_of

DOCS = Path(__file__).parents[2] / "docs"


def page(*names):
    return "\n".join((DOCS / f"{name}.rst").read_text() for name in names)


def missing(names, text):
    """Those of the names that the text does not have as whole words."""
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]


def keywords(function):
    """The arguments of a directive by name, without what all directives have."""
    return {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "config" and parameter.kind is not parameter.VAR_KEYWORD
    }


def test_every_directive_is_in_the_reference():
    added = [name for name in configure().registry._directives if "cron" in name]
    assert len(added) == len(pyramid_cron.DIRECTIVES)
    assert missing(added, page("api")) == []


def test_everything_that_the_package_exports_is_in_the_reference():
    exported = [name for name in pyramid_cron.__all__ if name != "__version__"]
    assert missing(exported, page("api")) == []


def test_no_class_of_the_reference_is_imported_from_an_inner_module():
    public_modules = ("pyramid_cron.events", "pyramid_cron.logs", "pyramid_cron.testing")
    names = re.findall(r"auto(?:class|exception):: ([\w.]+)", page("api"))
    from_front = [name for name in names if name.rpartition(".")[0] not in public_modules]
    assert set(from_front) - {*pyramid_cron.__all__, *vars(events)} == set()


def test_every_event_is_in_the_reference():
    found = [
        name
        for name, value in vars(events).items()
        if inspect.isclass(value) and issubclass(value, events.Event)
    ]
    assert len(found) == 14
    assert missing(found, page("api")) == []


def test_the_arguments_of_a_task_are_explained():
    assert (
        missing(keywords(directives.add_cron_task) - {"f", "celery"}, page("tasks", "arguments"))
        == []
    )
    assert missing(["celery"], page("workers")) == []


@pytest.mark.parametrize("directive", [add_cron_command, add_cron_folder])
def test_the_arguments_of_sources_are_explained(directive):
    own = keywords(directive) - keywords(directives.add_cron_task) - {"argv"}
    assert missing(own, page("programs", "folders", "crontabs")) == []


def test_every_method_of_the_scheduler_is_explained():
    methods = [name for name in vars(Scheduler) if not name.startswith("_")]
    everywhere = "\n".join(path.read_text() for path in DOCS.glob("*.rst"))
    unmentioned = [name for name in methods if not re.search(rf"\b{name}\b", everywhere)]
    assert unmentioned == []


def test_every_setting_is_in_the_table():
    """The table is made of them; one without a meaning would be an empty row."""
    assert ".. cron-settings::" in page("settings")
    assert [each.name for each in SETTINGS if not (each.meaning and each.expectation)] == []


def test_every_command_of_pcron_and_each_of_its_options_is_explained():
    text = page("pcron", "pcron_running")
    [commands] = [
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    entries = dict(re.findall(r"^``(\w+)([^`]*)``$", text, re.MULTILINE))
    assert sorted(entries) == sorted(commands.choices)
    for name, command in commands.choices.items():
        for action in command._actions:
            for option in set(action.option_strings) - {"-h", "--help", "--json"}:
                assert option in entries[name], (name, option)
            if not action.option_strings:
                assert action.metavar in entries[name], (name, action.metavar)


def test_every_page_and_what_can_be_done_there_is_explained():
    paths = [re.sub(r":[^}]*}", "}", pattern) for _, pattern, _ in PAGE_ROUTES]
    text = page("pages", "monitoring")
    assert [path for path in paths if f"/cron{path}``" not in text] == ["/static/{file}"]
    actions = [f"/{action}" for action in (*TASK_ACTION_FIELDS, *RUN_ACTION_FIELDS)]
    assert missing(actions, page("pages")) == []
    for fields in (*TASK_ACTION_FIELDS.values(), *RUN_ACTION_FIELDS.values()):
        assert missing(fields, page("pages")) == []


def test_states_reasons_triggers_and_health_are_explained():
    text = page("recording")
    for kind in (RunState, RunReason, Trigger):
        assert [each.value for each in kind if f"\n``{each.value}``" not in text] == []
    text = page("deferring")
    assert [each.value for each in WaitReason if f"\n``{each.value}``" not in text] == []
    text = page("monitoring")
    assert [each.value for each in HealthState if f"\n``{each.value}``" not in text] == []


def test_every_metric_is_explained():
    config = configure()
    config.add_cron_task(lambda system: None, name="some", min="*")
    cron_of(config).tick(at=NOON)
    body, _ = render_metrics(get_cron(config.registry), "text/plain", NOON)
    told = set(re.findall(r"# HELP (\w+)", body.decode()))
    explained = set(re.findall(r"^``(pyramid_cron_\w+)``", page("monitoring"), re.MULTILINE))
    assert told == explained
