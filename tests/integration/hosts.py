"""A deployment: two hosts with servers and two with Celery workers, over one PostgreSQL store.

Each server is hit by a trigger of its own, and each host reaches PostgreSQL and Redis by a line of
its own. Lines are cut and mended, and hosts die, while they work; afterwards every slot is
accounted for.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import re
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import redis
from sqlalchemy import URL, func, select

from pyramid_cron.app import CronApp, get_cron
from pyramid_cron.clock import utc_now
from pyramid_cron.run import Run, Trigger
from pyramid_cron.store.run_stats import TICK_STATS_TASK, read_run_stats
from tests import databases
from tests.integration import accounting, hosted
from tests.integration.accounting import Account, account, lines, waiting_slots
from tests.integration.network import Line, no_namespaces, ways
from tests.integration.processes import Child, program, wait_until

LEASE = 5
CUTS = ("silent", "refused")
WAYS = (*CUTS, "killed")
BROKER = os.environ.get("CRON_TEST_REDIS", "redis://127.0.0.1:6379/11")
WORK = ("tests.integration.hosted", "work", "-A", "pyramid_cron.celery", "worker")
COMMANDS = {
    "web1": ("tests.integration.hosted", "serve"),
    "web2": ("gunicorn", "-b", "127.0.0.1:0", "--threads", "6", "tests.integration.hosted:app()"),
    "worker1": (*WORK, "-P", "threads", "-c", "4"),
    "worker2": (*WORK, "-P", "solo"),
}
QUIET = ("--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat")
READY = {"web": r"Listening at: (http://\S+) ", "worker": r" (ready)\."}


@dataclass(frozen=True)
class Place:
    """Where a deployment's store, broker and files are."""

    store: URL
    prefix: str
    folder: Path
    broker: str = BROKER

    @property
    def starts(self) -> Path:
        return self.folder / "starts"

    @property
    def servers(self) -> dict[str, tuple[str, int]]:
        broker = urlsplit(self.broker)
        return {
            "store": (self.store.host or "127.0.0.1", self.store.port or 5432),
            "broker": (broker.hostname or "127.0.0.1", broker.port or 6379),
        }

    def settings(self, line: Line | None = None) -> dict[str, str]:
        """Return what an application is told that has this line to the store, or needs none."""
        url = self.store
        if line is not None:
            url = url.set(host=line.address, port=line.ports["store"])
        return {
            "cron.url": url.render_as_string(hide_password=False),
            "cron.table_prefix": self.prefix,
            "cron.lease": str(LEASE),
            "cron.capacity": "1000",
            "cron.beats": "true",
        }

    def broker_by(self, line: Line) -> str:
        """Return the broker's URL at the other end of a line."""
        broker = urlsplit(self.broker)
        user, at, _ = broker.netloc.rpartition("@")
        there = f"{user}{at}{line.address}:{line.ports['broker']}"
        return broker._replace(netloc=there).geturl()


class Host:
    """A machine with all that runs on it: a server and its trigger, or a worker."""

    def __init__(self, name: str, line: Line, place: Place) -> None:
        self.name = name
        self.line = line
        self.serves = name.startswith("web")
        self._place = place
        self._processes = ExitStack()
        self._starts = 0
        self._main: Child
        self._trigger: Child
        lines_ = [f"{key} = {value}" for key, value in place.settings(line).items()]
        self._ini = place.folder / f"{name}.ini"
        self._ini.write_text("\n".join((hosted.INI.format(folder=place.folder), *lines_)))

    def start(self) -> None:
        """Begin to start, and go on to :meth:`be_ready`."""
        self._starts += 1
        more = () if self.serves else (*QUIET, "-n", f"{self.name}@%h", "-Q", self._place.prefix)
        self._main = self._run("main", *COMMANDS[self.name], *more)

    def be_ready(self) -> None:
        """Wait until it works."""
        main, sign = self._main, READY["web" if self.serves else "worker"]
        try:
            found = wait_until(lambda: re.search(sign, main.output) or main.over())
        except AssertionError as error:
            raise AssertionError(f"{self.name} is not ready: {main.output}") from error
        assert found is not True, main.output
        if self.serves:
            self._trigger = self._run("trigger", "tests.integration.hosted", "trigger", found[1])

    def kill(self) -> None:
        """Let it be like a machine whose power fails."""
        self._processes.close()

    def answers(self, good: bool = True) -> int:
        """Return how often its trigger was answered 200 since it last started, or was not."""
        answers = self._trigger.lines("answered ")
        return sum((answer == "200") == good for answer in answers)

    def begun(self) -> int:
        """Return how many runs have begun here."""
        return sum(line.endswith(f" {self.name}") for line in lines(self._place.starts))

    def works_on(self, more: int = 3) -> None:
        """Wait until it has begun so many runs more."""
        enough = self.begun() + more
        wait_until(lambda: self.begun() >= enough)

    def fails(self, more: int = 2) -> None:
        """Wait until its trigger has had no good answer so many times more."""
        enough = self.answers(good=False) + more
        wait_until(lambda: self.answers(good=False) >= enough)

    def _run(self, what: str, *command: str) -> Child:
        return self._processes.enter_context(
            program(
                self._place.folder / f"{self.name}-{what}-{self._starts}",
                *self.line.command,
                sys.executable,
                "-um",
                *command,
                CRON_HOST=self.name,
                CRON_INI=str(self._ini),
                PYRAMID_CRON_INI=str(self._ini),
                CRON_BROKER=self._place.broker_by(self.line),
                CRON_KEYS=self._place.prefix,
            )
        )


@dataclass(frozen=True)
class Deployment:
    """The hosts, and what is on record."""

    place: Place
    hosts: dict[str, Host]
    cron: CronApp
    since: datetime

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def settle(self) -> datetime:
        """Wait until all is over that was due until now, and end; return that moment."""
        end = utc_now()
        wait_until(lambda: not self._open(end))
        for host in self.hosts.values():
            host.kill()
        return end

    def _open(self, end: datetime) -> list[str]:
        """Return what is not over of what was due until ``end``."""
        store = self.cron.store
        runs, task_sets = store.tables.runs, store.tables.task_sets
        going_on = select(runs.c.id).where(runs.c.lease_until.is_not(None), runs.c.slot <= end)
        with store.database.read() as connection:
            last = connection.scalar(select(func.max(task_sets.c.window_end)))
            found = list(connection.scalars(going_on))
        found += [task for task, slot in waiting_slots(store) if slot <= end]
        return found if last > end else [*found, "no tick"]


@contextmanager
def deployment(place: Place, *, namespaces: bool) -> Iterator[Deployment]:
    """Start a deployment; end it with the block, and take what it has left in Redis away."""
    config = hosted.configured(place.folder, **place.settings(), **hosted.NO_BROKER)
    config.make_wsgi_app()
    cron = get_cron(config.registry)
    with ExitStack() as stack:
        stack.callback(cron.store.database.dispose)
        stack.callback(_forget, place)
        lines_ = stack.enter_context(ways(len(COMMANDS), place.servers, namespaces=namespaces))
        hosts = {name: Host(name, line, place) for name, line in zip(COMMANDS, lines_, strict=True)}
        for each in hosts.values():
            stack.callback(each.kill)
            each.start()
        for each in hosts.values():
            each.be_ready()
        yield Deployment(place, hosts, cron, utc_now())


def _forget(place: Place) -> None:
    with redis.Redis.from_url(place.broker) as client:
        for key in client.scan_iter(f"{place.prefix}*"):
            client.delete(key)


@dataclass(frozen=True)
class Outcome(Account):
    """What came of a deployment. ``miscounted`` is what totals and record disagree about.

    ``begun`` tells by host how many runs have begun there, ``attempts`` by number how many attempts
    there were. ``lateness`` is by executor how many seconds after their slots runs began: the
    median, that of 19 in 20, and the worst.
    """

    begun: dict[str, int]
    attempts: dict[int, int]
    lateness: dict[str, tuple[float, float, float]]
    miscounted: list[str]


FAULTS = (*accounting.FAULTS, "miscounted")


def outcome(made: Deployment, end: datetime) -> Outcome:
    """Account for what was due until ``end``; nothing may be going on any more."""
    began = [run for run in made.cron.store.history(limit=10**7) if run.started]
    return Outcome(
        **asdict(account(made.cron, made.place.starts, end)),
        begun={name: host.begun() for name, host in made.hosts.items()},
        attempts=dict(sorted(Counter(run.attempt for run in began).items())),
        lateness=_lateness(made, began),
        miscounted=_miscounted(made.cron),
    )


def _lateness(made: Deployment, runs: Sequence[Run]) -> dict[str, tuple[float, float, float]]:
    """Return how late runs began whose slots had not come before everything was ready."""
    late: dict[str, list[float]] = {}
    for run in runs:
        if run.attempt == 1 and run.trigger is Trigger.SCHEDULE and run.slot > made.since:
            executor = made.cron.task_registry.get(run.task).executor
            late.setdefault(executor, []).append((run.started - run.slot).total_seconds())
    return {
        name: (median(each), sorted(each)[len(each) * 19 // 20], max(each))
        for name, each in late.items()
    }


def _miscounted(cron: CronApp) -> list[str]:
    """Return where the totals, which are added to as runs end, are not the sums of the record."""
    store = cron.store
    recorded: Counter[tuple[str, str]] = Counter()
    for run in store.history(limit=10**7):
        if run.state.is_final:
            recorded[run.task, str(run.reason or run.state)] += run.count
    with store.read_session() as session:
        totals = read_run_stats(session)
        ticks = session.connection.scalar(select(func.count()).select_from(store.tables.ticks))
    recorded[TICK_STATS_TASK, ""] = ticks
    counted = {(each.task, each.reason or each.state): each.count for each in totals}
    return [
        f"{task or 'ticks'} {state}: {counted.get((task, state))} in total, {count} on record"
        for (task, state), count in recorded.items()
        if counted.get((task, state)) != count
    ]


# For long.


def soak(made: Deployment, until: float) -> Counter[str]:
    """Cut hosts off or kill them at random, one or two at a time; return how often which way."""
    count: Counter[str] = Counter()
    while time.monotonic() < until:
        hit = {host: random.choice(WAYS) for host in random.sample(list(made.hosts.values()), 2)}
        if random.random() < 0.7:
            hit.popitem()
        for host, way in hit.items():
            _hit(host, way)
            count[way] += 1
        time.sleep(random.uniform(1, 12))
        for host, way in hit.items():
            _mend(host, way)
        time.sleep(random.uniform(1, 6))
    return count


def _hit(host: Host, way: str) -> None:
    if way == "killed":
        host.kill()
    else:
        host.line.cut(way)


def _mend(host: Host, way: str) -> None:
    if way == "killed":
        host.start()
        host.be_ready()
    else:
        host.line.mend()


def report(found: Outcome, hits: Counter[str], seconds: float, networks: str) -> None:
    """Print the counts."""
    states = ", ".join(f"{count:,} {name}" for name, count in sorted(found.states.items()))
    runs = ", ".join(f"{count:,} on {name}" for name, count in found.begun.items())
    attempts = ", ".join(f"{count:,} at attempt {n}" for n, count in found.attempts.items())
    print(f"hosts       {len(found.begun)}, {networks}, for {seconds:.0f} s")
    print(f"faults      {', '.join(f'{count} {way}' for way, count in sorted(hits.items()))}")
    print(f"ticks       {found.ticks:,}")
    print(f"slots       {found.slots:,}")
    print(f"starts      {runs}")
    print(f"            {attempts}")
    print(f"runs        {states}")
    print(f"doubled     {len(found.twice) + len(found.counted_twice)}")
    print(f"missing     {len(found.unrecorded) + len(found.unfounded)}")
    print(f"not over    {len(found.stuck)}")
    print(f"miscounted  {len(found.miscounted)}")
    for name, (usual, most, worst) in sorted(found.lateness.items()):
        print(f"late, {name:8} median {usual:.3f} s, 95 % {most:.3f} s, worst {worst:.3f} s")
    for name in FAULTS:
        for each in getattr(found, name):
            print(f"{name}: {each}")


def main() -> int | str:
    """Soak a deployment and print what came of it; return 1 if there were faults."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--relays", action="store_true", help="hosts share this one's network")
    options = parser.parse_args()
    print("$", shlex.join(["python", *sys.argv]))
    why = "--relays" if options.relays else no_namespaces()
    networks = f"lines through relays only ({why})" if why else "each in a network of its own"
    if problem := databases.lacking("postgresql"):
        return f"{problem}"
    # That tasks are lost is part of it.
    logging.getLogger("pyramid_cron").setLevel(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory() as folder,
        databases.place("postgresql", Path(folder)) as found,
        deployment(Place(found.url, found.prefix, Path(folder)), namespaces=not why) as made,
    ):
        begin = time.monotonic()
        hits = soak(made, begin + 60 * options.minutes)
        seconds = time.monotonic() - begin
        came = outcome(made, made.settle())
    report(came, hits, seconds, networks)
    return int(any(getattr(came, name) for name in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
