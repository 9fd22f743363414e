"""What ``pyproject.toml`` says, and what has to agree with it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_oldest_versions_tested_with_are_the_oldest_allowed():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = content["project"]
    beside = [
        each
        for each in content["dependency-groups"]["test"]
        if isinstance(each, str) and each.startswith(("pyramid_tm", "zope.sqlalchemy"))
    ]
    allowed = {
        re.sub(r"\[.*\]|,.*", "", each).replace(">=", "==")
        for needed in (project["dependencies"], *project["optional-dependencies"].values(), beside)
        for each in needed
    }
    lines = (ROOT / "tests" / "oldest.txt").read_text().splitlines()
    assert {line for line in lines if "==" in line} == allowed
