"""Tasks in processes of their own: real ones, which load the application."""

import os
import sys
import threading

import pytest

from pyramid_cron import RunState, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.runtime.tick import run_tick_and_wait
from tests.integration import own_processes
from tests.integration.processes import wait_until

INI = """
[app:main]
use = call:tests.integration.own_processes:main
"""


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    settings = {
        "cron.url": f"sqlite:///{tmp_path}/cron.sqlite",
        "cron.timezone": "UTC",
        "cron.config_uri": f"{tmp_path}/shop.ini",
    }
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    (tmp_path / "shop.ini").write_text(INI + lines)
    return own_processes.main({}, **settings).registry


def tick(registry, *names):
    """Run tasks in one tick; return their runs as they are on record, by task."""
    shop, cron = scheduler(registry), get_cron(registry)
    for name in names:
        shop.defer(name, {"order": 7})
    run_tick_and_wait(cron, registry, cron.clock())
    return {run.task: run for run in shop.history()}


def cancel_when_it_runs(registry):
    shop = scheduler(registry)
    [run] = wait_until(lambda: shop.history("cancelled", RunState.RUNNING))
    wait_until(lambda: shop.get_run(run.id).stdout)  # before that it can be ended unbegun
    shop.cancel(run.id)


def test_each_ends_as_its_process_does(registry):
    cancelling = threading.Thread(target=cancel_when_it_runs, args=(registry,))
    cancelling.start()
    names = "deliver", "exit_early", "crash", "wait_in_c", "compute_in_c", "cancelled"
    runs = tick(registry, *names)
    cancelling.join()
    assert {task: str(run.state) for task, run in runs.items()} == {
        "deliver": "succeeded",
        "exit_early": "failed",
        "crash": "failed",
        "wait_in_c": "timed_out",
        "compute_in_c": "timed_out",
        "cancelled": "cancelled",
    }
    assert os.getpid() not in {run.pid for run in runs.values()}
    assert len({run.pid for run in runs.values()}) == len(names)
    assert runs["deliver"].stdout == "order 7\n"
    assert "WARNI [shop] delivered" in runs["deliver"].log
    assert (runs["exit_early"].stdout, runs["exit_early"].exit_status) == ("before the end\n", 3)
    assert runs["exit_early"].error == "its process ended with status 3"
    assert runs["crash"].error == "its process was ended by signal 11 (SIGSEGV)"
    assert "in crash\n" in runs["crash"].stderr
    assert runs["wait_in_c"].error == "ran longer than its timeout; it was killed"
    assert runs["compute_in_c"].error.startswith("ran longer than its timeout; its process was")
    assert runs["cancelled"].error == "was cancelled; it was killed"
    assert all(run.duration < 30 for run in runs.values())


def test_a_configuration_that_is_not_there_is_a_failure_that_names_it(registry, tmp_path):
    (tmp_path / "shop.ini").unlink()
    run = tick(registry, "deliver")["deliver"]
    assert (run.state, run.started, run.exit_status) == (RunState.FAILED, None, 2)
    reason = f"pcron: there is no configuration file '{tmp_path}/shop.ini'"
    assert run.error == f"its process ended with status 2 before it began: {reason}"
