"""``config.add_cron_folder``: scripts that run when the names of their folders say so."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry

from ..counts import count
from ..directives import CATEGORY, add_cron_task, check_executor, check_weight
from ..execute.command import Command, Environment, shown
from ..schedule import Cron, Every
from ..state import Cronwork, cronwork
from ..task import NAME, REQUEST
from .command import POLICIES, WHEN, Env, check_policies, directory, environment
from .paths import located
from .scripts import scan

FOLDERS = "cron folders"
"""The introspection category of folders."""

AFTER_TASKS = 1
"""The order of the action: a script never takes a name that the application gave a task."""

log = logging.getLogger("pyramid_cron")


def add_cron_folder(
    config: Configurator,
    path: str | os.PathLike[str],
    *,
    prefix: str = "",
    env: Env = None,
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
    root = located(config, path)
    if not os.path.isdir(root):
        raise ConfigurationError(
            f"cron folder: path={os.fspath(path)!r}: there is no folder {root!r}; use one that"
            " holds folders such as 15min/ or 1day/at0415/"
        )
    folder = Folder(config, root, prefix, {"env": env, "cwd": cwd}, policies)
    introspectable = config.introspectable(FOLDERS, root, root, "cron folder")
    introspectable.update({"path": root, "prefix": prefix, "policies": policies})

    def register() -> None:
        folder.attach(config.registry)

    config.action(
        ("cron folder", root), register, introspectables=(introspectable,), order=AFTER_TASKS
    )


class Folder:
    """A folder of scripts, and the tasks that came of them."""

    def __init__(
        self,
        config: Configurator,
        root: str,
        prefix: str,
        running: Mapping[str, Any],
        policies: Mapping[str, Any],
    ) -> None:
        self.root = root
        self.problems: Sequence[str] = ()
        self._prefix = prefix
        self._policies = policies
        self._package = config.package
        self._known: dict[str, Cron | Every] = {}
        self._looking = threading.Lock()
        self._environment, self._cwd = self._check(prefix, running, policies)

    def _check(
        self, prefix: Any, running: Mapping[str, Any], policies: Mapping[str, Any]
    ) -> tuple[Environment, str | None]:
        """Refuse what is wrong even before there is any script."""
        with self._naming():
            check_policies(policies, "add_cron_folder", POLICIES - WHEN)
            if not isinstance(prefix, str) or not NAME.fullmatch(f"{prefix}."):
                raise ValueError(f"prefix={prefix!r}: must be text of printable characters")
            cwd = None if running["cwd"] is None else directory(running["cwd"])
            found = environment(running["env"]), cwd
            # An application apart, in which a task can be tried without being registered.
            apart = Configurator(registry=Registry("trial"), package=self._package)
            add_cron_task(apart, Command(("true",), "true"), name="trial", **policies)
        return found

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn an error about an argument into one that names the folder."""
        try:
            yield
        except (ValueError, TypeError, ConfigurationError) as error:
            told = str(error).removeprefix("cron task 'trial': ")
            raise ConfigurationError(f"cron folder {self.root!r}: {told}") from error

    def attach(self, registry: Registry) -> None:
        """Register the scripts there are, and have others noticed later on."""
        self._config = Configurator(registry=registry, package=self._package, autocommit=True)
        self._cron: Cronwork = cronwork(registry)
        self._check_place()
        self._cron.sources.append(self)
        self.look()

    def _check_place(self) -> None:
        """Refuse what only the whole application can tell is wrong."""
        executor = self._policies.get("executor", REQUEST)
        weight = count("weight", self._policies.get("weight", 1))
        with self._naming():
            check_executor(self._cron, executor)
            check_weight(executor, weight, self._cron.settings.capacity)

    def look(self) -> None:
        """Register new scripts, take away those that have gone, and tell what is wrong."""
        if not self._looking.acquire(blocking=False):
            return  # another tick is at it
        try:
            found = scan(self.root)
            problems = list(found.problems)
            for name in self._known.keys() - found.scripts.keys():
                self._remove(name)
            for name, schedule in found.scripts.items():
                if self._known.get(name) != schedule:
                    problems += self._add(name, schedule)
            self._tell(problems)
        finally:
            self._looking.release()

    def _add(self, script: str, schedule: Cron | Every) -> list[str]:
        """Register a script; return what stands against it."""
        name, path = f"{self._prefix}{script}", os.path.join(self.root, script)
        if not NAME.fullmatch(name):
            return [f"{path}: the task's name must be 1 to 200 printable characters"]
        taken = self._cron.registered(name)
        if taken is not None and script not in self._known:
            return [f"{path}: there is another task named {name!r}; give the folder a prefix"]
        command = Command((path,), shown((path,)), self._environment, self._cwd)
        arguments = {**self._policies, "schedule": schedule}
        if arguments.get("description") is None:
            arguments["description"] = path
        try:
            add_cron_task(self._config, command, name=name, **arguments)
        except ConfigurationError as error:
            return [f"{path}: {error}"]
        self._known[script] = schedule
        log.info("cron folder %s: %s found", self.root, script)
        return []

    def _remove(self, script: str) -> None:
        name = f"{self._prefix}{script}"
        self._cron.unregister(name)
        self._config.introspector.remove(CATEGORY, name)
        del self._known[script]
        log.info("cron folder %s: %s has gone", self.root, script)

    def _tell(self, problems: Sequence[str]) -> None:
        for problem in problems:
            if problem not in self.problems:
                log.warning("cron folder: %s", problem)
        self.problems = tuple(problems)
