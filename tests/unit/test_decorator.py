"""``@cron_task``: what ``config.scan()`` registers."""

import pytest
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError

import tests.scanned.functions
import tests.scanned.methods
from pyramid_cron import scheduler
from pyramid_cron.directives import MethodTask
from tests.apps import NOON, configure, cron_of

FUNCTIONS, METHODS = "tests.scanned.functions", "tests.scanned.methods"


@pytest.fixture
def config():
    config = configure()
    config.registry.ran = []
    return config


def tasks_of(config):
    config.commit()
    return {task.name: task for task in scheduler(config.registry).tasks()}


def run(config, *names):
    cron = cron_of(config)
    for name in names:
        assert cron.run(name, at=NOON).state == "succeeded"
    return config.registry.ran


def test_a_scan_registers_decorated_functions(config):
    config.scan(FUNCTIONS)
    tasks = tasks_of(config)
    assert {name: task.describe() for name, task in tasks.items()} == {
        "tests.scanned.functions.report": "at 07:30 every day (UTC)",
        "tests.scanned.functions.pulse": "every minute (UTC)",
        "early": "at 01:00 every day (UTC)",
        "late": "at 02:30 every day (UTC)",
    }
    assert tasks["tests.scanned.functions.report"].description == "Mail the report."
    assert run(config, "tests.scanned.functions.report", "early", "late") == [
        *("report", "early", "late")
    ]


def test_a_decorated_function_is_itself_still():
    assert tests.scanned.functions.report.__name__ == "report"
    assert tests.scanned.functions.pulse.__module__ == FUNCTIONS


def test_another_category_is_scanned_by_its_name(config):
    config.scan(FUNCTIONS, categories=["other"])
    assert {name: task.describe() for name, task in tasks_of(config).items()} == {
        "elsewhere": "every 10 seconds"
    }
    assert run(config, "elsewhere") == ["elsewhere"]


def test_a_scan_registers_decorated_methods_and_classes(config):
    config.scan(METHODS)
    tasks = tasks_of(config)
    assert {name: task.describe() for name, task in tasks.items()} == {
        "tests.scanned.methods.Tasks.nightly": "at 03:00 every day (UTC)",
        "tests.scanned.methods.Tasks.often": "every minute (UTC)",
        "tests.scanned.methods.Tasks.of_class": "every minute (UTC)",
        "static": "at 05:00 every day (UTC)",
        "tests.scanned.methods.Plain.run": "at 06:00 every day (UTC)",
        "called": "at 08:00 every day (UTC)",
    }
    assert tasks["tests.scanned.methods.Tasks.nightly"].description == "Clean up."
    assert repr(tasks["static"].function) == "<method tests.scanned.methods.Tasks.static>"
    assert sorted(run(config, *tasks)) == [
        *("Tasks", "called", "nightly", "plain", "static", "tests.scanned.methods.Tasks.often")
    ]


def test_an_application_overrides_a_decorated_task_of_a_package(config):
    config.include(lambda config: config.scan(FUNCTIONS))
    config.add_cron_task(tests.scanned.functions.roll_up, name="late", hour=5)
    assert tasks_of(config)["late"].describe() == "at 05:00 every day (UTC)"


def test_a_conflict_names_the_line_of_the_decorator(config):
    config.scan(FUNCTIONS)
    config.add_cron_task(tests.scanned.functions.roll_up, name="late", hour=5)
    with pytest.raises(ConfigurationConflictError, match=r"scanned.functions\.py"):
        config.commit()


class Odd:
    def __init__(self, request, other):
        pass

    attribute = 5

    def method(self):
        pass


class Fine:
    def generate(self):
        yield

    def two(self, system, other):
        pass


@pytest.mark.parametrize(
    ("cls", "attr", "message"),
    [
        (Odd, "method", r"takes \(request, other\); it must take one argument, the system mapping"),
        (
            Odd,
            "attribute",
            r"task 'tests\.unit\.test_decorator\.Odd\.attribute': .* no such method",
        ),
        (Odd, "nothing", r"attr='nothing': .* has no such method"),
        (Fine, "generate", r"attr='generate': is a generator function"),
        (Fine, "two", r"takes \(self, system, other\); it must take one argument, .* or none"),
    ],
)
def test_a_method_that_could_not_be_called_is_refused(cls, attr, message):
    with pytest.raises(ConfigurationError, match=message):
        MethodTask(cls, attr)


def test_what_is_wrong_is_said_by_the_scan(config):
    with pytest.raises(ConfigurationError, match=r"minute=5: .* did you mean 'min'"):
        config.scan("tests.scanned.wrong")
