"""What the documentation says of figures is what was measured."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_documented_figures_are_those_that_were_kept(tmp_path):
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    (tmp_path / "docs").mkdir()
    subprocess.run([sys.executable, "benchmarks/all.py", "--write"], cwd=tmp_path, check=True)
    assert texts(tmp_path / "docs" / "figures") == texts(ROOT / "docs" / "figures")


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}
