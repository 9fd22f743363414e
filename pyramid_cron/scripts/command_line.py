"""The command line of ``pcron``."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ..action_record import ActionKind
from ..run import RunReason, RunState, Trigger
from .context import CommandFailedError, parse_count

HELP_DESCRIPTION = """\
Show and control the scheduled tasks of a Pyramid application.

The application is loaded from the configuration file. Moments are ISO 8601 (without an offset:
in the time zone of cron.timezone), dates, "now", or relative to now, as -2h.
"""
HELP_EPILOG = """\
Exit status: 0 fine; 1 the answer is bad (a run failed, unhealthy, problems found); 2 wrong use,
or something needed is missing.
"""


PATTERN_HELP = "a glob, or re: and a regex; after command: of command lines"

RUN_HELP = "the id of a run, or its first characters, at least 4"


class CommandParser(argparse.ArgumentParser):
    """Reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise CommandFailedError, which becomes the line on stderr."""
        raise CommandFailedError(f"{message}; see {self.prog} --help")


def make_parser() -> CommandParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog="pcron",
        description=HELP_DESCRIPTION,
        epilog=HELP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config_uri", help="the configuration file, as development.ini#main")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_show_commands(commands)
    _add_run_commands(commands)
    _add_control_commands(commands)
    _add_waiting_commands(commands)
    _add_schedule_commands(commands)
    _add_record_commands(commands)
    return parser


SubParsers = argparse._SubParsersAction


def _add_command(
    commands: SubParsers[CommandParser], name: str, text: str, *, json: bool = True
) -> CommandParser:
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    if json:
        command.add_argument("--json", action="store_true", help="print JSON")
    return command


def _add_show_commands(commands: SubParsers[CommandParser]) -> None:
    command = _add_command(commands, "list", "list the tasks with their next and last runs")
    command.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME[:TEXT]",
        help="only tasks with this label, as team:billing; several times for all of them",
    )
    command = _add_command(
        commands, "next", "show the next slots of a task, of a stored schedule, or of all"
    )
    command.add_argument("task", nargs="?", metavar="TASK")
    command.add_argument(
        "-n", type=parse_count, default=5, metavar="N", help="how many (default 5)"
    )
    command = _add_command(
        commands, "explain", "say what a schedule means, and what shifts of the clocks do to it"
    )
    command.add_argument(
        "expression",
        nargs="+",
        metavar="EXPRESSION",
        help='"30 2 * * *", "@daily", "every 30m", a moment with an offset, or a name',
    )
    command.add_argument("--timezone", metavar="ZONE", help="the zone (default: cron.timezone)")
    _add_command(commands, "check", "look for problems with the tasks and the store")
    command = _add_command(commands, "history", "list runs, newest first")
    command.add_argument("task", nargs="?", metavar="TASK")
    for name, kind in (("state", RunState), ("trigger", Trigger), ("reason", RunReason)):
        names = [str(member) for member in kind]
        command.add_argument(f"--{name}", choices=names, metavar=name.upper())
    command.add_argument("--host", metavar="HOST")
    command.add_argument("--schedule", metavar="NAME", help="only those of this stored schedule")
    command.add_argument("--since", metavar="MOMENT", help="claimed at this moment or later")
    command.add_argument("--until", metavar="MOMENT", help="claimed before this moment")
    command.add_argument("--limit", type=parse_count, default=50, metavar="N", help="default 50")
    command = _add_command(commands, "show", "show all details of a run")
    _add_run_argument(command)
    command.add_argument(
        "--follow", action="store_true", help="print what it logs until it is over, then the rest"
    )
    command = _add_command(commands, "simulate", "show what would run, and run nothing")
    _add_range_options(command)
    command.add_argument("--summary", action="store_true", help="count the slots of each task")
    command = _add_command(commands, "export", "write the tasks as a crontab", json=False)
    command.add_argument(
        "--user",
        metavar="ACCOUNT",
        help="with the column of /etc/cron.d, and this account for tasks that name none",
    )
    _add_command(commands, "health", "show the health of the tasks")


def _add_run_commands(commands: SubParsers[CommandParser]) -> None:
    command = _add_command(commands, "tick", "run what is due, in this process")
    command.add_argument("--at", metavar="MOMENT", help="as if it were then (default: now)")
    command = _add_command(commands, "run", "run a task now, in this process")
    command.add_argument("task", metavar="TASK")
    command.add_argument("--payload", metavar="JSON", help="the payload of the run")
    command = _add_command(
        commands, "backfill", "run a task for slots of the past, at the next ticks"
    )
    command.add_argument("task", metavar="TASK", help=f"its name, or {PATTERN_HELP}")
    _add_range_options(command)
    command.add_argument(
        "--overlap", choices=["delay", "allow"], default="delay", help="(default: delay)"
    )
    command = _add_command(
        commands, "work", "make ticks and beats, and run what waits for workers", json=False
    )
    command.add_argument(
        "--threads", type=parse_count, default=4, metavar="N", help="runs at once (default: 4)"
    )
    command.add_argument(
        "--only",
        action="append",
        metavar="PATTERN",
        help=f"run these tasks for workers: {PATTERN_HELP}",
    )
    command = _add_command(
        commands,
        "execute",
        'carry out a claimed run of a task with executor="process", in this process',
        json=False,
    )
    _add_run_argument(command)
    _add_command(commands, "prune", "delete the runs that are older than cron.retention")


def _add_control_commands(commands: SubParsers[CommandParser]) -> None:
    command = _add_command(commands, "pause", "pause the tasks whose names match")
    command.add_argument("pattern", metavar="PATTERN", help=PATTERN_HELP)
    until = command.add_mutually_exclusive_group()
    until.add_argument("--for", dest="length", metavar="DURATION", help="such as 2h")
    until.add_argument("--until", metavar="MOMENT")
    command.add_argument("--reason", metavar="TEXT")
    command = _add_command(commands, "resume", "end the pauses of the tasks whose names match")
    command.add_argument("pattern", metavar="PATTERN", help=PATTERN_HELP)


def _add_waiting_commands(commands: SubParsers[CommandParser]) -> None:
    command = _add_command(commands, "waiting", "list what waits, the next first")
    command.add_argument("task", nargs="?", metavar="TASK")
    _add_trigger_option(command)
    command.add_argument("--limit", type=parse_count, default=50, metavar="N", help="default 50")
    command = _add_command(commands, "defer", "run a task once, at a moment or soon after")
    command.add_argument("task", metavar="TASK")
    command.add_argument("--payload", metavar="JSON", help="the payload of the run")
    _add_moment_options(command, required=False)
    command.add_argument(
        "--key", metavar="KEY", help="of the runs with a key only the first counts"
    )
    command.add_argument(
        "--replace", action="store_true", help="move the run that waits with the key"
    )
    command = _add_command(commands, "reschedule", "let a waiting run begin at another moment")
    _add_run_argument(command)
    _add_moment_options(command, required=True)
    command = _add_command(
        commands, "cancel", "cancel a run that waits or is active, or all that waits of a task"
    )
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("run", nargs="?", metavar="RUN", help=RUN_HELP)
    what.add_argument(
        "--all", metavar="TASK", help="cancel all waiting runs of this task, or pattern"
    )
    _add_trigger_option(command)
    command = _add_command(commands, "retry", "try a failed run again at the next tick")
    _add_run_argument(command)


def _add_schedule_commands(commands: SubParsers[CommandParser]) -> None:
    command = _add_command(commands, "schedule", "make or replace a stored schedule of a task")
    command.add_argument("name", metavar="NAME", help="the name of the schedule")
    command.add_argument("task", metavar="TASK")
    when = command.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", dest="schedule", metavar="FIELDS", help='such as "30 7 * * mon"')
    when.add_argument("--every", metavar="DURATION", help="such as 30m")
    when.add_argument("--at", metavar="MOMENT", help="once")
    command.add_argument("--payload", metavar="JSON", help="the payload of its runs")
    command.add_argument("--timezone", metavar="ZONE", help="the zone (default: the task's)")
    command.add_argument("--jitter", metavar="DURATION", help="shift its slots by a share of this")
    command.add_argument("--starting", metavar="MOMENT", help="no slots before")
    command.add_argument("--ending", metavar="MOMENT", help="no slots after")
    command.add_argument("--disabled", action="store_true", help="keep it, and make no slots")
    command = _add_command(commands, "unschedule", "remove a stored schedule")
    command.add_argument("name", metavar="NAME")
    command = _add_command(commands, "schedules", "list the stored schedules")
    command.add_argument("task", nargs="?", metavar="TASK", help="only those of this task")


def _add_record_commands(commands: SubParsers[CommandParser]) -> None:
    command = _add_command(commands, "actions", "list who did what, newest first")
    command.add_argument("task", nargs="?", metavar="TASK", help="only on this task or schedule")
    kinds = [str(kind) for kind in ActionKind]
    command.add_argument("--action", choices=kinds, metavar="ACTION", help="such as pause")
    command.add_argument("--who", metavar="WHO", help='such as "pcron (alice)"')
    command.add_argument("--since", metavar="MOMENT", help="at this moment or later")
    command.add_argument("--until", metavar="MOMENT", help="before this moment")
    command.add_argument(
        "-n", type=parse_count, default=20, metavar="N", help="how many (default 20)"
    )
    command = _add_command(commands, "reset", "forget all runs, pauses, schedules and actions")
    command.add_argument("--yes", action="store_true", help="it can't be undone: needed")


def _add_run_argument(command: CommandParser) -> None:
    command.add_argument("run", metavar="RUN", help=RUN_HELP)


def _add_trigger_option(command: CommandParser) -> None:
    triggers = [str(trigger) for trigger in Trigger]
    command.add_argument(
        "--trigger", choices=triggers, metavar="TRIGGER", help="only these, such as backfill"
    )


def _add_moment_options(command: CommandParser, *, required: bool) -> None:
    when = command.add_mutually_exclusive_group(required=required)
    when.add_argument("--at", metavar="MOMENT")
    when.add_argument("--after", metavar="DURATION", help="such as 10m")


def _add_range_options(command: CommandParser) -> None:
    command.add_argument("--since", required=True, metavar="MOMENT", help="slots after this")
    command.add_argument(
        "--until", required=True, metavar="MOMENT", help="up to and including this"
    )
