"""What the README tells a newcomer is what continuous integration does."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_continuous_integration_runs_the_command_the_readme_names():
    command = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert f"\n   {command}\n" in (ROOT / "README.rst").read_text()
