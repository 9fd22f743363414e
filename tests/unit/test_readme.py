"""What the README tells a newcomer is what continuous integration does."""

import configparser
import re
import sys
import textwrap
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_continuous_integration_runs_the_command_the_readme_names():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    [command] = [line.removesuffix(" || exit") for line in lines if "pip install tox" in line]
    assert f"\n   {command}\n" in (ROOT / "README.rst").read_text()


def test_continuous_integration_runs_every_environment_but_the_one_for_links():
    tox = configparser.RawConfigParser()
    tox.read(ROOT / "tox.ini")
    quick = tox["tox"]["env_list"].split()
    script = (ROOT / ".ci" / "run").read_text()
    [rest] = re.findall(r"tox run -e (.*)$", script, re.MULTILINE)
    known = {name.removeprefix("testenv:") for name in tox.sections() if "testenv:" in name}
    assert known - {*quick, *rest.split(",")} == {"links"}
    assert {"oldest", "newest"} < set(quick)  # the ends of what is supported


def test_what_the_readme_links_to_is_there():
    readme = (ROOT / "README.rst").read_text()
    links = re.findall(r"`[^`<]+<([^>]+)>`_|\.\. image:: (\S+)", readme)
    paths = [text for link in links for text in link if text and "://" not in text]
    assert len(paths) > 3
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_example_of_a_test_can_be_run_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "app", types.ModuleType("app"))
    blocks = re.findall(
        r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", (ROOT / "README.rst").read_text()
    )
    example = "\n".join(textwrap.dedent(block) for block in blocks)
    assert "CronTester" in example
    for _ in range(2):
        exec(example, {"__name__": "app"})
