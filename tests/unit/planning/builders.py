"""Plain values to plan with, short to write: tasks, active and waiting runs, pauses and moments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pyramid_cron.planning.followups import followups
from pyramid_cron.planning.slots import SlotCalendar, slots_since, window_start
from pyramid_cron.planning.snapshot import ActiveRun, PauseRule, Snapshot, WaitingRun
from pyramid_cron.planning.tick_plan import DueTask, TickPlan, blocking_runs, plan_tick
from pyramid_cron.run import SCHEDULE_ORIGIN, Run, RunState, Trigger, first_id
from pyramid_cron.schedule import At, Cron, Every
from pyramid_cron.task import ONE_ATTEMPT, REQUEST_EXECUTOR, CatchUp, Overlap, Retry, Task

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

MONDAY = "2026-06-15"

EACH_MINUTE = Cron("* * * * *")

BY_HAND = "adhoc:7"
"""An origin as runs by hand have."""


def at(text: str) -> datetime:
    """Return a moment in UTC: ``"12:05"``, ``"12:05:30"``, ``"2026-06-16 12:05"``."""
    day, _, time = text.rpartition(" ")
    return datetime.fromisoformat(f"{day or MONDAY}T{time}+00:00")


def show(moment: datetime) -> str:
    """Return a moment as ``at`` reads it."""
    time = moment.replace(tzinfo=None)
    text = time.isoformat(" ", "minutes" if time.second == 0 == time.microsecond else "auto")
    return text.removeprefix(f"{MONDAY} ")


def moments(*texts: str) -> list[datetime]:
    """Return several moments."""
    return [at(text) for text in texts]


def task(
    name: str = "a",
    schedule: Cron | Every | At | None = EACH_MINUTE,
    *,
    idle: bool = False,
    priority: int = 0,
    overlap: str = "skip",
    catch_up: str = "once",
    grace: timedelta | None = HOUR,
    retry: Retry = ONE_ATTEMPT,
    timeout: timedelta | None = None,
    offset: int = 0,
    executor: str = REQUEST_EXECUTOR,
    weight: int = 1,
    lock: str | None = None,
) -> Task:
    """Return a task, due each minute unless its schedule says otherwise; None is on demand."""
    return Task(
        name,
        print,
        () if schedule is None else (schedule,),
        "UTC",
        idle=idle,
        priority=priority,
        overlap=Overlap(overlap),
        catch_up=CatchUp(catch_up),
        grace=grace,
        retry=retry,
        timeout=timeout,
        offset=offset,
        executor=executor,
        weight=weight,
        lock=lock,
    )


def waiting(
    name: str = "a",
    slot: str = "12:00",
    trigger: Trigger = Trigger.SCHEDULE,
    *,
    since: str | None = None,
    attempt: int = 1,
    origin: str = SCHEDULE_ORIGIN,
    payload: str | None = None,
) -> WaitingRun:
    """Return a run that waits on record; ``since`` is when it may begin, by default at its slot."""
    not_before = at(slot if since is None else since)
    return on_record(WaitingRun(name, at(slot), trigger, not_before, attempt, origin, payload))


def on_record(new: WaitingRun) -> WaitingRun:
    """Return a new waiting run as the store has it: with an id."""
    return replace(new, id=f"{new.task} {show(new.slot)} {new.attempt} {new.origin}")


def run(
    name: str = "a",
    slot: str = "12:00",
    state: RunState = RunState.SUCCEEDED,
    *,
    finished: str | None = None,
    attempt: int = 1,
    origin: str = SCHEDULE_ORIGIN,
    trigger: Trigger = Trigger.SCHEDULE,
    error: str | None = None,
    payload: str | None = None,
    is_cancel_requested: bool = False,
    is_given_up: bool = False,
    retry_after: timedelta | None = None,
) -> Run:
    """Return a run that began when it was due and is over; by default it took one second."""
    began = at(slot)
    return Run(
        run_id(began),
        name,
        began,
        attempt,
        trigger,
        state,
        "web1",
        4711,
        started=began,
        finished=began + SECOND if finished is None else at(finished),
        error=error,
        payload=payload,
        origin=origin,
        claimed=began,
        is_cancel_requested=is_cancel_requested,
        is_given_up=is_given_up,
        retry_after=retry_after,
    )


def run_id(moment: datetime) -> str:
    """Return the id of a run that was claimed at a moment."""
    return f"{first_id(moment)}{'0' * 14}"


def active(
    name: str = "a",
    slot: str = "12:00",
    state: RunState = RunState.RUNNING,
    *,
    lease: str = "13:00",
    origin: str = SCHEDULE_ORIGIN,
    weight: int = 0,
    lock: str | None = None,
) -> ActiveRun:
    """Return a run that began at its slot, or was only claimed then."""
    began = at(slot)
    started = began if state is RunState.RUNNING else None
    ongoing = replace(run(name, slot, state, origin=origin), started=started, finished=None)
    return ActiveRun(ongoing, at(lease), weight, lock)


def pause(
    pattern: str = "*", since: str = "11:00", until: str | None = None, reason: str | None = None
) -> PauseRule:
    """Return that tasks are paused."""
    return PauseRule(at(since), True, pattern, None if until is None else at(until), reason)


def resume(pattern: str = "*", since: str = "11:30") -> PauseRule:
    """Return that tasks are resumed."""
    return PauseRule(at(since), False, pattern)


def due(task: Task, *slots: str, position: int = 0) -> DueTask:
    """Return a task with its slots since the last tick."""
    return DueTask(task, position, moments(*slots))


def snapshot(
    *,
    stored: Iterable[WaitingRun] = (),
    ripe: Iterable[WaitingRun] | None = None,
    running: Iterable[ActiveRun] = (),
    pauses: Sequence[PauseRule] = (),
    last_tick: str | None = None,
) -> Snapshot:
    """Return what the store knew; all ``stored`` runs may begin, if not only ``ripe`` ones."""
    pending = list(stored)
    runs: dict[str, list[ActiveRun]] = {}
    for ongoing in running:
        runs.setdefault(ongoing.run.task, []).append(ongoing)
    upcoming: dict[str, list[WaitingRun]] = {}
    for slot in pending:
        if slot.origin == SCHEDULE_ORIGIN:
            upcoming.setdefault(slot.task, []).append(slot)
    return Snapshot(
        waiting=pending if ripe is None else list(ripe),
        active=runs,
        fixed_delay_waiting=upcoming,
        pause_rules=pauses,
        last_tick=None if last_tick is None else at(last_tick),
    )


def plan_at(
    moment: str,
    *tasks: DueTask,
    stored: Iterable[WaitingRun] = (),
    running: Iterable[ActiveRun] = (),
    pauses: Sequence[PauseRule] = (),
    last_tick: str | None = None,
    capacity: int = 0,
) -> TickPlan:
    """Return what a tick at a moment does; of the ``stored`` runs, those may begin that are due."""
    now, pending = at(moment), list(stored)
    stored_snapshot = snapshot(
        stored=pending,
        ripe=[slot for slot in pending if slot.not_before <= now],
        running=running,
        pauses=pauses,
        last_tick=last_tick,
    )
    plan = plan_tick(tasks, stored_snapshot, now, capacity)
    assert_has_one_fate(plan)
    return plan


def slots(pending: Iterable[WaitingRun]) -> list[str]:
    """Return tasks and slots, such as ``"a 12:05"``."""
    return [f"{slot.task} {show(slot.slot)}" for slot in pending]


def skips(plan: TickPlan) -> list[str]:
    """Return what a plan skips and why, with a count such as ``"a 12:05 missed 3"``."""
    return [f"{skip.task} {show(skip.newest)} {skip.reason} {skip.count}" for skip in plan.skipped]


def skipped_runs(plan: TickPlan) -> list[WaitingRun]:
    """Return the waiting runs that a plan skips: each becomes the record of that, alone."""
    with_runs = [skip for skip in plan.skipped if skip.waiting_run is not None]
    assert all(skip.count == 1 for skip in with_runs)
    return [skip.waiting_run for skip in with_runs if skip.waiting_run is not None]


def assert_has_one_fate(plan: TickPlan) -> None:
    """Check that each run begins, is skipped, is deleted or waits, and that only one happens."""
    ends = [*plan.run_now, *plan.background, *skipped_runs(plan), *plan.dequeue]
    waits = {*map(key, (*plan.enqueue, *plan.backlog, *plan.idle, *plan.restarts))}
    waits.update(map(key, plan.over_capacity))
    keys = list(map(key, ends))
    assert len(keys) == len(set(keys))
    assert waits.isdisjoint(keys)


def key(pending: WaitingRun) -> tuple[str, datetime, int, str]:
    """Return the key of a run."""
    return pending.task, pending.slot, pending.attempt, pending.origin


def calendar(*tasks: Task) -> SlotCalendar:
    """Return the slots of several tasks together."""
    return SlotCalendar([(task.schedules, task.offset) for task in tasks])


@dataclass
class Timeline:
    """Ticks in a row, without a store: what the plans say is done, and each run ends alike.

    A run takes ``duration`` and ends in ``state``. Of what may wait, ``spare`` runs find time at
    each tick.
    """

    tasks: Sequence[Task]
    duration: timedelta = timedelta(0)
    state: RunState = RunState.SUCCEEDED
    spare: int = 1000
    capacity: int = 0
    pauses: list[PauseRule] = field(default_factory=list)
    stored: list[WaitingRun] = field(default_factory=list)
    running: list[ActiveRun] = field(default_factory=list)
    runs: list[WaitingRun] = field(default_factory=list)
    plans: list[TickPlan] = field(default_factory=list)
    last_tick: datetime | None = None
    _calendar: SlotCalendar = field(init=False)

    def __post_init__(self) -> None:
        self._calendar = calendar(*self.tasks)

    def tick(self, now: datetime) -> list[str]:
        """Make a tick; return the slots that run."""
        self._end_runs(now)
        plan = self._plan(now)
        assert_has_one_fate(plan)
        self.plans.append(plan)
        self._remove(plan.dequeue)
        self._remove(skip.waiting_run for skip in plan.skipped if skip.waiting_run is not None)
        self._store(plan.enqueue)
        self.running = [
            ongoing for ongoing in self.running if ongoing.run.id not in plan.cancel_ids
        ]
        count = len(self.runs)
        for slot in (*plan.run_now, *plan.restarts, *plan.background):
            self._begin(slot, now)
        for slot in (*plan.backlog, *plan.idle)[: self.spare]:
            if not blocking_runs(self._task(slot.task), self._running_of(slot.task), slot.origin):
                self._begin(slot, now)
        self.last_tick = now
        return slots(self.runs[count:])

    def ticks(self, first: str, last: str, step: timedelta = MINUTE) -> list[str]:
        """Make ticks in equal steps, both ends included; return the slots that run."""
        moment, end, lines = at(first), at(last), list[str]()
        while moment <= end:
            lines += self.tick(moment)
            moment += step
        return lines

    def skips(self) -> list[str]:
        """Return what has been skipped so far, as the function of this name does."""
        return [line for plan in self.plans for line in skips(plan)]

    def skip_count(self) -> int:
        """Return how many slots have been skipped so far."""
        return sum(skip.count for plan in self.plans for skip in plan.skipped)

    def _plan(self, now: datetime) -> TickPlan:
        start = window_start(now, self.last_tick)
        windows = dict(slots_since(self.tasks, self._calendar, start, now))
        stored_snapshot = snapshot(
            stored=self.stored,
            ripe=[slot for slot in self.stored if slot.not_before <= now],
            running=self.running,
            pauses=self.pauses,
            last_tick=None if self.last_tick is None else show(self.last_tick),
        )
        ripe = {slot.task for slot in stored_snapshot.waiting}
        tasks = [
            DueTask(task, position, windows.get(position, ()))
            for position, task in enumerate(self.tasks)
            if position in windows or task.name in ripe
        ]
        return plan_tick(tasks, stored_snapshot, now, self.capacity)

    def _begin(self, slot: WaitingRun, now: datetime) -> None:
        assert key(slot) not in map(key, self.runs), f"{slot} runs twice"
        self._remove([slot])
        self.runs.append(slot)
        task = self._task(slot.task)
        ongoing = replace(
            run(slot.task, show(slot.slot), self.state, attempt=slot.attempt, origin=slot.origin),
            id=str(len(self.runs)),
            started=now,
            finished=now + self.duration,
        )
        weight = 0 if task.executor == REQUEST_EXECUTOR else task.weight
        self.running.append(ActiveRun(ongoing, now + DAY, weight))
        if not self.duration:
            self._end_runs(now)

    def _end_runs(self, now: datetime) -> None:
        """End the runs whose time is over, with what follows them."""
        for ongoing in list(self.running):
            finished = ongoing.run.finished
            if finished is not None and finished <= now:
                self.running.remove(ongoing)
                self._store(followups(self._task(ongoing.run.task), ongoing.run))

    def _task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)

    def _running_of(self, name: str) -> list[ActiveRun]:
        return [ongoing for ongoing in self.running if ongoing.run.task == name]

    def _store(self, pending: Iterable[WaitingRun]) -> None:
        """Put new slots on record, unless they are there; one with an id takes another place."""
        for slot in pending:
            stored = [one for one in self.stored if key(one) == key(slot)]
            if slot.id is not None:
                self.stored = [slot if one in stored else one for one in self.stored]
            elif not stored:
                self.stored.append(on_record(slot))

    def _remove(self, pending: Iterable[WaitingRun]) -> None:
        keys = set(map(key, pending))
        self.stored = [slot for slot in self.stored if key(slot) not in keys]
