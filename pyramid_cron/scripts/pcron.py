"""``pcron CONFIG_URI COMMAND``: the tasks of an application, from a shell."""

from __future__ import annotations

import getpass
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from pyramid.exceptions import ConfigurationExecutionError
from pyramid.paster import bootstrap
from pyramid.scripts.common import get_config_loader

from ..app import CronApp, get_cron
from ..errors import StoreError
from ..runtime.request_scope import complete_request, set_actor
from ..text import escape_unprintable
from . import (
    check,
    explain,
    operate,
    show,
    upcoming,
    work,
)
from .command_line import make_parser
from .context import (
    EXIT_FINE,
    EXIT_INTERRUPTED,
    EXIT_WRONG_USE,
    CommandContext,
    CommandFailedError,
    CommandOutput,
    join_negative_moments,
)

COMMANDS: Mapping[str, Callable[[CommandContext], int]] = {
    "list": show.list_tasks,
    "next": upcoming.next_slots,
    "explain": explain.explain,
    "check": check.check,
    "tick": operate.tick,
    "run": operate.run_task,
    "history": show.history,
    "show": show.show,
    "pause": operate.pause,
    "resume": operate.resume,
    "waiting": upcoming.waiting,
    "defer": upcoming.defer,
    "reschedule": upcoming.reschedule,
    "cancel": upcoming.cancel,
    "retry": upcoming.retry,
    "schedule": upcoming.schedule,
    "unschedule": upcoming.unschedule,
    "schedules": upcoming.schedules,
    "actions": show.actions,
    "reset": show.reset,
    "backfill": operate.backfill,
    "simulate": upcoming.simulate,
    "export": show.export,
    "health": show.health,
    "prune": operate.prune,
    "work": work.work,
    "execute": work.execute,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pcron``; return its exit status. The first argument is the program's name."""
    _harden_output()
    try:
        status = PCronCommand(sys.argv if argv is None else argv).run()
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        _discard_output()
        return EXIT_FINE
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except CommandFailedError as error:
        return _fail(str(error), error.exit_status)
    except LookupError as error:
        return _fail(str(error.args[0] if error.args else error), EXIT_WRONG_USE)
    except (ValueError, StoreError) as error:
        return _fail(str(error), EXIT_WRONG_USE)
    except Exception as error:
        return _fail(_one_line_error(error), EXIT_WRONG_USE)


class PCronCommand:
    """One call of ``pcron``."""

    script_name = "pcron"
    parser = make_parser()
    bootstrap = staticmethod(bootstrap)  # testing
    get_config_loader = staticmethod(get_config_loader)  # testing

    def __init__(self, argv: Sequence[str]) -> None:
        self.args: Namespace = self.parser.parse_args(join_negative_moments(argv[1:]))

    def run(self) -> int:
        """Load the application, run the command; return the exit status.

        With ``--json`` the application and its tasks print to stderr: stdout has only the JSON.
        """
        if not getattr(self.args, "json", False):
            return self._run(None)
        json_stream = sys.stdout
        with redirect_stdout(sys.stderr):
            return self._run(json_stream)

    def _run(self, json_stream: TextIO | None) -> int:
        env = self._load()
        complete_request(env["request"], env["root"])
        set_actor(env["request"], f"{self.script_name} ({_system_user()})")
        try:
            cron = get_cron(env["registry"])
            with _closing(cron):
                out = CommandOutput(ZoneInfo(cron.settings.timezone), json_stream=json_stream)
                context = CommandContext(self.args, env["request"], cron, out, cron.clock())
                return COMMANDS[self.args.command](context)
        finally:
            env["closer"]()

    def _load(self) -> dict[str, Any]:
        """Load the application. Raises CommandFailedError in one line for any error in it."""
        uri = self.args.config_uri
        path = uri.partition("#")[0]
        if ":" not in path and not os.path.isfile(path):  # with a scheme it may be no file
            raise CommandFailedError(f"there is no configuration file {path!r}")
        options = {"__script__": self.script_name}
        try:
            self._set_up_logging(uri, options)
            env: dict[str, Any] = self.bootstrap(uri, options=options)
        except (Exception, SystemExit) as error:  # an application may call sys.exit
            raise CommandFailedError(f"{uri}: {_one_line_error(error)}") from error
        return env

    def _set_up_logging(self, uri: str, options: dict[str, str]) -> None:
        """Set up the configuration's logging; without any, logs are kept only in the runs."""
        loader = self.get_config_loader(uri)
        if "loggers" in loader.get_sections():
            loader.setup_logging(options)
        else:
            logging.getLogger().addHandler(logging.NullHandler())


@contextmanager
def _closing(cron: CronApp) -> Iterator[None]:
    """Write unwritten results and close the store's connections at the end of the block."""
    try:
        yield
    finally:
        cron.close()


def _system_user() -> str:
    """Return the name of the system's user; the number where it has no name."""
    try:
        import pwd
    except ImportError:  # Windows
        return getpass.getuser()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _one_line_error(error: BaseException) -> str:
    """Return an error's text, with its type unless it is a ConfigurationError."""
    if isinstance(error, ConfigurationExecutionError):
        return _one_line_error(error.evalue)
    if type(error).__name__ == "ConfigurationError":
        return str(error)
    return f"{type(error).__name__}: {error}"


def _fail(text: str, status: int) -> int:
    print(f"pcron: {escape_unprintable(' '.join(text.split()))}", file=sys.stderr)
    return status


def _harden_output() -> None:
    """Make printing never fail, neither for a closed stream nor for an unencodable character."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif getattr(stream, "errors", None) == "strict":
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Let the interpreter's last flush of stdout succeed."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


if __name__ == "__main__":
    sys.exit(main())
