"""Replaces what differs between two runs of the same test: ids, hosts, durations, paths."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder that paths in tracebacks are shown relative to."""

RUN = re.compile(r"\b[0-9a-f]{26}\b")
BY_KEY = {"host": "HOST", "pid": "PID", "tick": "TICK", "time": "TIME", "version": "VERSION"}
BY_KEY["file"] = "FILE"
DURATIONS = ("duration", "median", "p95", "longest")
"""What stands for a value of this name."""

PATTERNS = (
    (r"\S+?(, process|, pid| \(pid|, from process) \d+", r"HOST\1 PID"),
    # Moments of a stopwatch: the seconds depend on how busy the machine is.
    (r"(\d{4}-\d\d-\d\dT\d\d:\d\d):\d\d\.\d+", r"\1:SS"),
    (r"\b((?:since|started:|finished:) +\d{4}-\d\d-\d\d \d\d:\d\d):\d\d", r"\1:SS"),
    # Those of what tasks have logged: the offset goes by the season of the clock.
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d ", "TIME "),
    # JSON as it is printed.
    (r'"(host|pid|tick)": ("[^"]*"|\d+)', lambda found: f'"{found[1]}": "{BY_KEY[found[1]]}"'),
    (r'"duration": [\d.e-]+', '"duration": "DURATION"'),
    (r"\b\d\.\d{3} s\b", "#.### s"),
    (r"duration=\d\.\d{3}s", "duration=#.###s"),
    (r"\S*/pcron\b", "pcron"),
    # argparse of Python 3.12 quotes the choices no longer.
    (r"\(choose from [^)]*\)", lambda found: found[0].replace("'", "")),
)

FRAME = re.compile(r'  File "([^"]*)", line \d+, in .*\n(?:    .*\n)*')
"""A frame of a traceback with its lines of code."""


class Normal:
    """Knows the runs that it has met: each is shown by a number of its own.

    :param folder: shown as ``FOLDER``.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._runs: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return the text without what differs; the columns of tables stay where they are."""
        if self._folder is not None:
            text = text.replace(str(self._folder), "FOLDER")
        text = FRAME.sub(_own_frame, text).replace(f"{ROOT}/", "")
        for pattern, replacement in PATTERNS:
            text = re.sub(pattern, replacement, text)
        return RUN.sub(self._label, text)

    def value(self, value, key=""):
        """Return a JSON value without what differs."""
        if isinstance(value, dict):
            return {name: self.value(item, name) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if key in BY_KEY and isinstance(value, (str, int)):
            return BY_KEY[key]
        if isinstance(value, float) and key in DURATIONS:
            return "DURATION"
        if isinstance(value, str) and key in ("started", "finished"):
            return f"{value[:16]}:SSZ"
        return self.text(value) if isinstance(value, str) else value

    def _label(self, found: re.Match[str]) -> str:
        label = f"run-{len(self._runs) + 1}".ljust(26, ".")
        return self._runs.setdefault(found[0], label)


def _own_frame(found: re.Match[str]) -> str:
    """Keep the frames of the tests; where the package calls them is its own affair."""
    path = Path(found[1])
    if path.is_relative_to(ROOT / "tests"):
        return found[0]
    return ""
