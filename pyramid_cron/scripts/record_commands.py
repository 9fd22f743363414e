"""The commands on the record itself: actions, reset."""

from __future__ import annotations

from ..action_record import ActionKind, ActionRecord, make_action
from ..runtime.actor import find_actor
from ..schedule.zones import parse_moment
from ..serializers import action_data
from ..store.action_log import ActionFilter, list_actions
from ..store.retention import forget_all
from .context import EXIT_FINE, CommandContext, CommandFailedError

MOMENT_DETAILS = ("until", "since", "not_before")
"""Details of actions that are moments."""


def actions(context: CommandContext) -> int:
    """``pcron … actions``."""
    args, out = context.args, context.output
    task = context.cron.task_registry.by_name.get(args.task)
    action_filter = ActionFilter(
        task=args.task,
        command=None if task is None else task.command,
        kind=None if args.action is None else ActionKind(args.action),
        who=args.who,
        since=None if args.since is None else context.parse_moment(args.since, "--since"),
        until=None if args.until is None else context.parse_moment(args.until, "--until"),
    )
    with context.cron.store.read_session() as session:
        records = list_actions(session, args.n, action_filter)
    if out.is_json:
        out.print_json([action_data(record) for record in records])
    elif not records:
        out.print_line("no such actions")
    else:
        entries = [(_row(context, record), _describe(context, record)) for record in records]
        out.print_entries(["WHEN", "ACTION", "WHO"], entries)
    return EXIT_FINE


def _row(context: CommandContext, record: ActionRecord) -> list[str]:
    return [context.output.format_time(record.at), record.kind.value, record.who]


def _describe(context: CommandContext, record: ActionRecord) -> str:
    """Return what an action was on, and its details, in a line."""
    if record.task is not None:
        facts = [record.task]
    else:
        facts = ["everything" if record.pattern is None else f"all that match {record.pattern}"]
    for name, text in (("schedule", record.schedule), ("run", record.run)):
        if text is not None:
            facts.append(f"{name} {text}")
    for name, value in record.details.items():
        text = context.output.format_time(parse_moment(value)) if name in MOMENT_DETAILS else value
        facts.append(f"{name.replace('_', ' ')} {text}")
    return ", ".join(facts)


def reset(context: CommandContext) -> int:
    """``pcron … reset --yes``."""
    cron, out = context.cron, context.output
    if not context.args.yes:
        raise CommandFailedError(
            f"reset forgets all runs, pauses, schedules and actions in"
            f" {cron.store.database.display_url}; if that is meant, say --yes"
        )
    who = find_actor(context.request)
    forget_all(cron.store, make_action(ActionKind.RESET, context.now, who))
    if out.is_json:
        out.print_json({"reset": True})
    else:
        out.print_line(f"all in {cron.store.database.display_url} is forgotten")
    return EXIT_FINE
