"""``config.add_cron_command``: a program as a task."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.path import AssetResolver
from pyramid.registry import Registry

from ..arguments import check_callable, check_known, naming_task
from ..directives import TASK_ARGUMENTS, add_cron_task
from ..errors import CommandError
from ..runtime.programs import Command, Environment, quote_arguments
from ..task import TASK_NAME_PATTERN

DEFAULT_SHELL = "/bin/sh"

COMMAND_ARGUMENTS = TASK_ARGUMENTS - {"f", "name"}
"""What ``add_cron_task`` takes besides what is run, and its name."""

POLICY_ARGUMENTS = COMMAND_ARGUMENTS - {
    *("min", "hour", "day", "month", "dow", "schedule", "every", "at", "on_demand")
}
"""Those of them that do not say when a task runs."""

InheritArgument = str | Sequence[str] | None
EnvValue = InheritArgument | Mapping[str, str] | tuple[InheritArgument, Mapping[str, str]]
EnvArgument = EnvValue | Callable[[], EnvValue] | Callable[[Mapping[str, Any]], EnvValue]

_ENV_HINT = (
    "'inherit' (everything, the default), 'none', a list of names to pass on, a mapping of values"
    " to add to everything, or a tuple of one of the first three and a mapping"
)
_ENV_NAME = re.compile(r"[^=\0]+")


def add_cron_command(
    config: Configurator,
    argv: Sequence[str | os.PathLike[str]] | str,
    *,
    name: str | None = None,
    env: EnvArgument = None,
    cwd: str | os.PathLike[str] | None = None,
    shell: bool = False,
    stdin: str | None = None,
    **when_and_policies: Any,
) -> None:
    """Register a program that runs as a task.

    It runs in a process group of its own, and its run succeeds if its exit status is 0. What it
    writes is kept with the run as ``stdout`` and ``stderr``: the first and the last 32 KiB of each.
    At its timeout, or when its run is cancelled, the whole group is sent SIGTERM, and three seconds
    later SIGKILL. A program that is missing fails when it is to run, not before.

    :param argv: the program and its arguments, a list of text or paths. No shell reads it. With
        ``shell=True`` a text, which ``/bin/sh`` reads.
    :param name: how the task is called, unique in the application. Default: the file name of the
        program; with ``shell=True`` there is none.
    :param env: which environment variables it gets: ``"inherit"`` (the default) for all that this
        process has when it runs, ``"none"``, or a list of the names of those to pass on; a mapping
        of values to add to all; or a tuple of one of the first three and a mapping. A callable is
        asked for one of these at each run; it takes ``system`` or nothing. The program always gets
        ``CRON_TASK``, ``CRON_RUN``, ``CRON_SLOT`` (ISO 8601, in UTC), ``CRON_ATTEMPT`` and
        ``CRON_TRIGGER``, and where its run has a payload, that as JSON in ``CRON_PAYLOAD``; one
        too long for that is in a file, whose path is in ``CRON_PAYLOAD_FILE``.
    :param cwd: the directory it runs in. Default: that of this process.
    :param stdin: a text to read from its standard input, which is empty otherwise.

    Everything else is as for ``add_cron_task``. The description, unless it is given, is the
    command.

    :raises pyramid.exceptions.ConfigurationError: naming the task, the argument, the value and what
        would be right.
    """
    command_name = _task_name(argv, name, shell)
    with naming_task(command_name):
        check_known("add_cron_command", when_and_policies, COMMAND_ARGUMENTS)
        command = _parse_command(argv, shell=shell, env=env, cwd=cwd, stdin=stdin)
    register_command(config, command, command_name, when_and_policies)


def register_command(
    config: Configurator, command: Command, name: str, arguments: Mapping[str, Any]
) -> None:
    """Register a command as a task, whose description is its line unless another is given."""
    if arguments.get("description") is None:
        arguments = {**arguments, "description": command.line}
    # A program's work is in no transaction of the application.
    add_cron_task(config, command, name=name, **{"transactional": False, **arguments})


@contextmanager
def naming_source(source: str) -> Iterator[None]:
    """Turn an error about an argument into a ConfigurationError that names the source of tasks."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(f"{source}: {error}") from error


def try_policies(package: Any, source: str, policies: Mapping[str, Any]) -> None:
    """Refuse wrong policies while a source has no tasks, by a task of another application."""
    trial = Configurator(registry=Registry("trial"), package=package)
    try:
        add_cron_task(trial, Command(("true",), "true"), name="trial", **policies)
    except ConfigurationError as error:
        reason = str(error).removeprefix("cron task 'trial': ")
        raise ConfigurationError(f"{source}: {reason}") from error


def check_prefix(prefix: Any) -> None:
    """Refuse what can't begin the names of tasks."""
    if not isinstance(prefix, str) or not TASK_NAME_PATTERN.fullmatch(f"{prefix}."):
        raise ValueError(f"prefix={prefix!r}: must be text of printable characters")


def _task_name(argv: Any, name: str | None, shell: Any) -> str:
    if name is not None:
        return name
    if shell is True:
        raise ConfigurationError(
            f"cron command {argv!r}: name=None: what a shell runs needs a name of its own"
        )
    if isinstance(argv, (list, tuple)) and argv and isinstance(first := _path_text(argv[0]), str):
        return os.path.basename(first) or first
    return str(argv)


def _parse_command(argv: Any, *, shell: Any, env: Any, cwd: Any, stdin: Any) -> Command:
    if not isinstance(shell, bool):
        raise ValueError(f"shell={shell!r}: must be True or False")
    if stdin is not None and not isinstance(stdin, str):
        raise ValueError(f"stdin={stdin!r}: must be text")
    arguments = _shell_argv(argv) if shell else _program_argv(argv)
    return Command(
        argv=arguments,
        line=argv if shell else quote_arguments(arguments),
        environment=parse_env(env),
        cwd=parse_cwd(cwd),
        stdin=stdin,
    )


def _shell_argv(argv: Any) -> tuple[str, ...]:
    if not isinstance(argv, str) or not argv.strip() or "\0" in argv:
        raise ValueError(f"argv={argv!r}: with shell=True it must be text that is not empty")
    return DEFAULT_SHELL, "-c", argv


def _program_argv(argv: Any) -> tuple[str, ...]:
    if isinstance(argv, str):
        raise ValueError(
            f"argv={argv!r}: must be a list, such as {argv.split() or ['backup']!r}; text is for"
            " shell=True"
        )
    if not isinstance(argv, (list, tuple)) or not argv or not argv[0]:
        raise ValueError(f"argv={argv!r}: must be a list of a program and its arguments")
    arguments = tuple(map(_path_text, argv))
    for argument in arguments:
        if not isinstance(argument, str) or "\0" in argument:
            raise ValueError(f"argv={argv!r}: {argument!r} is no text that a program can be given")
    return arguments


def _path_text(argument: Any) -> Any:
    """Return the text of a path, and anything else as it is."""
    return os.fspath(argument) if isinstance(argument, os.PathLike) else argument


def parse_cwd(cwd: Any) -> str | None:
    """Read the argument ``cwd``; ValueError says what would be right."""
    if cwd is None:
        return None
    try:
        path = os.fspath(cwd)
    except TypeError:
        path = None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError(f"cwd={cwd!r}: must be the path of a directory")
    return path


def parse_env(env: Any) -> Environment:
    """Read the argument ``env``; ValueError says what would be right."""
    return _ask_for_env(env) if callable(env) else _parse_env_value(env)


def _ask_for_env(function: Callable[..., Any]) -> Environment:
    """Return an environment that a callable gives at each run."""
    takes_system = _takes_system(function)

    def provide(system: Mapping[str, Any]) -> Environment:
        env = function(system) if takes_system else function()
        try:
            return _parse_env_value(env)
        except ValueError:  # which has the values in it, and those may be secret
            name = getattr(function, "__qualname__", function)
            raise CommandError(f"env={name}: its answer must be {_ENV_HINT}") from None

    return Environment(provide=provide)


def _takes_system(function: Callable[..., Any]) -> bool:
    """Return whether a callable takes one argument; ValueError unless it does, or takes none."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        check_callable("env", function, function)
        return True
    except ValueError:  # some builtins have no signature
        pass
    return False


def _parse_env_value(env: Any) -> Environment:
    inherit: Any = env
    overrides: Mapping[Any, Any] = {}
    if isinstance(env, Mapping):
        inherit, overrides = None, env
    elif isinstance(env, tuple) and len(env) == 2 and isinstance(env[1], Mapping):
        inherit, overrides = env
    for name, value in overrides.items():
        if not _is_env_name(name) or not isinstance(value, str) or "\0" in value:
            raise ValueError(f"env={env!r}: {name!r}: {value!r} must be a name and text")
    return Environment(_names_to_inherit(env, inherit), dict(overrides))


def _names_to_inherit(env: Any, inherit: Any) -> tuple[str, ...] | None:
    if inherit is None or inherit == "inherit":
        return None
    if inherit == "none":
        return ()
    if not isinstance(inherit, (list, tuple, set, frozenset)) or not all(
        map(_is_env_name, inherit)
    ):
        raise ValueError(f"env={env!r}: use {_ENV_HINT}; or a callable for one of these")
    return tuple(inherit)


def _is_env_name(name: Any) -> bool:
    return isinstance(name, str) and _ENV_NAME.fullmatch(name) is not None


def resolve_path(config: Configurator, path: Any) -> str:
    """Return the absolute path of a path, or of an asset specification such as ``shop:cron``."""
    try:
        name = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError(
            f"path={path!r}: must be a path, or an asset specification such as 'shop:cron'"
        )
    package = name.partition(":")[0]
    if ":" not in name or os.path.isabs(name) or not package.replace(".", "").isidentifier():
        return os.path.abspath(name)
    try:
        return str(os.path.normpath(AssetResolver(config.package).resolve(name).abspath()))
    except Exception as error:
        raise ConfigurationError(
            f"path={name!r}: the package {package!r} can't be imported ({error})"
        ) from error
