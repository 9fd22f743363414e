"""Three workers on hosts of their own: one dies, one freezes, and every run is accounted for.

Each host is a network and a name of its own; the store can be reached only at the other end of its
cable.
"""

import signal
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict

import pytest

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.clock import utc_now
from tests import databases
from tests.integration import between
from tests.integration.accounting import FAULTS, account, lines, waiting_slots
from tests.integration.network import no_host_names, no_namespaces, ways
from tests.integration.processes import program, wait_until

LEASE = 2
NAMES = ("anvil", "bellows", "crucible")
PARCELS = 40


class Hosts:
    """Three hosts with a worker each, their store, and what their tasks have left in a folder."""

    def __init__(self, folder, store, stack):
        self.folder = folder
        self._prefix = store.prefix
        config = between.configured(folder, **self._settings(store.url) | {"cron.beats": "false"})
        config.make_wsgi_app()
        self.cron = get_cron(config.registry)
        stack.callback(self.cron.close)
        self.control = scheduler(config.registry)
        servers = {"store": (store.url.host, store.url.port or 5432)}
        lines_ = stack.enter_context(ways(len(NAMES), servers, namespaces=True))
        self.workers = {
            name: stack.enter_context(self._worker(name, line, store.url))
            for name, line in zip(NAMES, lines_, strict=True)
        }
        for worker in self.workers.values():
            worker.wait_for("working with ")

    def _settings(self, url):
        return {
            "cron.url": url.render_as_string(hide_password=False),
            "cron.table_prefix": self._prefix,
            "cron.lease": str(LEASE),
        }

    def _worker(self, name, line, url):
        settings = self._settings(url.set(host=line.address, port=line.ports["store"]))
        ini = self.folder / f"{name}.ini"
        ini.write_text(
            between.INI.format(folder=self.folder)
            + "".join(f"{key} = {value}\n" for key, value in settings.items())
        )
        pcron = [sys.executable, "-um", "pyramid_cron.scripts.pcron", ini]
        command = [*line.command_as(name), *pcron, "work", "--threads", "3"]
        return program(self.folder / f"{name}.printed", *command)

    def begun(self, run_id):
        """Return the pids of the processes in which a run has begun."""
        found = [line.split() for line in lines(self.folder / "starts")]
        return [int(pid) for *_, pid, run in found if run == run_id]

    def attempts(self, task):
        """Return the runs of a task by their attempts."""
        return {run.attempt: run for run in self.control.history(task)}

    def host_of(self, run_id):
        """Return the name of the host on which a run has begun; None before."""
        pids = self.begun(run_id)
        found = [name for name, worker in self.workers.items() if pids == [worker.pid]]
        return found[0] if found else None

    def is_over(self, end):
        """Return whether all is over that was due until a moment."""
        active = [run for run in self.control.history(limit=10**6) if not run.state.is_final]
        return not active and all(slot > end for _, slot in waiting_slots(self.cron.store))


@pytest.fixture
def hosts(tmp_path):
    if reason := no_namespaces() or no_host_names():
        pytest.skip(reason)
    with databases.place("postgresql", tmp_path) as store, ExitStack() as stack:
        yield Hosts(tmp_path, store, stack)


@pytest.mark.databases
def test_one_of_three_workers_dies_and_one_freezes_and_each_run_is_accounted_for(hosts):
    # One that was killed with a run of it.
    first = hosts.control.defer("crate")
    killed = wait_until(lambda: hosts.host_of(first.id))
    hosts.workers[killed].send(signal.SIGKILL)
    second = wait_until(lambda: hosts.attempts("crate").get(2))
    frozen = wait_until(lambda: hosts.host_of(second.id))
    # One that sleeps longer than its lease lasts, which another one sees.
    hosts.workers[frozen].send(signal.SIGSTOP)
    parcels = [hosts.control.defer("parcel") for _ in range(PARCELS)]
    wait_until(lambda: hosts.control.get_run(second.id).state.is_final)
    [awake] = {*NAMES} - {killed, frozen}
    wait_until(lambda: Counter(map(hosts.host_of, (run.id for run in parcels)))[awake] >= 10)
    # It wakes up amid what it takes for its own.
    hosts.workers[frozen].send(signal.SIGCONT)
    (hosts.folder / "finish").touch()
    end = utc_now()
    wait_until(lambda: hosts.is_over(end))

    crates = hosts.attempts("crate")
    assert [(str(crates[n].state), crates[n].host) for n in (1, 2)] == [
        ("lost", killed),
        ("lost", frozen),
    ]
    runs = hosts.control.history(limit=10**6)
    assert {run.host for run in runs} <= {*NAMES}
    assert {str(run.state) for run in runs if run.task == "parcel"} == {"succeeded"}
    assert all(len(hosts.begun(run.id)) == 1 for run in runs if run.started)
    came = asdict(account(hosts.cron, hosts.folder / "starts", end))
    assert {name: came[name] for name in FAULTS} == {name: [] for name in FAULTS}
