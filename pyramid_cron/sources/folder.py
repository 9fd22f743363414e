"""``config.add_cron_folder``: scripts that run when the names of their folders say so."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry

from ..app import CronApp, get_cron
from ..arguments import check_known
from ..directives import INTROSPECTION_CATEGORY, check_executor, check_weight
from ..runtime.programs import Command, quote_arguments
from ..schedule import Cron, Every
from ..schedule.quantities import parse_count
from ..task import REQUEST_EXECUTOR, TASK_NAME_PATTERN
from .command import (
    POLICY_ARGUMENTS,
    EnvArgument,
    check_prefix,
    naming_source,
    parse_cwd,
    parse_env,
    register_command,
    resolve_path,
    try_policies,
)
from .folder_scan import scan_folder

FOLDER_CATEGORY = "cron folders"
"""The introspection category of folders."""

FOLDER_ACTION_ORDER = 1
"""The order of the action: a script never takes a name that the application gave a task."""

log = logging.getLogger("pyramid_cron")


def add_cron_folder(
    config: Configurator,
    path: str | os.PathLike[str],
    *,
    prefix: str = "",
    env: EnvArgument = None,
    cwd: str | os.PathLike[str] | None = None,
    **policies: Any,
) -> None:
    """Register the scripts in a folder, which run when the names of its folders say so.

    ``15min/``, ``2hour/``, ``1day/``, ``2week/`` hold scripts that run each so many minutes, hours,
    days or weeks; ``1hour/at0030/``, ``1day/at0415/``, ``2week/at1733/`` those that do so at a time
    of the day, or for hours at a minute. Scripts are executable regular files that are not hidden.
    What is added or taken away while the application runs is noticed within a minute, by the next
    tick. A name that says nothing is logged once, as a WARNING, and listed among the problems of
    the application's cron.

    A script is a task called like its path in the folder: ``1day/at0415/backup.sh``.

    :param path: the folder: a path, relative to the working directory unless it is absolute, or an
        asset specification such as ``"shop:cron"``.
    :param prefix: what the names of the tasks begin with, to tell two folders apart.
    :param env: as for ``add_cron_command``.
    :param cwd: the directory that scripts run in. Default: that of this process.

    Everything else is as for ``add_cron_task``, and holds for all scripts.

    :raises pyramid.exceptions.ConfigurationError: if there is no such folder, or for a policy that
        is wrong.
    """
    root = resolve_path(config, path)
    if not os.path.isdir(root):
        raise ConfigurationError(
            f"cron folder: path={os.fspath(path)!r}: there is no folder {root!r}; use one that"
            " holds folders such as 15min/ or 1day/at0415/"
        )
    folder = ScriptFolder(config, root, prefix, policies, env=env, cwd=cwd)
    introspectable = config.introspectable(FOLDER_CATEGORY, root, root, "cron folder")
    introspectable.update({"path": root, "prefix": prefix, "policies": policies})

    def register() -> None:
        folder.attach(config.registry)

    config.action(
        ("cron folder", root),
        register,
        introspectables=(introspectable,),
        order=FOLDER_ACTION_ORDER,
    )


class ScriptFolder:
    """A folder of scripts, whose tasks follow what is in it."""

    def __init__(
        self,
        config: Configurator,
        root: str,
        prefix: str,
        policies: Mapping[str, Any],
        *,
        env: EnvArgument,
        cwd: str | os.PathLike[str] | None,
    ) -> None:
        self.root = root
        self.problems: Sequence[str] = ()
        self._prefix = prefix
        self._policies = policies
        self._package = config.package
        self._schedules: dict[str, Cron | Every] = {}
        self._renew_lock()
        with self._naming_folder():
            check_known("add_cron_folder", policies, POLICY_ARGUMENTS)
            check_prefix(prefix)
            self._cwd = parse_cwd(cwd)
            self._environment = parse_env(env)
        # There may be no script that would show that they are wrong.
        try_policies(config.package, f"cron folder {root!r}", policies)

    def _naming_folder(self) -> AbstractContextManager[None]:
        return naming_source(f"cron folder {self.root!r}")

    def attach(self, registry: Registry) -> None:
        """Register the scripts there are, and those that ticks will find."""
        self._config = Configurator(registry=registry, package=self._package, autocommit=True)
        self._cron: CronApp = get_cron(registry)
        self._check_in_application()
        self._cron.fork_hook.add(self._renew_lock)
        self._cron.sources.append(self)
        self.refresh()

    def _check_in_application(self) -> None:
        """Refuse an executor or a weight that this application does not have."""
        executor = self._policies.get("executor", REQUEST_EXECUTOR)
        weight = parse_count("weight", self._policies.get("weight", 1))
        with self._naming_folder():
            check_executor(self._cron, executor)
            check_weight(executor, weight, self._cron.settings.capacity)

    def _renew_lock(self) -> None:
        """Have a lock that no thread of a parent process holds."""
        self._refresh_lock = threading.Lock()

    def refresh(self) -> None:
        """Register new scripts, unregister those that have gone, and report what is wrong."""
        if not self._refresh_lock.acquire(blocking=False):
            return  # another tick is at it
        try:
            scan = scan_folder(self.root)
            problems = list(scan.problems)
            for script in self._schedules.keys() - scan.scripts.keys():
                self._unregister_script(script)
            for script, schedule in scan.scripts.items():
                if self._schedules.get(script) != schedule:
                    problems += self._register_script(script, schedule)
            self._report(problems)
        finally:
            self._refresh_lock.release()

    def _register_script(self, script: str, schedule: Cron | Every) -> list[str]:
        """Register a script; return the problems with it."""
        name, path = f"{self._prefix}{script}", os.path.join(self.root, script)
        if not TASK_NAME_PATTERN.fullmatch(name):
            return [f"{path}: the task's name must be 1 to 200 printable characters"]
        if script not in self._schedules and self._cron.find_task(name) is not None:
            return [f"{path}: there is another task named {name!r}; give the folder a prefix"]
        command = Command((path,), quote_arguments((path,)), self._environment, self._cwd)
        try:
            register_command(self._config, command, name, {**self._policies, "schedule": schedule})
        except ConfigurationError as error:
            return [f"{path}: {error}"]
        self._schedules[script] = schedule
        log.info("cron folder %s: %s found", self.root, script)
        return []

    def _unregister_script(self, script: str) -> None:
        name = f"{self._prefix}{script}"
        self._cron.unregister(name)
        self._config.introspector.remove(INTROSPECTION_CATEGORY, name)
        del self._schedules[script]
        log.info("cron folder %s: %s has gone", self.root, script)

    def _report(self, problems: Sequence[str]) -> None:
        for problem in problems:
            if problem not in self.problems:
                log.warning("cron folder: %s", problem)
        self.problems = tuple(problems)
