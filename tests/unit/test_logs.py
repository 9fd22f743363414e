"""The log as JSON: one line a record, and a file with one line a run."""

import configparser
import itertools
import json
import logging
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pyramid_cron import TaskCancelled, logs, scheduler
from pyramid_cron.logs import JSONFormatter, RunLogHandler
from tests.apps import NOON, configure, cron_of

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.rst"


def formatted(message="said %s", *args, extra=None, exc_info=None):
    """What a record looks like, read again."""
    logger = logging.getLogger("some.where")
    record = logger.makeRecord(
        "some.where", logging.WARNING, "f.py", 1, message, args or ("so",), exc_info, extra=extra
    )
    record.created = NOON.timestamp() + 0.25
    line = JSONFormatter().format(record)
    assert "\n" not in line
    assert line.isascii()
    return json.loads(line, parse_constant=pytest.fail)


def test_a_line_names_the_place_that_logged_it(caplog):
    config = configure()
    config.add_cron_task(lambda system: None, name="fine")
    config.add_cron_task(lambda system: 1 / 0, name="failing")
    with caplog.at_level(logging.DEBUG, "pyramid_cron"):
        cron_of(config).tick(at=NOON)
    places = {
        (record.filename, record.funcName)
        for record in caplog.records
        if record.name == "pyramid_cron"
    }
    assert places == {("logs.py", f"log_{what}") for what in ("started", "finished", "failure")}
    source = Path(logs.__file__).read_text().splitlines()
    for record in caplog.records:
        if record.name == "pyramid_cron":
            assert "log." in source[record.lineno - 1]


COOKIECUTTER = """
[loggers]
keys = root, shop

[handlers]
keys = console

[formatters]
keys = generic

[logger_root]
level = WARN
handlers = console

[logger_shop]
level = WARN
handlers =
qualname = shop

[handler_console]
class = StreamHandler
args = (sys.stdout,)
level = NOTSET
formatter = generic

[formatter_generic]
format = %(levelname)-5.5s [%(name)s:%(filename)s:%(lineno)s] %(message)s
"""


def test_the_four_lines_of_the_quickstart_show_runs_in_a_cookiecutter_s_project(tmp_path):
    page = (PAGE.parent / "quickstart.rst").read_text()
    keys = re.search(r"keys = root, shop, cron", page)[0]
    lines = textwrap.dedent(re.search(r"   \[logger_cron\]\n(?:   .+\n){3}", page)[0])
    program = """
        import sys
        from logging.config import fileConfig
        from tests.apps import NOON, configure, cron_of
        fileConfig(sys.argv[1])
        config = configure()
        config.add_cron_task(lambda system: None, name="fine")
        cron_of(config).tick(at=NOON)
    """

    def printed(text):
        (tmp_path / "production.ini").write_text(text)
        command = [sys.executable, "-c", textwrap.dedent(program), tmp_path / "production.ini"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert printed(COOKIECUTTER) == ""
    shown = printed(COOKIECUTTER.replace("keys = root, shop", keys) + lines).splitlines()
    assert len(shown) == 2
    assert all(re.match(r"INFO  \[pyramid_cron:logs\.py:\d+\] fine run=", line) for line in shown)


def test_a_record_is_an_object_on_one_line():
    assert formatted() == {
        "time": "2026-06-15T12:00:00.250000Z",
        "level": "WARNING",
        "logger": "some.where",
        "message": "said so",
    }


def test_what_a_record_was_given_as_extra_is_in_it():
    data = formatted(extra={"task": "nächtlich", "duration": 0.5, "parts": [1, None]})
    assert (data["task"], data["duration"], data["parts"]) == ("nächtlich", 0.5, [1, None])


class Silent:
    def __str__(self):
        raise RuntimeError


CIRCLE: list = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (NOON, "2026-06-15 12:00:00+00:00"),
        (float("nan"), "nan"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        ([NOON], ["2026-06-15 12:00:00+00:00"]),
        (CIRCLE, "[[...]]"),
        (Silent(), "<Silent that has no text>"),
        ("\ud800\n\u2028", "\ud800\n\u2028"),
    ],
)
def test_what_is_no_json_becomes_text(value, text):
    assert formatted(extra={"odd": value})["odd"] == text


def test_an_exception_is_text():
    try:
        raise ValueError("no")
    except ValueError:
        data = formatted(exc_info=sys.exc_info())
    assert data["exception"].startswith("Traceback (most recent call last):")
    assert data["exception"].endswith("ValueError: no")


def test_a_traceback_that_is_text_already_is_kept():
    record = logging.makeLogRecord({"msg": "no", "exc_text": "Traceback ...\nValueError: no"})
    assert json.loads(JSONFormatter().format(record))["exception"].endswith("ValueError: no")


def test_a_stack_that_was_asked_for_is_text(records):
    logging.getLogger("pyramid_cron").warning("odd", stack_info=True)
    data = json.loads(JSONFormatter().format(records[0]))
    assert data["stack"].startswith("Stack (most recent call last):")
    assert "exception" not in data


@pytest.fixture
def run_log(tmp_path):
    """The lines in the file of runs, read again."""
    handler = RunLogHandler(str(tmp_path / "runs.jsonl"))
    logger = logging.getLogger("pyramid_cron")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    handler.close()


def test_the_file_of_runs_has_one_line_for_each_run_and_each_skip(run_log):
    config = configure()

    def talking(system):
        logging.getLogger("shop").warning("41 orders")
        raise ValueError("no")

    config.add_cron_task(talking, name="a")
    config.add_cron_task(lambda system: None, name="b", when=lambda system: False)
    report = cron_of(config).tick(at=NOON)
    a, b = run_log()
    [run] = report.runs
    assert (a["task"], a["run"], a["state"], a["error"]) == (
        "a",
        run.id,
        "failed",
        "ValueError: no",
    )
    assert "41 orders" in a["output"]
    assert (a["host"], a["pid"], a["duration"]) == (run.host, run.pid, run.duration)
    assert a["finished"] > a["started"] > "2026-06-15T12:00:00."
    assert (b["task"], b["state"], b["reason"]) == ("b", "skipped", "condition")


def test_the_file_of_runs_begins_anew_at_midnight_and_keeps_thirty(tmp_path):
    handler = RunLogHandler(str(tmp_path / "runs.jsonl"))
    assert (handler.when, handler.interval, handler.backupCount) == ("MIDNIGHT", 86400, 30)
    handler.close()


def documented_ini():
    """The first ini file of the page."""
    text = PAGE.read_text().split(".. code-block:: ini\n", 1)[1].split(".. code-block::", 1)[0]
    return textwrap.dedent(text)


PROGRAM = """
import logging, sys
from logging.config import fileConfig
fileConfig(sys.argv[1], {"here": sys.argv[2], "__file__": sys.argv[1]})
from tests.apps import NOON, configure, cron_of
config = configure()
config.add_cron_task(lambda system: 1 / 0, name="broken")
cron_of(config).tick(at=NOON)
logging.getLogger("pyramid_cron").info("no run")
"""


@pytest.mark.system
def test_the_documented_ini_file_gives_a_line_of_json_a_run(tmp_path):
    ini = tmp_path / "shop.ini"
    ini.write_text(documented_ini())
    assert configparser.RawConfigParser().read(ini)
    command = [sys.executable, "-c", PROGRAM, str(ini), str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    assert "ERROR [pyramid_cron] broken run=" in done.stderr
    [line] = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert json.loads(line)["error"] == "ZeroDivisionError: division by zero"


@pytest.fixture
def records():
    """Hear all that pyramid_cron logs."""
    logger, heard = logging.getLogger("pyramid_cron"), []
    handler, level = logging.Handler(), logger.level
    handler.emit = heard.append
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield heard
    logger.removeHandler(handler)
    logger.setLevel(level)


def lines_of(records):
    return [record for record in records if hasattr(record, "run")]


def test_a_line_says_where_it_comes_from(records):
    config = configure()
    config.add_cron_task(lambda system: None, name="task")
    cron_of(config).tick(NOON)
    start, end = lines_of(records)
    assert [start.funcName, end.funcName] == ["log_started", "log_finished"]
    lines = Path(logs.__file__).read_text().splitlines()
    for record in (start, end):
        assert record.pathname == logs.__file__
        assert "log.info(" in lines[record.lineno - 1]


def test_a_run_has_one_line_whatever_it_is_told_with(records):
    config = configure()
    config.add_cron_task(lambda system: None, name="task")
    tester = cron_of(config)
    reason = "moving\npyramid_cron forged run=1 state=succeeded\r\x1b[2J"
    scheduler(tester.registry).pause("task", reason=reason)
    tester.tick()
    [line] = lines_of(records)
    data = line.getMessage()
    assert "(moving\\npyramid_cron forged run=1 state=succeeded\\r\\x1b[2J)" in data
    assert data.isprintable()
    assert line.error == reason


def test_what_a_task_stopped_with_is_in_one_line(records):
    def stop(system):
        raise TaskCancelled("enough\nforged")

    config = configure()
    config.add_cron_task(stop, name="task")
    cron_of(config).tick(NOON)
    _, data, _ = [line.getMessage() for line in lines_of(records)]
    assert data.endswith(" enough\\nforged")


class Numbered(logging.LogRecord):
    """A record of an application's own, each with the next number."""

    numbers = itertools.count()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.number = next(self.numbers)


def numbered(*args, **kwargs):
    record = logging.LogRecord(*args, **kwargs)
    record.number = next(Numbered.numbers)
    return record


@pytest.mark.parametrize("make", [Numbered, numbered])
def test_a_line_is_a_record_as_the_application_makes_them(records, monkeypatch, make):
    monkeypatch.setattr(logging, "_logRecordFactory", make)
    config = configure()
    config.add_cron_task(lambda system: None, name="task")
    cron_of(config).tick(NOON)
    start, end = lines_of(records)
    assert end.number == start.number + 1
    assert (end.getMessage().split()[0], end.state) == ("task", "succeeded")
