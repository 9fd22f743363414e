"""What ran: the newest runs, and all there is to say of one."""

from __future__ import annotations

from ..run import Run
from .context import CommandContext
from .errors import EXIT_FINE, CommandFailedError
from .output import format_seconds, run_data


def history(context: CommandContext) -> int:
    """``pcron … history``."""
    args, out = context.args, context.output
    runs = context.scheduler.history(args.task, args.state, args.limit)
    if not runs and args.task is not None and not context.scheduler.history(args.task, limit=1):
        context.cron.task_registry.get(args.task)
    if out.is_json:
        out.print_json([run_data(run) for run in runs])
    elif not runs:
        out.print_line("no such runs")
    else:
        heads = ["RUN", "TASK", "SLOT", "STATE", "DURATION", "WHY"]
        out.print_table(heads, [_run_row(context, run) for run in runs])
    return EXIT_FINE


def _run_row(context: CommandContext, run: Run) -> list[str]:
    why = run.error or (str(run.reason) if run.reason else "")
    if run.count > 1:
        why += f" ({run.count} slots)"
    return [
        run.id,
        run.task,
        context.output.format_time(run.slot),
        run.state.value,
        format_seconds(run.duration),
        why.strip(),
    ]


def show(context: CommandContext) -> int:
    """``pcron … show``."""
    out = context.output
    run = context.cron.store.get_run(context.args.run)
    if run is None:
        raise CommandFailedError(f"there is no run {context.args.run!r}")
    texts = {"traceback": run.traceback, "stdout": run.stdout, "stderr": run.stderr}
    if out.is_json:
        out.print_json(run_data(run) | {"payload": run.payload, "output": run.output} | texts)
        return EXIT_FINE
    out.print_pairs(_run_pairs(context, run))
    for name, text in {"output": run.log, **texts}.items():
        if text:
            out.print_line(f"\n{name}:")
            out.print_line(text.rstrip("\n"))
    return EXIT_FINE


def _run_pairs(context: CommandContext, run: Run) -> dict[str, str]:
    """Return what there is to say of a run in a word each."""
    time = context.output.format_time
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
        "duration": format_seconds(run.duration),
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
