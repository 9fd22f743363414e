"""Real applications answer the same with the package included as without it."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest


def asked(*includes):
    """What kinto answers, in a process of its own: it warns of much, and patches some."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.integration.inside_kinto", *includes]
    env = os.environ | {"PYTHONHASHSEED": "0"}  # it shows some sets as they come
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(find_spec("kinto") is None, reason="needs kinto")
def test_kinto_answers_as_without_it_and_has_a_trigger_and_pages():
    without, absent = asked()
    with_it, present = asked("pyramid_cron")
    for before, after in zip(without, with_it, strict=True):
        assert after == before
    assert {status for _, _, status, _ in absent} == {404, 307}
    statuses = {f"{method} {path}": status for method, path, status, _ in present}
    assert statuses == {
        "GET /v1/cron": 200,
        "POST /v1/cron": 200,
        "GET /v1/cron/tasks": 200,
        "GET /v1/cron/health": 200,
        "GET /cron": 307,  # kinto leads to its version; the crontab's curl says so, with status 47
    }
