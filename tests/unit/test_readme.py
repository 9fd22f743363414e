"""What the README tells a newcomer is what continuous integration does."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_continuous_integration_runs_the_command_the_readme_names():
    command = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert f"\n   {command}\n" in (ROOT / "README.rst").read_text()


def test_what_the_readme_links_to_is_there():
    readme = (ROOT / "README.rst").read_text()
    links = re.findall(r"`[^`<]+<([^>]+)>`_|\.\. image:: (\S+)", readme)
    paths = [text for link in links for text in link if text and "://" not in text]
    assert len(paths) > 3
    assert [path for path in paths if not (ROOT / path).exists()] == []
