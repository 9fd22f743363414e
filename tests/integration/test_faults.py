"""Processes that are killed, or freeze, while they tick."""

import json
import signal
import subprocess
import sys
from datetime import datetime

import pytest

from pyramid_cron.app import get_cron
from pyramid_cron.clock import utc_now
from pyramid_cron.errors import StoreError
from pyramid_cron.testing import CronTester
from tests import databases
from tests.integration.killing import FAULTS, PROCESSES, Place
from tests.integration.processes import ROOT, python, wait_until
from tests.integration.ticker import application


@pytest.fixture(params=databases.SHARED)
def store(request, tmp_path):
    """A place for a store that several processes can use."""
    with databases.place(request.param, tmp_path) as place:
        url = place.url.render_as_string(hide_password=False)
        yield Place(url, place.prefix, lease=1)


def test_of_processes_killed_at_random_every_slot_is_accounted_for(store):
    where = ["--url", store.url, "--prefix", store.prefix]
    command = ["-m", "tests.integration.killing", *where, "--seconds", "4"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout, done.stderr
    account = json.loads(done.stdout)
    assert {name: account[name] for name in FAULTS} == {name: [] for name in FAULTS}
    # It was no idle time.
    assert account["kills"] >= 2 * PROCESSES
    assert account["starts"] > 0
    assert account["states"]["succeeded"] > 0
    # No run began before a tick claimed it.
    assert min(account["late"]) > 0


def test_a_process_that_was_frozen_past_its_lease_changes_nothing_and_goes_on_to_work(
    store, tmp_path
):
    registry = application(store, tmp_path)
    record, here = get_cron(registry).store, CronTester(registry)
    (tmp_path / "hold").touch()
    command = ["-m", "tests.integration.ticker", tmp_path, store.url, store.prefix, store.lease]
    with python(tmp_path / "printed", *command) as child:
        child.wait_for("ready")
        child.say("tick")
        held_id = child.wait_for("started").strip()
        [claimed] = [run for run in record.history("second") if str(run.state) == "claimed"]
        freeze(child, record)
        (tmp_path / "hold").unlink()

        def taken_over():
            return [run.task for run in here.tick().runs].count("first")

        wait_until(taken_over)
        lost, requeued = record.get_run(held_id), record.get_run(claimed.id)
        assert str(lost.state) == str(requeued.state) == "lost"
        assert f"(pid {child.pid}) gave no sign of life within its lease" in lost.error
        wait_until(lambda: [run for run in record.history("second") if is_retry(run, claimed)])
        before = len(record.history(limit=10_000))

        child.send(signal.SIGCONT)
        ticked = child.wait_for("ticked")
        assert record.get_run(held_id) == lost
        assert record.get_run(claimed.id) == requeued
        assert "second" not in ticked
        assert len(record.history(limit=10_000)) == before
        assert starts(tmp_path, claimed) == [2]

        child.ticks_until("second:succeeded")
    get_cron(registry).close()


def freeze(child, record):
    """Stop a process at a moment when it keeps nobody from writing to the store."""

    def frozen():
        child.send(signal.SIGSTOP)
        try:
            with record.claim_transaction(utc_now(), utc_now()):
                return True
        except StoreError:
            child.send(signal.SIGCONT)

    wait_until(frozen)


def is_retry(run, of):
    return (run.slot, run.attempt, str(run.state)) == (of.slot, 2, "succeeded")


def starts(folder, run):
    """Which attempts at a run's slot have begun, each once."""
    lines = [line.split() for line in (folder / "starts").read_text().splitlines()]
    return [
        int(attempt)
        for task, slot, attempt, _ in lines
        if (task, datetime.fromisoformat(slot)) == (run.task, run.slot)
    ]
