"""One tick: find what is due, claim it, carry it out, record it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pyramid.request import Request

from .. import events, logs
from ..clock import Stopwatch
from ..due.catch_up import MANY, NO_COUNTS, condense
from ..due.decide import Due, decide
from ..due.facts import Facts, Pending
from ..due.pauses import changes
from ..due.slots import slots_since, window_start, window_starts
from ..run import Run, new_batch
from ..state import Cronwork, Tasks
from ..store.outcomes import Tick
from ..store.store import Glance
from .carry import carrying
from .later import Progress, restart, while_time_is_left
from .launch import Launch
from .runner import Runner
from .transaction import between_transactions


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
    if not (due or glance.busy):
        logs.nothing_due(now)
        cron.latest = now
        cron.journal.note_tick(this, tasks.by_name)
        cron.supervisor.wake()
        report = TickReport(this.id, now)
        _announce(request, events.TickFinished, report)
        return report
    launch = Launch(cron, tasks, request, clock)
    with launch.expected(), carrying(cron, request, clock) as runner:
        done = _carry_out(cron, runner, launch, tasks, this, due)
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


def _due(cron: Cronwork, tasks: Tasks, glance: Glance, now: datetime) -> list[Due]:
    """Return the tasks that have slots since the last tick that knew them."""
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
    due: list[Due] = []
    pauses: Collection[datetime] | None = None
    for position, slots in slots_since(tasks.all, tasks.calendar, starts, now):
        task, counts = tasks.all[position], NO_COUNTS
        if len(slots) > MANY:
            # Whoever else ticks waits while this tick decides, so little must be left to do then.
            # A pause that is said from now on begins now: it changes nothing for slots before.
            pauses = changes(cron.store.words()) if pauses is None else pauses
            slots, counts = condense(task, slots, now, pauses)
        due.append(Due(task, position, slots, counts))
    # What is skipped is put on record in this order.
    due.sort(key=lambda each: (each.slots[0], each.position))
    return due


def _carry_out(
    cron: Cronwork,
    runner: Runner,
    launch: Launch,
    tasks: Tasks,
    this: Tick,
    due: Iterable[Due],
) -> Progress:
    """Claim and run what is due, then what may wait while there is time."""
    with cron.supervisor.deciding(runner.clock) as desk:
        lost = desk.expire(cron.outcome, tasks.by_name)
        facts = desk.facts(tasks.paced)
        last = desk.roll_call(this, tasks.by_name)
        if last is not None:  # else it may be this clock that is wrong
            desk.shorten(facts.active)
        found = _with_waiting(_left(due, last), tasks, facts)
        known = replace(facts, last_tick=last)
        decisions = decide(found, known, this.moment, cron.settings.capacity)
        desk.drop(decisions.drop)
        desk.keep(decisions.keep)
        desk.cancel(decisions.cancel)
        claimed, skipped = desk.claim(decisions.now, decisions.skipped)
        apart, _ = desk.claim(decisions.apart, weigh=tasks.weight)
    cron.latest = this.moment
    cron.supervisor.hold(apart, runner.clock)
    launch.add(apart)
    done = Progress(skipped=skipped, waiting=decisions.queued)
    with cron.supervisor.holding(claimed, runner.clock):
        for run in (*lost, *skipped):
            runner.ended(run)
        for run in claimed:
            done.add(runner.carry_out(tasks.named(run.task), run))
    restart(cron, runner, launch, tasks, decisions, done)
    while_time_is_left(cron, runner, tasks, decisions, done)
    done.runs += apart
    return done


def _left(due: Iterable[Due], last: datetime | None) -> Iterator[Due]:
    """Yield what is due without the slots that another tick has seen to since this one looked."""
    for each in due:
        if last is None or each.slots[0] > last:
            yield each
        elif slots := each.after(last):
            yield each._replace(slots=slots, counts=NO_COUNTS)


def _with_waiting(due: Iterable[Due], tasks: Tasks, facts: Facts) -> Iterator[Due]:
    """Yield the tasks that are due, and those for which only something that waits is ripe."""
    waiting = {each.task for each in facts.waiting}
    for each in due:
        waiting.discard(each.task.name)
        yield each
    for name in waiting:
        if name in tasks.by_name:
            yield Due(tasks.by_name[name], tasks.position(name))
