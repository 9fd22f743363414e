"""A program as a task: its arguments and environment, and the error of its end."""

from __future__ import annotations

import errno
import json
import os
import pwd
import shlex
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import CommandError
from ..run import Run
from ..text import format_instant
from .execution import current_execution
from .subprocesses import Identity, Process, UnknownStatusError

PAYLOAD_VARIABLE, PAYLOAD_FILE_VARIABLE = "CRON_PAYLOAD", "CRON_PAYLOAD_FILE"

MAX_PAYLOAD_VARIABLE_BYTES = 100_000
"""The longest payload in a variable; Linux takes 131,071 bytes, its name included."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment variables of a program."""

    #: Names of those it has from this process; None for all.
    inherit: tuple[str, ...] | None = None
    #: Its own, which take precedence.
    overrides: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: What is asked for the environment of each run; None if it is always this.
    provide: Callable[[Mapping[str, Any]], Environment] | None = None

    def for_run(self, system: Mapping[str, Any]) -> Environment:
        """Return the environment of a run. An error of what is asked is that of the run."""
        return self if self.provide is None else self.provide(system)

    def variables(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the variables, given those of this process."""
        names = inherited if self.inherit is None else self.inherit
        return {name: inherited[name] for name in names if name in inherited} | dict(self.overrides)


@dataclass(frozen=True, slots=True)
class Command:
    """A program that is run as a task: its arguments, environment, directory and input.

    ``line`` is how it is shown, and what a shell would take for it.
    """

    argv: tuple[str, ...]
    line: str
    environment: Environment = Environment()
    cwd: str | None = None
    stdin: str | None = None
    #: The account it runs as where this process is root; None for that of this process.
    user: str | None = None

    def __call__(self, system: Mapping[str, Any]) -> None:
        """Run the program to its end. Raises CommandError unless its exit status is 0."""
        environment = self.environment.for_run(system)
        environ = environment.variables(outer_environment()) | run_environment(system)
        files = {PAYLOAD_FILE_VARIABLE: text} if (text := _long_payload(system)) else {}
        process = Process(
            self.argv, environ, self.cwd, self.stdin, files, identity=find_identity(self.user)
        )
        if (execution := current_execution.get()) is not None:
            execution.kill = process.kill
            execution.outputs |= {
                "stdout": process.stdout.text,
                "stderr": process.stderr.text,
                "exit_status": lambda: process.returncode,
            }
        process.run()
        if process.error is not None:
            raise self._explain_start_failure(process.error, environ) from process.error
        if process.returncode:
            raise CommandError(describe_exit(process.returncode))

    def _explain_start_failure(self, error: BaseException, environ: Mapping[str, str]) -> Exception:
        """Return what kept the program from starting, or its end from being known."""
        program = self.argv[0]
        if isinstance(error, CommandError):
            return error
        if isinstance(error, UnknownStatusError):
            return CommandError(
                "its exit status is not known: this process ignores SIGCHLD, or another part of it"
                " waits for all children"
            )
        if self.cwd is not None and not os.path.isdir(self.cwd):
            return CommandError(f"cwd {self.cwd!r} is no folder here")
        if isinstance(error, FileNotFoundError):
            if os.path.exists(os.path.join(self.cwd or "", program)):
                return CommandError(f"what {program!r} names in its #! line is not there")
            path = os.pathsep.join(os.get_exec_path(dict(environ)))
            where = "" if os.path.dirname(program) else f" in PATH ({path})"
            return CommandError(f"there is no program {program!r}{where}")
        if isinstance(error, PermissionError):
            return CommandError(f"{program!r} is not executable by this user")
        if isinstance(error, OSError) and error.errno == errno.ENOEXEC:
            return CommandError(f"{program!r} is no program; a script begins with #!, as #!/bin/sh")
        if isinstance(error, OSError) and error.errno == errno.E2BIG:
            return CommandError(
                f"{program!r} could not be started: its arguments and environment variables are"
                " longer than this system takes"
            )
        return CommandError(f"{program!r} could not be started: {error}")


def find_identity(user: str | None) -> Identity:
    """Return as whom to run a program of this account: its own where this process is root.

    Raises CommandError if there is no such account.
    """
    if user is None or os.geteuid() != 0:
        return Identity()
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise CommandError(f"there is no account {user!r} here") from None
    groups = tuple(os.getgrouplist(account.pw_name, account.pw_gid))
    return Identity(account.pw_uid, account.pw_gid, groups)


def outer_environment() -> dict[str, str]:
    """Return this process's variables, without the payload of a run that it may itself be."""
    own = (PAYLOAD_VARIABLE, PAYLOAD_FILE_VARIABLE)
    return {name: value for name, value in os.environ.items() if name not in own}


def run_environment(system: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that tell a program of its run."""
    run: Run = system["run"]
    variables = {
        "CRON_TASK": run.task,
        "CRON_RUN": run.id,
        "CRON_SLOT": format_instant(run.slot),
        "CRON_ATTEMPT": str(run.attempt),
        "CRON_TRIGGER": run.trigger.value,
    }
    payload = _payload_json(system)
    if payload is not None and len(payload) <= MAX_PAYLOAD_VARIABLE_BYTES:
        variables[PAYLOAD_VARIABLE] = payload
    return variables


def _payload_json(system: Mapping[str, Any]) -> str | None:
    """Return the payload as JSON, in ASCII; None without one."""
    payload = system["run"].payload
    return None if payload is None else json.dumps(payload)


def _long_payload(system: Mapping[str, Any]) -> str | None:
    """Return the payload as JSON if it is too long for a variable, else None."""
    payload = _payload_json(system)
    if payload is None or len(payload) <= MAX_PAYLOAD_VARIABLE_BYTES:
        return None
    return payload


def describe_exit(returncode: int) -> str:
    """Say how a program ended: ``exit status 3``, ``killed by SIGKILL``."""
    if returncode > 0:
        return f"exit status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


def quote_arguments(argv: tuple[str, ...]) -> str:
    """Return arguments as a shell would take them."""
    return shlex.join(argv)
