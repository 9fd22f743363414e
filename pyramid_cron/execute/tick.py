"""One tick: find what is due, claim it, carry it out, record it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any

from pyramid.request import Request

from .. import events, logs
from ..clock import Stopwatch
from ..due.decide import Decisions, Due, decide, fits, in_the_way, overlapping
from ..due.facts import Facts, Pending
from ..due.window import slots_since, window_start, window_starts
from ..run import Run, RunState, Trigger, as_payload, new_batch
from ..state import Cronwork, Tasks
from ..store.outcomes import Tick
from ..store.store import Glance
from ..task import REQUEST, Task
from .carry import carrying
from .launch import Launch
from .live import current
from .runner import Runner
from .transaction import between_transactions

RECENT = 20
"""How many of an idle task's latest successes tell its usual duration."""

RESTART_PATIENCE = 5.0
"""Seconds that a tick waits for a run to stop that is to be restarted."""


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one tick did: its id and moment (aware, UTC), the runs it made, the slots it skipped.

    ``waiting`` are slots that are due and wait for a later tick. Runs outside the request are only
    ``claimed``: they begin after the answer.
    """

    tick: str
    now: datetime
    runs: tuple[Run, ...] = ()
    skipped: tuple[Run, ...] = ()
    waiting: tuple[Pending, ...] = ()


@dataclass(slots=True)
class _Progress:
    """What a tick has done so far."""

    runs: list[Run] = field(default_factory=list)
    skipped: list[Run] = field(default_factory=list)
    waiting: list[Pending] = field(default_factory=list)

    def add(self, run: Run | None) -> None:
        if run is not None:
            (self.skipped if run.state is RunState.SKIPPED else self.runs).append(run)


def tick(cron: Cronwork, request: Request, now: datetime) -> TickReport:
    """Run what is due at ``now`` (aware, UTC), in the request; return what was done.

    Raises StoreError if nothing could be claimed, in which case no task has run, or if the outcome
    could not be written, which is then tried again later.
    """
    clock = Stopwatch(now)
    cron.look_around(now)
    tasks = cron.tasks
    _open(cron, request)
    glance = cron.store.glance(now)
    owner = cron.store.owner
    this = Tick(new_batch(now), now, tasks.roster, owner.host, owner.pid)
    _announce(request, events.TickStarted, this.id, now)
    due = _due(cron, tasks, glance, now)
    first = next(due, None)
    if first is None and not glance.busy:
        logs.nothing_due(now)
        cron.latest = now
        cron.journal.note_tick(this, tasks.by_name)
        cron.supervisor.wake()
        report = TickReport(this.id, now)
        _announce(request, events.TickFinished, report)
        return report
    launch = Launch(cron, tasks, request, clock)
    with launch.expected(), carrying(cron, request, clock) as runner:
        found = due if first is None else chain([first], due)
        done = _carry_out(cron, runner, launch, tasks, this, found)
        report = TickReport(
            this.id, now, tuple(done.runs), tuple(done.skipped), tuple(done.waiting)
        )
        counted = replace(this, runs=len(report.runs), skipped=len(report.skipped))
        cron.journal.note_tick(counted, tasks.by_name)
    _announce(request, events.TickFinished, report)
    return report


def _announce(request: Request, kind: type[events.Event], *values: Any) -> None:
    """Tell of the tick itself."""

    def call(subscriber: events.Subscriber, event: events.Event) -> None:
        with between_transactions(request) as transactions:
            transactions.call(subscriber, event)

    events.notify(kind, request, *values, call=call)


def _open(cron: Cronwork, request: Request) -> None:
    """See to it that the store is there, with no transaction open that could stand in its way."""
    if not cron.store.is_open:
        with between_transactions(request):
            cron.store.open()


def _due(cron: Cronwork, tasks: Tasks, glance: Glance, now: datetime) -> Iterator[Due]:
    """Yield the tasks that have slots since the last tick that knew them."""
    last_ticks = dict(glance.last_ticks)
    mine = last_ticks.pop(tasks.roster, None)
    if cron.latest is not None and cron.latest <= now:
        # A tick that found nothing to do reaches the store a moment later.
        mine = cron.latest if mine is None else max(mine, cron.latest)
    # A last tick that is still to come was made by a clock that was wrong.
    known = {id_: moment for id_, moment in last_ticks.items() if moment <= now}
    newer = [id_ for id_, moment in known.items() if mine is None or moment > mine]
    starts: list[datetime] | datetime = window_start(now, mine)
    if newer:
        starts = window_starts(tasks.by_name, now, mine, cron.store.rosters(newer))
    for position, slots in slots_since(tasks.all, tasks.index, starts, now):
        yield Due(tasks.all[position], position, slots)


def _carry_out(
    cron: Cronwork,
    runner: Runner,
    launch: Launch,
    tasks: Tasks,
    this: Tick,
    due: Iterable[Due],
) -> _Progress:
    """Claim and run what is due, then what may wait while there is time."""
    with cron.supervisor.deciding(runner.clock) as desk:
        lost = desk.expire(cron.outcome, tasks.by_name)
        facts = desk.facts(tasks.paced)
        last = desk.roll_call(this, tasks.by_name)
        if last is not None:  # else it may be this clock that is wrong
            desk.shorten(facts.active)
        found = _with_waiting(_left(due, last), tasks, facts)
        decisions = decide(found, facts, this.moment, cron.settings.capacity)
        desk.keep(decisions.keep)
        desk.drop(decisions.drop)
        desk.cancel(decisions.cancel)
        claimed, skipped = desk.claim(decisions.now, decisions.skipped)
        apart, _ = desk.claim(decisions.apart, weigh=tasks.weight)
    cron.latest = this.moment
    cron.supervisor.hold(apart, runner.clock)
    launch.add(apart)
    done = _Progress(skipped=skipped, waiting=decisions.queued)
    with cron.supervisor.holding(claimed, runner.clock):
        for run in (*lost, *skipped):
            runner.ended(run)
        for run in claimed:
            done.add(runner.carry_out(tasks.named(run.task), run))
    _restart(cron, runner, launch, tasks, decisions, done)
    _while_time_is_left(cron, runner, tasks, decisions, done)
    done.runs += apart
    return done


def _left(due: Iterable[Due], last: datetime | None) -> Iterator[Due]:
    """Yield what is due without the slots that another tick has seen to since this one looked."""
    for each in due:
        if last is None or each.slots[0] > last:
            yield each
        elif slots := [slot for slot in each.slots if slot > last]:
            yield each._replace(slots=slots)


def _with_waiting(due: Iterable[Due], tasks: Tasks, facts: Facts) -> Iterator[Due]:
    """Yield the tasks that are due, and those for which only something that waits is ripe."""
    waiting = {each.task for each in facts.waiting}
    for each in due:
        waiting.discard(each.task.name)
        yield each
    for name in waiting:
        if name in tasks.by_name:
            yield Due(tasks.by_name[name], tasks.position(name))


def _restart(
    cron: Cronwork,
    runner: Runner,
    launch: Launch,
    tasks: Tasks,
    decisions: Decisions,
    done: _Progress,
) -> None:
    """Run what was to wait for a run to stop, if that stops soon; else a later tick does."""
    give_up = time.monotonic() + RESTART_PATIENCE
    for each in decisions.restart:
        run = _claim_soon(cron, runner, tasks, each, lambda: time.monotonic() < give_up)
        if run is not None and tasks.named(each.task).executor != REQUEST:
            launch.add([run])
            done.add(run)
        else:
            _carry_out_one(runner, tasks, each, run, done)


def _while_time_is_left(
    cron: Cronwork, runner: Runner, tasks: Tasks, decisions: Decisions, done: _Progress
) -> None:
    for each in decisions.patient:
        run = _claim_one(cron, runner, tasks, each) if runner.time_left() > 0 else None
        _carry_out_one(runner, tasks, each, run, done)
    for each in decisions.idle:
        others = decisions.idle_cancel.get(each.task, ())
        run = _claim_idle(cron, runner, tasks, each, others)
        _carry_out_one(runner, tasks, each, run, done)


def _carry_out_one(
    runner: Runner, tasks: Tasks, each: Pending, run: Run | None, done: _Progress
) -> None:
    if run is None:
        done.waiting.append(each)
    else:
        done.add(runner.carry_out(tasks.named(each.task), run))


def _fits(cron: Cronwork, runner: Runner, each: Pending) -> bool:
    """Return whether an idle task may start now."""
    time_left = runner.time_left()
    return time_left > 0 and fits(time_left, cron.store.durations(each.task, RECENT))


def _claim_idle(
    cron: Cronwork, runner: Runner, tasks: Tasks, each: Pending, others: Sequence[str]
) -> Run | None:
    """Claim an idle slot if it fits, and still does once the others have stopped."""
    give_up = time.monotonic() + RESTART_PATIENCE
    if not _fits(cron, runner, each):
        return None
    if others:
        with cron.supervisor.deciding(runner.clock) as desk:
            desk.cancel(others)

    def patient() -> bool:
        return bool(others) and time.monotonic() < give_up and _fits(cron, runner, each)

    return _claim_soon(cron, runner, tasks, each, patient)


def _claim_soon(
    cron: Cronwork, runner: Runner, tasks: Tasks, each: Pending, patient: Callable[[], bool]
) -> Run | None:
    """Claim what may have to wait for a run to stop; None if that takes more than patience."""
    run = _claim_one(cron, runner, tasks, each)
    while run is None and patient():
        time.sleep(0.1)
        run = _claim_one(cron, runner, tasks, each)
    return run


def _claim_one(cron: Cronwork, runner: Runner, tasks: Tasks, each: Pending) -> Run | None:
    """Claim what waits just before it runs; None if it has to wait on, or somebody has it."""
    task = tasks.named(each.task)
    with cron.supervisor.deciding(runner.clock) as desk:
        if in_the_way(task, desk.active(task.name), each.nonce):
            return None
        outside = task.executor != REQUEST
        if outside and desk.load() + task.weight > cron.settings.capacity:
            return None
        desk.drop([each])
        claimed, _ = desk.claim([each], weigh=tasks.weight)
    cron.supervisor.hold(claimed, runner.clock)
    return claimed[0] if claimed else None


def run_by_hand(
    cron: Cronwork, request: Request, task: Task, payload: Any, now: datetime, *, keep: bool = False
) -> Run:
    """Run one task at once, whatever its schedule says; return the run as it ended.

    What was done before in the request is committed; with ``keep`` it is raised if that fails.

    It is skipped, with the reason ``overlap``, while another run of the task goes on, unless the
    task's ``overlap`` allows that. Raises TypeError or ValueError for a payload that is not JSON.
    """
    given = as_payload(payload)
    asked = Pending(
        task.name, now, Trigger.MANUAL, now, nonce=secrets.randbits(62) + 2, payload=given
    )
    caller = current.get()
    with carrying(cron, request, Stopwatch(now), keep=keep or caller is not None) as runner:
        with cron.supervisor.deciding(runner.clock) as desk:
            if active := in_the_way(task, desk.active(task.name)):
                skip = replace(overlapping(task, [now], active), asked=asked)
                _, [run] = desk.claim([], [skip])
            else:
                [run], _ = desk.claim([asked])
        if run.state is RunState.SKIPPED:
            runner.ended(run)
        else:
            with cron.supervisor.holding([run], runner.clock):
                run = runner.carry_out(task, run) or run
    if caller is not None:
        caller.heed()
    return run
