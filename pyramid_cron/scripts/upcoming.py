"""The commands about what is to come: next, simulate, schedules, and those of waiting runs."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Any

from ..planning.forecast import PlannedRun, following_slots, forecast, forecast_stored
from ..planning.schedule_book import BookEntry
from ..run import Run, RunState, Trigger
from ..schedule_arguments import SCHEDULE_ARGUMENTS
from ..schedule_control import ScheduleStatus, schedule_data
from ..serializers import run_detail, waiting_run_data
from ..store.waiting import find_by_key
from ..task import Task
from ..text import escape_unprintable, format_instant
from .context import (
    EXIT_FINE,
    CommandContext,
    CommandFailedError,
    CommandOutput,
    parse_duration_option,
    parse_payload_option,
)
from .explain import dst_note

WRITE_BATCH_LINES = 2000
"""Lines that are written at once."""


def next_slots(context: CommandContext) -> int:
    """``pcron … next``: of all, or of a task with its stored schedules, or of one of these."""
    args, out = context.args, context.output
    cron, book = context.cron, context.cron.schedule_book
    cron.refresh_schedules()
    entry = None if args.task in cron.task_registry.by_name else book.get(args.task or "")
    if args.task is not None and entry is None:
        cron.task_registry.get(args.task)
    rows = [
        (run, _slot_note(cron.find_task(run.task, run.schedule), run.slot))
        for run in islice(_planned_runs(context, args.task, entry), args.n)
    ]
    if out.is_json:
        out.print_json([{**_planned_run_data(run), "note": note} for run, note in rows])
    elif not rows:
        out.print_line("no slots are left")
    else:
        _show_slots(context, rows)
    return EXIT_FINE


def _planned_runs(
    context: CommandContext, name: str | None, entry: BookEntry | None
) -> Iterator[PlannedRun]:
    """Yield the slots to come of all, of the task of this name, or of a stored schedule."""
    cron = context.cron
    if entry is not None:
        task = cron.find_task(entry.task, entry.name)
        slots = () if task is None else following_slots(task, context.now)
        return (PlannedRun.of(slot, entry.task, entry.name) for slot in slots)
    tasks = cron.task_registry.tasks if name is None else (cron.task_registry.get(name),)
    own = heapq.merge(*(_task_slots(task, context.now) for task in tasks))
    if not len(cron.schedule_book):
        return own
    stored = forecast_stored(cron.task_registry.tasks, cron.schedule_book, context.now)
    wanted = (run for run in stored if name is None or run.task == name)
    return heapq.merge(own, wanted, key=attrgetter("slot"))


def _planned_run_data(run: PlannedRun) -> dict[str, Any]:
    return {"slot": run.slot, "task": run.task, "schedule": run.schedule}


def _show_slots(context: CommandContext, rows: list[tuple[PlannedRun, str]]) -> None:
    shown = {
        "SLOT": [context.output.format_time(run.slot) for run, _ in rows],
        "TASK": [run.task for run, _ in rows],
        "SCHEDULE": [run.schedule or "" for run, _ in rows],
        "NOTE": [note for _, note in rows],
    }
    columns = {head: cells for head, cells in shown.items() if any(cells)}
    context.output.print_table(list(columns), list(zip(*columns.values(), strict=True)))


def _task_slots(task: Task, after: datetime) -> Iterator[PlannedRun]:
    return (PlannedRun(slot, task.name) for slot in following_slots(task, after))


def _slot_note(task: Task | None, slot: datetime) -> str:
    return "" if task is None else dst_note(task.schedules, slot - timedelta(seconds=task.offset))


def simulate(context: CommandContext) -> int:
    """``pcron … simulate``: write slots as they are computed."""
    since, until = context.parse_range()
    tasks = context.cron.task_registry
    context.cron.refresh_schedules()
    book = context.cron.schedule_book
    planned_runs = forecast(tasks.tasks, tasks.calendar, since, until, book)
    if context.args.summary:
        _summarize(context, planned_runs)
    elif context.output.is_json:
        _write_batches(context.output, _json_lines(planned_runs))
    else:
        _write_batches(context.output, _plain_lines(context.output, planned_runs))
    return EXIT_FINE


@dataclass(slots=True)
class _Tally:
    """The number of slots of one task, the first and the last."""

    slots: int = 0
    first: datetime | None = None
    last: datetime | None = None


def _summarize(context: CommandContext, planned_runs: Iterable[PlannedRun]) -> None:
    tallies = {task.name: _Tally() for task in context.cron.task_registry.tasks}
    for slot, task in planned_runs:
        tally = tallies[task]
        tally.slots += 1
        tally.first = tally.first or slot
        tally.last = slot
    out = context.output
    if out.is_json:
        out.print_json([{"task": name, **asdict(tally)} for name, tally in tallies.items()])
        return
    rows = [
        [name, str(tally.slots), out.format_time(tally.first), out.format_time(tally.last)]
        for name, tally in tallies.items()
    ]
    if rows:
        out.print_table(["TASK", "SLOTS", "FIRST", "LAST"], rows)
    counts = [tally.slots for tally in tallies.values() if tally.slots]
    out.print_line(f"{sum(counts)} slots of {len(counts)} tasks")


def _plain_lines(out: CommandOutput, planned_runs: Iterable[PlannedRun]) -> Iterator[str]:
    for run in planned_runs:
        schedule = "" if run.schedule is None else f"  {escape_unprintable(run.schedule)}"
        yield f"{out.format_time(run.slot)}  {escape_unprintable(run.task)}{schedule}\n"


def _json_lines(planned_runs: Iterable[PlannedRun]) -> Iterator[str]:
    separator = "["
    for run in planned_runs:
        data = {"slot": format_instant(run.slot), "task": run.task, "schedule": run.schedule}
        yield f"{separator}\n{json.dumps(data)}"
        separator = ","
    yield "[]\n" if separator == "[" else "\n]\n"


def _write_batches(out: CommandOutput, lines: Iterator[str]) -> None:
    while batch := list(islice(lines, WRITE_BATCH_LINES)):
        out.write("".join(batch))


def schedule(context: CommandContext) -> int:
    """``pcron … schedule``."""
    args, out = context.args, context.output
    when: dict[str, Any] = {
        name: getattr(args, name) for name in SCHEDULE_ARGUMENTS if hasattr(args, name)
    }
    for name in ("at", "starting", "ending"):
        if when[name] is not None:
            when[name] = context.parse_moment(when[name], f"--{name}")
    payload = parse_payload_option(args.payload)
    status = context.scheduler.schedule(args.name, args.task, payload, not args.disabled, **when)
    if out.is_json:
        out.print_json(schedule_data(status))
        return EXIT_FINE
    name, task = escape_unprintable(status.name), escape_unprintable(status.task)
    upcoming = "disabled" if args.disabled else f"next {out.format_time(status.next)}"
    out.print_line(f"{name}: {task} {status.description}; {upcoming}")
    return EXIT_FINE


def unschedule(context: CommandContext) -> int:
    """``pcron … unschedule``."""
    name = context.args.name
    context.scheduler.unschedule(name)
    if context.output.is_json:
        context.output.print_json({"name": name, "removed": True})
    else:
        context.output.print_line(f"removed {escape_unprintable(name)}")
    return EXIT_FINE


def schedules(context: CommandContext) -> int:
    """``pcron … schedules``."""
    args, out = context.args, context.output
    statuses = context.scheduler.schedules(args.task)
    if not statuses and args.task is not None:
        context.cron.task_registry.get(args.task)
    if out.is_json:
        out.print_json([schedule_data(status) for status in statuses])
    elif not statuses:
        out.print_line("there are no stored schedules")
    else:
        rows = [_row(context, status) for status in statuses]
        out.print_table(["NAME", "TASK", "STATE", "NEXT", "WHEN"], rows)
    return EXIT_FINE


def _row(context: CommandContext, status: ScheduleStatus) -> list[str]:
    upcoming = context.output.format_time(status.next)
    return [status.name, status.task, status.state, upcoming, status.description]


def waiting(context: CommandContext) -> int:
    """``pcron … waiting``."""
    args, out, cron = context.args, context.output, context.cron
    runs = context.scheduler.waiting(args.task, args.limit, trigger=args.trigger)
    if not runs and args.task is not None and not cron.store.history(args.task, limit=1):
        cron.task_registry.get(args.task)
    if out.is_json:
        out.print_json([waiting_run_data(run) for run in runs])
    elif not runs:
        out.print_line("nothing waits")
    else:
        entries = [(_waiting_row(context, run), _describe_waiting(context, run)) for run in runs]
        out.print_entries(["RUN", "NOT BEFORE", "WHY", "TRIGGER"], entries)
        _print_rest(context, len(runs))
    return EXIT_FINE


def _waiting_row(context: CommandContext, run: Run) -> list[str]:
    why = run.why.value if run.why else "-"
    return [run.id, context.output.format_time(run.not_before), why, run.trigger.value]


def _describe_waiting(context: CommandContext, run: Run) -> str:
    """Return the task of a run, which may be long, and what else is known of it, in a line."""
    facts = [run.task]
    if run.attempt > 1:
        facts.append(f"attempt {run.attempt}")
    if run.slot != run.not_before:
        facts.append(f"slot {context.output.format_time(run.slot)}")
    if run.key is not None:
        facts.append(f"key {run.key}")
    if run.payload is not None:
        facts.append(f"payload {json.dumps(run.payload, ensure_ascii=False)}")
    return ", ".join(facts)


def _print_rest(context: CommandContext, shown: int) -> None:
    args = context.args
    if shown == args.limit:
        trigger = None if args.trigger is None else Trigger(args.trigger)
        total = context.cron.store.count_waiting(args.task, trigger)
        if total > shown:
            context.output.print_line(f"{shown} of {total} are shown; --limit shows more")


def defer(context: CommandContext) -> int:
    """``pcron … defer``."""
    args, out = context.args, context.output
    if args.replace and args.key is None:
        raise CommandFailedError("--replace needs --key KEY: which of those that wait to move")
    payload, when = parse_payload_option(args.payload), _parse_when(context)
    known = None if args.key is None else find_by_key(context.cron.store, args.task, args.key)
    run = context.scheduler.defer(args.task, payload, **when, key=args.key, replace=args.replace)
    if out.is_json:
        out.print_json(waiting_run_data(run))
    elif known is None or known.id != run.id:
        out.print_line(_describe_run(context, run))
    elif run.state is not RunState.WAITING:
        out.print_line(f"{_describe_run(context, run)}; it has the key, so nothing is deferred")
    else:
        key = "has been moved" if args.replace else "had the key already; --replace moves it"
        out.print_line(f"{_describe_run(context, run)}; it {key}")
    return EXIT_FINE


def reschedule(context: CommandContext) -> int:
    """``pcron … reschedule``."""
    run = context.scheduler.reschedule(context.args.run, **_parse_when(context))
    _print_waiting_run(context, run)
    return EXIT_FINE


def _parse_when(context: CommandContext) -> dict[str, Any]:
    """Return the moment or the interval of ``--at`` and ``--after``."""
    at, after = context.args.at, context.args.after
    return {
        "at": None if at is None else context.parse_moment(at, "--at"),
        "after": None if after is None else parse_duration_option(after, "--after"),
    }


def cancel(context: CommandContext) -> int:
    """``pcron … cancel``."""
    args, out = context.args, context.output
    if args.all is not None:
        return _cancel_all(context)
    if args.trigger is not None:
        raise CommandFailedError("--trigger goes with --all TASK: a run's id says which it is")
    run = context.scheduler.cancel(args.run)
    if out.is_json:
        out.print_json(run_detail(run))
    else:
        out.print_line(_describe_run(context, run))
    return EXIT_FINE


def _cancel_all(context: CommandContext) -> int:
    args, out = context.args, context.output
    count = context.scheduler.cancel_all(args.all, args.trigger)
    if out.is_json:
        out.print_json({"task": args.all, "trigger": args.trigger, "cancelled": count})
    else:
        runs = f"{count} waiting run{'' if count == 1 else 's'}"
        out.print_line(f"{runs} of {escape_unprintable(args.all)} cancelled")
    return EXIT_FINE


def retry(context: CommandContext) -> int:
    """``pcron … retry``."""
    _print_waiting_run(context, context.scheduler.retry(context.args.run))
    return EXIT_FINE


def _print_waiting_run(context: CommandContext, run: Run) -> None:
    if context.output.is_json:
        context.output.print_json(waiting_run_data(run))
    else:
        context.output.print_line(_describe_run(context, run))


def _describe_run(context: CommandContext, run: Run) -> str:
    """Return a run and what happens to it, in a line."""
    name = f"run {run.id} of {escape_unprintable(run.task)}"
    if run.state is RunState.WAITING:
        attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
        not_before = context.output.format_time(run.not_before)
        return f"{name} waits{attempt}, not before {not_before}"
    if run.state.is_active and run.is_cancel_requested:
        return f"{name} is {run.state}: cancellation requested"
    return f"{name} is {run.state}"
