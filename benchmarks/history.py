"""How long people and ticks wait for answers from a store with a million runs.

    python benchmarks/history.py [--quick] [--url URL]

Fills a store (a SQLite file, or tables of its own in a database that is named) with runs of 1,000
tasks, 100,000 of them if quick, and asks what pages, people and ticks ask. Times are medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import count as count_up
from itertools import islice
from tempfile import TemporaryDirectory
from typing import Any

from common import Column, options, show, show_machine, timed
from sqlalchemy import insert, make_url

from pyramid_cron.planning.snapshot import WaitingRun
from pyramid_cron.run import RunState, Trigger, evolve, make_run_ids
from pyramid_cron.store.results import Outcome, WriteBatch
from pyramid_cron.store.retention import prune
from pyramid_cron.store.store import Store
from pyramid_cron.store.ticks import TickRecord
from pyramid_cron.store.waiting import SlotRange, handled_slots

TASKS = 1_000
BATCH = 20_000
MINUTE = timedelta(minutes=1)
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
COLUMNS = (Column("asked"), Column("milliseconds", ",.2f"))
FINAL = tuple(state for state in RunState if state.is_final)

Row = dict[str, Any]


def rows(count: int) -> Iterator[Row]:
    """Yield runs, 1,000 a minute: one in twenty of a task that always fails, of the others few."""
    for begin in range(0, count, TASKS):
        slot = START + begin // TASKS * MINUTE
        for number, id_ in enumerate(make_run_ids(slot, min(TASKS, count - begin))):
            busy = number % 20 == 0
            failed = busy or (begin + number) % 97 == 0
            yield {
                "id": id_,
                "task": f"shop.tasks.task_{0 if busy else number}",
                "slot": slot,
                "attempt": 1,
                "origin": f"adhoc:{number}" if busy else "schedule",
                "trigger": "schedule",
                "state": "failed" if failed else "succeeded",
                "slot_count": 1,
                "claimed": slot,
                "cancel_requested": 0,
                "lost_count": 0,
                "started": slot,
                "finished": slot + timedelta(seconds=number % 7),
                "error": "ValueError: no such thing" if failed else None,
                "traceback": "Traceback (most recent call last):\n" * 10 if failed else None,
                "host": "web-1",
                "pid": 4711,
                "owner": "0123456789abcdef",
                "weight": 0,
            }


def fill(store: Store, count: int) -> None:
    """Put so many runs on record, one in ten with output, and the last tick."""
    store.open()
    runs = rows(count)
    while batch := list(islice(runs, BATCH)):
        outputs = [{"run_id": row["id"], "log": "a line of a log\n" * 20} for row in batch[::10]]
        with store.database.write() as connection:
            connection.execute(insert(store.tables.runs), batch)
            connection.execute(insert(store.tables.run_outputs), outputs)
    tick = TickRecord("0" * 21, START, "roster", "web-1", 4711)
    if store.database.dialect == "postgresql":
        with store.database.write() as connection:  # as its autovacuum would in a minute
            connection.exec_driver_sql(f"ANALYZE {store.tables.runs.name}")
    store.write_batch(
        WriteBatch(ticks=[(tick, [f"shop.tasks.task_{number}" for number in range(TASKS)])])
    )


def questions(store: Store, now: datetime) -> dict[str, Callable[[], object]]:
    """Return what is asked for, by what it is called here."""
    usual, busy = "shop.tasks.task_501", "shop.tasks.task_0"
    since = now - 24 * 60 * MINUTE
    newest = store.history(limit=1)[0]
    asked: dict[str, Callable[[], object]] = {
        "history()": store.history,
        'history(state="failed")': lambda: store.history(states=[RunState.FAILED]),
        'history(state="lost")': lambda: store.history(states=[RunState.LOST]),
        "run": lambda: store.get_run(newest.id),
        "attempts": lambda: store.newest_ended_attempt(newest),
        "peek": lambda: store.peek(now),
        "claim transaction": lambda: in_a_claim_transaction(store, now),
        "renew leases": lambda: store.renew_leases([newest.id], now),
        "cancel requests": store.cancel_requests,
    }
    for kind, name in (("usual", usual), ("busy", busy)):
        asked |= {
            f"{kind}: history": partial(store.history, name),
            f"{kind}: history, failed": partial(store.history, name, [RunState.FAILED]),
            f"{kind}: history, lost": partial(store.history, name, [RunState.LOST]),
            f"{kind}: last run": partial(store.history, name, FINAL, limit=1),
            f"{kind}: active runs": partial(store.active_runs, name),
            f"{kind}: waiting runs": partial(store.count_waiting, name),
            f"{kind}: durations": partial(store.recent_durations, name, 20),
            f"{kind}: a day's slots": partial(known, store, SlotRange(name, since, now)),
        }
    return asked


def known(store: Store, span: SlotRange) -> None:
    """Find out which slots need not be filled in."""
    with store.read_session() as session:
        handled_slots(session, span)


def in_a_claim_transaction(store: Store, now: datetime) -> None:
    """Find out what a decision needs to know."""
    with store.claim_transaction(now, now + MINUTE) as claims:
        claims.expire_leases(Outcome, ())
        claims.snapshot()


def claim_and_end(store: Store, now: datetime) -> None:
    """Claim 100 runs and write that they succeeded, as a tick does."""
    lease = now + MINUTE
    slots = [
        WaitingRun(f"shop.tasks.task_{number}", now, Trigger.SCHEDULE, now) for number in range(100)
    ]
    with store.claim_transaction(now, lease) as claims:
        runs, _ = claims.claim(slots)
    ends = (evolve(run, state=RunState.SUCCEEDED, started=now, finished=now) for run in runs)
    store.write_batch(WriteBatch([Outcome(run) for run in ends]))


def measure(store: Store, count: int) -> None:
    """Fill the store, and print the table."""
    begin = time.perf_counter()
    fill(store, count)
    print(f"{count:,} runs of {TASKS:,} tasks written in {time.perf_counter() - begin:.0f} s")
    now = START + (count // TASKS + 1) * MINUTE
    rows = [(name, timed(work, 20)) for name, work in questions(store, now).items()]
    moments = (now + number * MINUTE for number in count_up())
    rows.append(("claim and end 100", timed(lambda: claim_and_end(store, next(moments)), 50)))
    rows.append(("prune 500", timed(lambda: prune(store, now, 500), 20)))
    show(f"{count:,} runs of {TASKS:,} tasks, {store.database.dialect}", COLUMNS, rows)


def main() -> None:
    parser = options(__doc__, "100,000 runs")
    parser.add_argument("--url", help="a database to be used instead of a SQLite file")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        store = Store(make_url(arguments.url or f"sqlite:///{folder}/cron.sqlite"), "benchmark_")
        try:
            measure(store, 100_000 if arguments.quick else 1_000_000)
        finally:
            with store.database.write() as connection:
                store.tables.metadata.drop_all(connection)
            store.database.dispose()
    show_machine("SQLAlchemy")


if __name__ == "__main__":
    main()
