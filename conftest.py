"""Every example of the README and of the documentation is a test.

Python runs as it stands. Of an ini file the settings are read. Of commands, in crontabs too, the
syntax is checked, and where the example is a ``curl`` it hits the document's ``app``. Commands that
are shown with what they print are run, and have to print that.
"""

import configparser
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import types
from doctest import ELLIPSIS
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.rest import CodeBlockParser, DocTestParser, PythonCodeBlockParser
from webtest.http import StopableWSGIServer

import pyramid_cron
from pyramid_cron import Cron
from pyramid_cron.settings import parse_settings

# Processes that tests start have to find the tests, too; an installed package still comes first.
sys.path.append(str(Path(__file__).parent))

# In the background a shell has processes ignore SIGINT, and those that tests start would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent

SYSTEM = ("tests/integration", "tests/browser", "docs", "README.rst")
"""Where all is a test of a whole system."""

DATABASES = ("postgresql", "mariadb")
"""What parameters and fixtures are called that need a server; see tests/databases.py."""


@pytest.hookimpl(tryfirst=True)  # before "-m" chooses
def pytest_collection_modifyitems(items):
    """Mark tests by where they are and by what they need, so that the quick ones can be chosen."""
    for item in items:
        if any(item.path.is_relative_to(ROOT / path) for path in SYSTEM):
            item.add_marker(pytest.mark.system)
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        needs = [*parameters, *getattr(item, "fixturenames", ())]
        if any(name in DATABASES for name in needs if isinstance(name, str)):
            item.add_marker(pytest.mark.databases)


def pytest_collection_finish():
    """Collect garbage more rarely, and never what all tests share: a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(autouse=True)
def own_lines_only(caplog):
    """Keep out what threads log that earlier tests have left behind, whose store is gone since."""
    earlier_threads = [
        thread for thread in threading.enumerate() if thread.name.startswith("pyramid_cron")
    ]

    def is_own(_):
        return threading.current_thread() not in earlier_threads

    caplog.handler.addFilter(is_own)
    yield
    caplog.handler.removeFilter(is_own)


MODULE = "app"
"""The name of the module that a document's examples seem to be in."""

FOLDER = "folder"
"""The name under which a document's examples find their own folder."""


def set_up_document(namespace):
    """Give a document's examples a module and an empty working directory."""
    namespace["__name__"] = MODULE
    sys.modules[MODULE] = types.ModuleType(MODULE)
    namespace["working_directory"], namespace[FOLDER] = os.getcwd(), tempfile.mkdtemp()
    os.chdir(namespace[FOLDER])


def tear_down_document(namespace):
    """Remove both."""
    os.chdir(namespace["working_directory"])
    shutil.rmtree(namespace[FOLDER])
    del sys.modules[MODULE]


def read_ini(example):
    """Read the settings, as the application would that has them in its ini file."""
    text = example.parsed if example.parsed.startswith("[") else f"[app:main]\n{example.parsed}"
    ini = configparser.RawConfigParser()
    ini.read_string(text)
    parse_settings(dict(ini["app:main"]))


def try_crontab(example):
    """Read the schedules and try the commands."""
    for line in example.parsed.splitlines():
        *fields, command = line.split(maxsplit=5)
        Cron(" ".join(fields))
        _try_command(command, example.namespace)


def try_shell(example):
    """Try the commands; one may go over several lines."""
    for command in example.parsed.replace("\\\n", "").splitlines():
        _try_command(command, example.namespace)


def _try_command(command, namespace):
    subprocess.run(["sh", "-n", "-c", command], check=True)
    if not command.startswith("curl "):
        return
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("this example needs curl")
    server = StopableWSGIServer.create(namespace["app"], clear_untrusted_proxy_headers=False)
    try:
        local = command.replace("https://", "http://")
        local = re.sub(r"(?<=http://)[\w.]+(:\d+)?", f"127.0.0.1:{server.effective_port}", local)
        subprocess.run(["sh", "-c", local], check=True, cwd=namespace[FOLDER])
    finally:
        server.shutdown()


def try_transcript(example):
    """Run the commands after ``$``; what they print is as it says, but for ids and durations.

    Each has a shell of its own, to which what was exported before is exported again.
    """
    folders = [Path(sys.executable).parent, os.environ["PATH"]]
    variables = {"PATH": os.pathsep.join(map(str, folders)), "PYTHONWARNINGS": "ignore"}
    variables["PYTHONPATH"] = str(Path(pyramid_cron.__file__).parents[1])  # what is tested
    exports = ""
    for part in re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        if command.startswith("export "):
            exports += f"{command}\n"
        process = subprocess.run(
            ["sh", "-c", exports + command],
            cwd=example.namespace[FOLDER],
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert _without_random_parts(process.stdout) == _without_random_parts(printed), command


def _without_random_parts(text):
    text = re.sub(r"\b[0-9a-f]{26}\b", "RUN", text)
    text = re.sub(r"\b\d+\.\d{3} s", "TIME", text)
    return re.sub(r" +", " ", text).strip()  # columns are as wide as what is in them


pytest_collect_file = Sybil(
    parsers=[
        DocTestParser(optionflags=ELLIPSIS),
        PythonCodeBlockParser(),
        CodeBlockParser(language="ini", evaluator=read_ini),
        CodeBlockParser(language="crontab", evaluator=try_crontab),
        CodeBlockParser(language="sh", evaluator=try_shell),
        CodeBlockParser(language="console", evaluator=try_transcript),
    ],
    patterns=["README.rst", "docs/*.rst"],
    setup=set_up_document,
    teardown=tear_down_document,
).pytest()
