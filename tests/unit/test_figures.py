"""What the documentation says of figures is what was measured, and can be measured again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.system


def test_the_documented_figures_are_those_that_were_kept(tmp_path):
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "README.rst", tmp_path)
    subprocess.run([sys.executable, "benchmarks/all.py", "--write"], cwd=tmp_path, check=True)
    assert texts(tmp_path / "docs" / "figures") == texts(ROOT / "docs" / "figures")
    assert (tmp_path / "README.rst").read_text() == (ROOT / "README.rst").read_text()


def test_the_store_that_history_asks_can_be_filled(tmp_path):
    asked = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from history import MINUTE, START, at_the_desk, fill, make_url, questions, Store
store = Store(make_url("sqlite:///{tmp_path}/cron.sqlite"), "b_")
fill(store, 2000)
for question in questions(store, START + 3 * MINUTE).values():
    question()
print(len(store.history(limit=5000)))
store.database.dispose()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", asked],
        cwd=ROOT / "benchmarks",
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("2000\n", 0), done.stderr


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}
