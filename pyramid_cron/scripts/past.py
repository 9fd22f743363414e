"""What ran: the newest runs, and all there is to say of one."""

from __future__ import annotations

from ..run import Run
from .context import Context
from .errors import FINE, CommandFailedError
from .output import run_data, seconds


def history(context: Context) -> int:
    """``pcron … history``."""
    args, out = context.args, context.out
    runs = context.scheduler.history(args.task, args.state, args.limit)
    if not runs and args.task is not None and not context.scheduler.history(args.task, limit=1):
        context.cron.tasks.named(args.task)
    if out.as_json:
        out.json([run_data(run) for run in runs])
    elif not runs:
        out.line("no such runs")
    else:
        heads = ["RUN", "TASK", "SLOT", "STATE", "DURATION", "WHY"]
        out.table(heads, [_row(context, run) for run in runs])
    return FINE


def _row(context: Context, run: Run) -> list[str]:
    why = run.error or (str(run.reason) if run.reason else "")
    if run.count > 1:
        why += f" ({run.count} slots)"
    return [
        run.id,
        run.task,
        context.out.time(run.slot),
        run.state.value,
        seconds(run.duration),
        why.strip(),
    ]


def show(context: Context) -> int:
    """``pcron … show``."""
    out = context.out
    run = context.cron.store.run(context.args.run)
    if run is None:
        raise CommandFailedError(f"there is no run {context.args.run!r}")
    texts = {"traceback": run.traceback, "stdout": run.stdout, "stderr": run.stderr}
    if out.as_json:
        out.json(run_data(run) | {"payload": run.payload, "output": run.output} | texts)
        return FINE
    out.pairs(_facts(context, run))
    for name, text in {"output": run.logged, **texts}.items():
        if text:
            out.line(f"\n{name}:")
            out.line(text.rstrip("\n"))
    return FINE


def _facts(context: Context, run: Run) -> dict[str, str]:
    """Return what there is to say of a run in a word each."""
    time = context.out.time
    progress = run.progress
    facts = {
        "run": run.id,
        "task": run.task,
        "state": run.state.value + (f" ({run.reason})" if run.reason else ""),
        "slot": time(run.slot) + (f", the newest of {run.count}" if run.count > 1 else ""),
        "attempt": str(run.attempt),
        "trigger": run.trigger.value,
        "started": time(run.started),
        "finished": time(run.finished),
        "duration": seconds(run.duration),
        "where": f"{run.host}, process {run.pid}",
    }
    if run.payload is not None:
        facts["payload"] = repr(run.payload)
    if progress is not None:
        total = "" if progress.total is None else f" of {progress.total:g}"
        facts["progress"] = f"{progress.done:g}{total} {progress.message or ''}".strip()
    if run.error:
        facts["error"] = run.error
    return facts
