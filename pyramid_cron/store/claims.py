"""The claim transaction: what a tick reads and writes while no other process does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, Update, bindparam, delete, select, update

from ..action_record import ActionRecord
from ..planning.catch_up import SkippedSlots
from ..planning.snapshot import ActiveRun, PauseRule, Snapshot, WaitingRun
from ..run import (
    SCHEDULE_ORIGIN,
    Run,
    RunReason,
    RunState,
    TaskKey,
    Trigger,
    evolve,
    make_run_ids,
    make_schedule_origin,
)
from ..run_transitions import lost, skipped
from .action_log import record_action
from .ends import Claim, as_ended, delete_ends, end_of, take_end
from .results import (
    FailurePause,
    Outcome,
    WriteBatch,
    apply_batch,
    end_run,
    extend_leases,
    write_followups,
)
from .rows import (
    NO_OWNER,
    Owner,
    Session,
    batched,
    insert_new,
    load_payload,
    make_claim_row,
    make_run_row,
    make_waiting_rows,
    select_active_runs,
    select_pause_rules,
    task_by_waiting_index,
    to_run,
    to_waiting_run,
)
from .run_stats import count_runs
from .schema import Tables, once_per_store
from .ticks import TickRecord, touch_task_set

MAX_LEASE_AHEAD = timedelta(days=1)
"""No lease, not even that of a handed-off run, exceeds ours by more than this."""

CLAIM_COLUMNS = (
    "trigger",
    "state",
    "reason",
    "slot_count",
    "not_before",
    "claimed",
    "finished",
    "error",
    "host",
    "pid",
    "owner",
    "lease_until",
    "weight",
    "lock_name",
)

Shares = tuple[int, str | None]
"""What a claim takes of what tasks share: its weight, and its lock."""

NO_SHARES: Shares = (0, None)

CLAIM_KEY = ("task", "slot", "attempt", "origin")
"""The columns by which a run exists once."""

UNKNOWN_TASK_LEASES = 5
"""Leases for which an application that does not know a task waits for a version that does."""


class ClaimTransaction:
    """One transaction in which a process claims runs, exclusive over all hosts."""

    def __init__(self, session: Session, now: datetime, lease_until: datetime) -> None:
        self._session = session
        self._tables = session.tables
        self._connection = session.connection
        self.begin_at(now, lease_until)
        #: The ids of runs that this transaction has seen waiting, and left as they were.
        self._seen_waiting: set[str] = set()
        #: What was claimed in this transaction.
        self.claimed: list[Run] = []
        #: The tasks that were paused in this transaction because they kept failing.
        self.failure_pauses: list[FailurePause] = []

    def begin_at(self, now: datetime, lease_until: datetime) -> None:
        """Claim as of this moment: there was a wait for other processes since the one before."""
        self._now = now
        self._lease_until = lease_until
        owner = self._session.owner
        self._claim_template = Run(
            "", "", now, 1, Trigger.SCHEDULE, RunState.CLAIMED, owner.host, owner.pid, claimed=now
        )

    def write_batch(self, batch: WriteBatch) -> None:
        """Write a batch, but for runs that this process does not own any more."""
        self.failure_pauses += apply_batch(self._session, batch)

    def record_action(self, action: ActionRecord) -> None:
        """Put an action on record."""
        record_action(self._session, action)

    def renew_leases(self, run_ids: Collection[str]) -> None:
        """Renew the leases of runs that this process still owns."""
        extend_leases(self._session, run_ids, self._lease_until)

    def expire_leases(
        self, outcome_of: Callable[[Run], Outcome], task_names: Container[str]
    ) -> list[Run]:
        """Write the ends of runs whose lease has passed; return them.

        Each is lost, unless its end is on record: its process was killed before it could write
        more than that. One whose process is committing just now is left to a later tick.
        ``outcome_of`` returns what follows from a run's end. An application that does not know the
        task can't tell, so runs of tasks that are not in ``task_names`` have
        :data:`UNKNOWN_TASK_LEASES` leases more.
        """
        rows = self._connection.execute(_expired_query(self._tables), {"now": self._now}).all()
        long_ago = self._now - UNKNOWN_TASK_LEASES * (self._lease_until - self._now)
        expired = [row for row in rows if row.task in task_names or row.lease_until < long_ago]
        over = as_ended(self._session, map(to_run, expired))
        is_unclaimed = {row.id for row in expired if row.owner == NO_OWNER}
        runs = [
            run
            for current in over
            if (run := self._lose(current, current.id in is_unclaimed)) is not None
        ]
        for run in runs:
            end_run(self._session, run)
        succeeded_ids = [run.id for run in runs if run.state is RunState.SUCCEEDED]
        delete_ends(self._session, succeeded_ids)
        self.failure_pauses += write_followups(self._session, [outcome_of(run) for run in runs])
        return runs

    def _lose(self, run: Run, is_handed_off: bool) -> Run | None:
        """Return an expired run as lost, or as it is if it is over; None if nobody can tell yet."""
        if run.state.is_final:
            return run
        lost_run = lost(run, self._now, is_handed_off=is_handed_off)
        claim = take_end(self._session, end_of(lost_run))
        return lost_run if claim is Claim.TAKEN else None

    def cap_far_leases(self, active: Mapping[TaskKey, Sequence[ActiveRun]]) -> None:
        """Shorten leases written by a host whose clock was far ahead; a live owner renews them."""
        far_ids = [
            active_run.run.id
            for active_runs in active.values()
            for active_run in active_runs
            if active_run.lease_until - self._lease_until > MAX_LEASE_AHEAD
        ]
        runs = self._tables.runs
        for ids in batched(far_ids):
            statement = update(runs).where(runs.c.id.in_(ids))
            self._connection.execute(statement.values(lease_until=self._lease_until))

    def snapshot(
        self, fixed_delay_names: Collection[str] = (), fixed_delay_origins: Collection[str] = ()
    ) -> Snapshot:
        """Return what a tick plan needs.

        ``fixed_delay_names`` are the tasks with a fixed delay, ``fixed_delay_origins`` the stored
        schedules with one that are due.
        """
        parameters = {"now": self._now}
        startable = self._connection.execute(_startable_query(self._tables), parameters)
        waiting = [to_waiting_run(row) for row in startable]
        self._seen_waiting |= {run.id for run in waiting if run.id is not None}
        return Snapshot(
            waiting=waiting,
            active=self._active_runs_by_task(),
            fixed_delay_waiting=self._select_fixed_delay_waiting(
                fixed_delay_names, fixed_delay_origins
            ),
            pause_rules=self.pause_rules(),
        )

    def _select_fixed_delay_waiting(
        self, task_names: Collection[str], origins: Collection[str]
    ) -> dict[TaskKey, list[WaitingRun]]:
        by_task, by_origin = _fixed_delay_query(self._tables), _origins_query(self._tables)
        rows = [
            *(row for names in batched(task_names) for row in self._execute(by_task, tasks=names)),
            *(row for some in batched(origins) for row in self._execute(by_origin, origins=some)),
        ]
        waiting: dict[TaskKey, list[WaitingRun]] = {}
        for run in map(to_waiting_run, rows):
            waiting.setdefault(run.task_key, []).append(run)
        return waiting

    def _execute(self, query: Select[Any], **parameters: Any) -> Iterable[Row[Any]]:
        return self._connection.execute(query, parameters)

    def active_runs(self) -> Snapshot:
        """Return a snapshot with nothing but the active runs."""
        return Snapshot(active=self._active_runs_by_task())

    def _active_runs_by_task(self) -> dict[TaskKey, list[ActiveRun]]:
        active: dict[TaskKey, list[ActiveRun]] = {}
        for active_run in select_active_runs(self._session):
            is_expired = active_run.lease_until < self._now  # as good as lost: it takes no room
            active.setdefault(active_run.run.task_key, []).append(
                replace(active_run, weight=0, lock=None) if is_expired else active_run
            )
        return active

    def pause_rules(self) -> list[PauseRule]:
        """Return the pause rules, oldest first."""
        return select_pause_rules(self._session)

    def record_tick(self, tick: TickRecord, task_names: Collection[str]) -> datetime | None:
        """Record the end of a task set's window; return the one before, None if not known."""
        return touch_task_set(self._session, tick, task_names)

    def claim(
        self,
        waiting_runs: Sequence[WaitingRun],
        skips: Sequence[SkippedSlots] = (),
        weight_of: Callable[[str], int] = lambda _: 0,
        lock_of: Callable[[str], str | None] = lambda _: None,
    ) -> tuple[list[Run], list[Run]]:
        """Claim runs and record skipped ones; return both.

        What another process has claimed, skipped or ended is left out of them. ``weight_of``
        returns what a task's run takes of the capacity, ``lock_of`` the lock that it holds.
        """
        ids = make_run_ids(self._now, len(skips) + len(waiting_runs))
        # Lists are sorted by id: a run is newer than the slots that it supersedes.
        skipped_runs = list(map(self._make_skipped_run, ids[: len(skips)], skips))
        claimed_runs = list(map(self._make_claim, ids[len(skips) :], waiting_runs))
        waiting_ids = self._select_waiting_ids(waiting_runs, skips)
        new_ids = set(ids)
        runs = [*claimed_runs, *skipped_runs]
        shares = {run.id: (weight_of(run.task), lock_of(run.task)) for run in claimed_runs}
        new_rows = [
            make_run_row(run, *self._claim_values, *shares.get(run.id, NO_SHARES))
            for run in runs
            if run.id in new_ids
        ]
        are_all_new = insert_new(self._session, self._tables.runs, new_rows)
        own_ids = waiting_ids | (new_ids if are_all_new else self._select_ids(ids))
        self._update_waiting([run for run in runs if run.id in waiting_ids], shares)
        own_skips = [run for run in skipped_runs if run.id in own_ids]
        count_runs(self._session, own_skips)
        own_claims = [run for run in claimed_runs if run.id in own_ids]
        self.claimed += own_claims
        return own_claims, own_skips

    def find_waiting(self, waiting_runs: Sequence[WaitingRun]) -> list[WaitingRun | None]:
        """Return the runs as they wait on record, in order; None for those that do not any more."""
        known = {run.id: None for run in waiting_runs if run.id is not None}
        current = {run.id: run for run in self._select_waiting(known)}
        return [
            self._find_by_claim_key(run) if run.id is None else current.get(run.id)
            for run in waiting_runs
        ]

    def _select_waiting(self, run_ids: Iterable[str]) -> Iterator[WaitingRun]:
        query = _waiting_query(self._tables)
        for ids in batched(run_ids):
            for row in self._connection.execute(query, {"ids": ids}):
                self._seen_waiting.add(row.id)
                yield to_waiting_run(row)

    def _find_by_claim_key(self, waiting_run: WaitingRun) -> WaitingRun | None:
        """Return what was put on record without its id being known."""
        query = _claim_key_query(self._tables)
        values = {f"a_{key}": getattr(waiting_run, key) for key in CLAIM_KEY}
        row = self._connection.execute(query, values).one_or_none()
        return None if row is None else to_waiting_run(row)

    @property
    def _claim_values(self) -> tuple[Owner, datetime]:
        return self._session.owner, self._lease_until

    def _make_claim(self, new_id: str, waiting_run: WaitingRun) -> Run:
        return evolve(
            self._claim_template,
            id=waiting_run.id or new_id,
            task=waiting_run.task,
            slot=waiting_run.slot,
            attempt=waiting_run.attempt,
            trigger=waiting_run.trigger,
            payload=waiting_run.payload,
            origin=waiting_run.origin,
            key=waiting_run.key,
            schedule=waiting_run.schedule,
            lost_count=waiting_run.lost_count,
        )

    def _make_skipped_run(self, new_id: str, skip: SkippedSlots) -> Run:
        is_late = skip.reason in (RunReason.MISSED, RunReason.SUPERSEDED)
        trigger = Trigger.CATCH_UP if is_late else Trigger.SCHEDULE
        origin = make_schedule_origin(skip.schedule)
        due_run = WaitingRun(
            skip.task, skip.newest, trigger, self._now, origin=origin, schedule=skip.schedule
        )
        claim = self._make_claim(new_id, skip.waiting_run or due_run)
        return skipped(claim, skip.reason, skip.count, skip.detail)

    def _select_waiting_ids(
        self, waiting_runs: Sequence[WaitingRun], skips: Sequence[SkippedSlots]
    ) -> set[str]:
        """Return the ids of those that are on record and still wait."""
        skipped_runs = [skip.waiting_run for skip in skips if skip.waiting_run is not None]
        if self._has_other_writers:
            return set(self._lock_unchanged([*waiting_runs, *skipped_runs]))
        known = {run.id for run in (*waiting_runs, *skipped_runs) if run.id is not None}
        unseen = known - self._seen_waiting
        query = _waiting_ids_query(self._tables)
        waiting = known & self._seen_waiting
        for ids in batched(unseen):
            waiting |= set(self._connection.scalars(query, {"ids": ids}))
        self._seen_waiting -= known
        return waiting

    @property
    def _has_other_writers(self) -> bool:
        """Whether waiting runs may change meanwhile.

        Transactions of the application change them without the lock of the store's own. SQLite has
        one writer at a time.
        """
        return self._connection.dialect.name != "sqlite"

    def _lock_waiting(self, run_ids: Iterable[str]) -> Iterator[Row[Any]]:
        """Lock runs that wait, and yield something of each.

        One that a transaction of the application is changing is left out: that may take long, and
        others must not wait for it.
        """
        query = _lock_query(self._tables)
        for ids in batched(run_ids):
            yield from self._connection.execute(query, {"ids": ids})

    def _lock_unchanged(self, waiting_runs: Iterable[WaitingRun]) -> Iterator[str]:
        """Lock runs that wait as they are known, and yield their ids."""
        known = {run.id: run for run in waiting_runs if run.id is not None}
        for row in self._lock_waiting(known):
            run = known[row.id]
            is_due = row.not_before <= max(self._now, run.not_before)
            if is_due and load_payload(row.payload) == run.payload:
                yield row.id

    def _update_waiting(self, runs: Sequence[Run], shares: Mapping[str, Shares]) -> None:
        rows = [
            {
                "run_id": run.id,
                **make_claim_row(run, *self._claim_values, *shares.get(run.id, NO_SHARES)),
            }
            for run in runs
        ]
        if rows:
            self._connection.execute(_claim_update(self._tables), rows)

    def _select_ids(self, run_ids: Sequence[str]) -> set[str]:
        """Return those of these ids, which are all of one claim, that are on record."""
        if not run_ids:
            return set()
        ends = {"first": run_ids[0], "last": run_ids[-1]}
        return set(self._connection.scalars(_id_range_query(self._tables), ends))

    def enqueue(self, waiting_runs: Sequence[WaitingRun]) -> None:
        """Let runs wait for a later tick; one that waits already may begin as early as given."""
        new_runs = [run for run in waiting_runs if run.id is None]
        insert_new(self._session, self._tables.runs, make_waiting_rows(new_runs))
        runs = self._tables.runs
        for run in self._changeable(waiting_runs):
            statement = update(runs).where(runs.c.id == run.id, runs.c.not_before.is_not(None))
            values = {
                "not_before": run.not_before,
                "trigger": run.trigger.value,
                "reason": run.why.value,
            }
            self._connection.execute(statement.values(values))

    def dequeue(self, waiting_runs: Iterable[WaitingRun]) -> None:
        """Delete runs that wait for what will not come."""
        runs = self._tables.runs
        for ids in batched(str(run.id) for run in self._changeable(waiting_runs)):
            is_waiting = runs.c.not_before.is_not(None)
            self._connection.execute(delete(runs).where(runs.c.id.in_(ids), is_waiting))

    def _changeable(self, waiting_runs: Iterable[WaitingRun]) -> list[WaitingRun]:
        """Return those that are on record, and that nobody else is changing."""
        known = {run.id: run for run in waiting_runs if run.id is not None}
        if not self._has_other_writers:
            return list(known.values())
        return [known[row.id] for row in self._lock_waiting(known)]

    def request_cancels(self, run_ids: Sequence[str]) -> None:
        """Ask the owners of runs to cancel them."""
        runs = self._tables.runs
        for ids in batched(run_ids):
            self._connection.execute(
                update(runs).where(runs.c.id.in_(ids)).values(cancel_requested=1)
            )


@once_per_store
def _expired_query(tables: Tables) -> Select[Any]:
    return select(tables.runs).where(tables.runs.c.lease_until < bindparam("now"))


@once_per_store
def _waiting_query(tables: Tables) -> Select[Any]:
    runs = tables.runs
    is_one = runs.c.id.in_(bindparam("ids", expanding=True))
    return select(runs).where(is_one, runs.c.not_before.is_not(None))


@once_per_store
def _waiting_ids_query(tables: Tables) -> Select[Any]:
    runs = tables.runs
    is_one = runs.c.id.in_(bindparam("ids", expanding=True))
    return select(runs.c.id).where(is_one, runs.c.not_before.is_not(None))


@once_per_store
def _lock_query(tables: Tables) -> Select[Any]:
    runs = tables.runs
    is_one = runs.c.id.in_(bindparam("ids", expanding=True))
    query = select(runs.c.id, runs.c.not_before, runs.c.payload)
    return query.where(is_one, runs.c.not_before.is_not(None)).with_for_update(skip_locked=True)


@once_per_store
def _claim_key_query(tables: Tables) -> Select[Any]:
    runs = tables.runs
    is_same = [runs.c[key] == bindparam(f"a_{key}") for key in CLAIM_KEY]
    return select(runs).where(*is_same, runs.c.not_before.is_not(None))


@once_per_store
def _startable_query(tables: Tables) -> Select[Any]:
    return select(tables.runs).where(tables.runs.c.not_before <= bindparam("now"))


@once_per_store
def _fixed_delay_query(tables: Tables) -> Select[Any]:
    runs = tables.runs
    is_named = task_by_waiting_index(tables).in_(bindparam("tasks", expanding=True))
    is_of_schedule = runs.c.origin == SCHEDULE_ORIGIN
    return select(runs).where(is_named, is_of_schedule, runs.c.not_before.is_not(None))


@once_per_store
def _origins_query(tables: Tables) -> Select[Any]:
    runs = tables.runs
    is_of_schedule = runs.c.origin.in_(bindparam("origins", expanding=True))
    return select(runs).where(is_of_schedule, runs.c.not_before.is_not(None))


@once_per_store
def _claim_update(tables: Tables) -> Update:
    """Return the update that makes a waiting run a claimed or skipped one."""
    runs = tables.runs
    return (
        update(runs)
        .where(runs.c.id == bindparam("run_id"))
        .values({name: bindparam(name) for name in CLAIM_COLUMNS})
    )


@once_per_store
def _id_range_query(tables: Tables) -> Select[Any]:
    column = tables.runs.c.id
    return select(column).where(column.between(bindparam("first"), bindparam("last")))
