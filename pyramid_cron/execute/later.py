"""What a tick does last: what waits for another run to stop, or runs only while there is time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from .. import logs
from ..due.decide import Decisions, in_the_way, usual_duration
from ..due.facts import Pending
from ..due.pauses import paused
from ..run import Run, RunState
from ..state import Cronwork, Tasks
from ..task import REQUEST
from .launch import Launch
from .runner import Runner

RECENT = 20
"""How many of an idle task's latest successes tell its usual duration."""

RESTART_PATIENCE = 5.0
"""Seconds that a tick waits for a run to stop that is to be restarted."""


class Left(Enum):
    """Why a slot is not claimed just now.

    A run is ``IN_THE_WAY``, or else it ``WAITS`` for a later tick, or somebody has ``TAKEN`` it.
    """

    IN_THE_WAY = "in the way"
    WAITS = "waits"
    TAKEN = "taken"


@dataclass(slots=True)
class Progress:
    """What a tick has done so far.

    ``too_long`` are the idle tasks of which it has said that they never fit into a tick.
    """

    runs: list[Run] = field(default_factory=list)
    skipped: list[Run] = field(default_factory=list)
    waiting: list[Pending] = field(default_factory=list)
    too_long: set[str] = field(default_factory=set)

    def add(self, run: Run | None) -> None:
        """Add a run as it ended; None is one that somebody else took for lost."""
        if run is not None:
            (self.skipped if run.state is RunState.SKIPPED else self.runs).append(run)


def restart(
    cron: Cronwork,
    runner: Runner,
    launch: Launch,
    tasks: Tasks,
    decisions: Decisions,
    done: Progress,
) -> None:
    """Run what was to wait for a run to stop, if that stops soon; else a later tick does."""
    give_up = time.monotonic() + RESTART_PATIENCE
    begun: set[str] = set()
    for each in decisions.restart:
        if each.task in begun:  # outside, that ends only after this tick
            done.waiting.append(each)
            continue
        run = _claim_soon(cron, runner, tasks, each, lambda: time.monotonic() < give_up)
        if isinstance(run, Run) and tasks.named(each.task).executor != REQUEST:
            begun.add(each.task)
            launch.add([run])
            done.add(run)
        else:
            _carry_out_one(runner, tasks, each, run, done)


def while_time_is_left(
    cron: Cronwork, runner: Runner, tasks: Tasks, decisions: Decisions, done: Progress
) -> None:
    """Run what catches up and what is idle; what finds no time waits for a later tick."""
    for each in decisions.patient:
        run = _claim_one(cron, runner, tasks, each) if runner.time_left() > 0 else Left.WAITS
        _carry_out_one(runner, tasks, each, run, done)
    for each in decisions.idle:
        others = decisions.idle_cancel.get(each.task, ())
        run = _claim_idle(cron, runner, tasks, each, others, done)
        _carry_out_one(runner, tasks, each, run, done)


def _carry_out_one(
    runner: Runner, tasks: Tasks, each: Pending, run: Run | Left, done: Progress
) -> None:
    if isinstance(run, Left):
        if run is not Left.TAKEN:
            done.waiting.append(each)
    else:
        done.add(runner.carry_out(tasks.named(each.task), run))


def _fits(cron: Cronwork, runner: Runner, each: Pending, done: Progress) -> bool:
    """Return whether an idle task may start now; say so if it never may."""
    time_left, budget = runner.time_left(), cron.settings.budget
    if time_left <= 0:
        return False
    usual = usual_duration(cron.store.durations(each.task, RECENT))
    if usual > budget and each.task not in done.too_long:
        done.too_long.add(each.task)
        logs.never_fits(each.task, usual, budget)
    return usual <= time_left


def _claim_idle(
    cron: Cronwork,
    runner: Runner,
    tasks: Tasks,
    each: Pending,
    others: Sequence[str],
    done: Progress,
) -> Run | Left:
    """Claim an idle slot if it fits, and still does once the others have stopped."""
    give_up = time.monotonic() + RESTART_PATIENCE
    if not _fits(cron, runner, each, done):
        return Left.WAITS
    if others:
        with cron.supervisor.deciding(runner.clock) as desk:
            desk.cancel(others)

    def patient() -> bool:
        return bool(others) and time.monotonic() < give_up and _fits(cron, runner, each, done)

    return _claim_soon(cron, runner, tasks, each, patient)


def _claim_soon(
    cron: Cronwork, runner: Runner, tasks: Tasks, each: Pending, patient: Callable[[], bool]
) -> Run | Left:
    """Claim what may have to wait for a run to stop, unless that takes more than patience."""
    run = _claim_one(cron, runner, tasks, each)
    while run is Left.IN_THE_WAY and patient():
        time.sleep(0.1)
        run = _claim_one(cron, runner, tasks, each)
    return run


def _claim_one(cron: Cronwork, runner: Runner, tasks: Tasks, each: Pending) -> Run | Left:
    """Claim what waits just before it runs, if it still may."""
    task = tasks.named(each.task)
    with cron.supervisor.deciding(runner.clock) as desk:
        active = desk.active(task.name)
        if any(_is_of(run.run, each) for run in active):
            return Left.TAKEN
        if paused(task.name, runner.clock.now(), desk.words()):
            return Left.WAITS
        if in_the_way(task, active, each.nonce):
            return Left.IN_THE_WAY
        outside = task.executor != REQUEST
        if outside and desk.load() + task.weight > cron.settings.capacity:
            return Left.WAITS
        desk.drop([each])
        claimed, _ = desk.claim([each], weigh=tasks.weight)
    cron.supervisor.hold(claimed, runner.clock)
    return claimed[0] if claimed else Left.TAKEN


def _is_of(run: Run, each: Pending) -> bool:
    """Return whether a run is one of this slot."""
    return (run.slot, run.attempt, run.nonce) == (each.slot, each.attempt, each.nonce)
