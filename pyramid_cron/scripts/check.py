"""The command check: how the application is set up, and what is wrong with that."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pyramid.interfaces import ISecurityPolicy
from pyramid.scripts.common import get_config_loader
from sqlalchemy import URL

from ..errors import StoreError
from ..guard import CLIENT_HEADERS
from ..monitors import get_monitoring
from ..runtime.task_session import explain_other_database
from ..setting_parsers import parse_boolean, parse_words
from ..settings import Settings
from ..store.engine import is_in_memory
from ..store.queries import read_overview
from ..task import Task
from .context import EXIT_BAD_ANSWER, EXIT_FINE, CommandContext

PREFIX_FILTER = "pastedeploy#prefix"
"""The end of what ``use`` says of a filter that takes a client's word for its address."""


def check(context: CommandContext) -> int:
    """``pcron … check``: exit status 1 if there are problems; notes are none."""
    out, tasks = context.output, context.scheduler.tasks()
    facts = describe_setup(context)
    problems = list(find_problems(context, tasks))
    notes = list(find_notes(context))
    if out.is_json:
        out.print_json({"tasks": len(tasks), "problems": problems, "notes": notes, "setup": facts})
    else:
        out.print_pairs(facts)
        for line in (*problems, *(f"note: {note}" for note in notes)):
            out.print_line(" ".join(line.split()))
        number = f"{len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}"
        out.print_line(f"{len(tasks)} task{'' if len(tasks) == 1 else 's'}, {number}")
    return EXIT_BAD_ANSWER if problems else EXIT_FINE


def describe_setup(context: CommandContext) -> dict[str, str]:
    """Return who may trigger and see the pages, and where and how runs are kept, as text."""
    settings = context.cron.settings
    texts = context.request.registry.settings
    allow = " ".join(parse_words(texts.get("cron.allow", "127.0.0.1 ::1")))
    proxies = " ".join(parse_words(texts.get("cron.trusted_proxies")))
    return {
        "trigger": context.request.route_path("pyramid_cron"),
        "from": f"{allow} with{'' if settings.tokens else 'out'} a token",
        "proxies": f"X-Forwarded-For is believed of {proxies}" if proxies else "none is trusted",
        "pages": _describe_pages(settings),
        "store": _describe_store(context),
        "records": _describe_records(context),
        "time zone": settings.timezone + ("" if texts.get("cron.timezone") else ", the host's"),
        "capacity": f"{settings.capacity} outside of requests, over all processes and hosts",
        "monitors": _describe_monitors(context),
        "log": logging.getLevelName(logging.getLogger("pyramid_cron").getEffectiveLevel()),
    }


def _describe_monitors(context: CommandContext) -> str:
    """Return the services, each with the number of tasks that it knows."""
    tasks = context.scheduler.tasks()
    counts = {
        service: sum(service in task.monitor_names for task in tasks)
        for service in context.cron.settings.monitors
    }
    return ", ".join(f"{name} for {count} of {len(tasks)}" for name, count in counts.items()) or (
        "none"
    )


def _describe_store(context: CommandContext) -> str:
    settings = context.cron.settings
    text = f"{context.cron.store.database.display_url} {settings.table_prefix}*"
    path = sqlite_path(settings.url)
    return f"{text}, {describe_file(path, settings.table_prefix)}" if path else text


def _describe_records(context: CommandContext) -> str:
    """Return in whose transaction the ends of runs are written."""
    if context.cron.get_session is None:
        return "apart from the tasks' transactions; set_cron_session would write them there"
    tasks = context.scheduler.tasks()
    count = sum(map(context.cron.is_transactional, tasks))
    return f"in the tasks' own transactions, for {count} of {len(tasks)}"


def _describe_pages(settings: Settings) -> str:
    if settings.view_permission is not None:
        actors = "who may trigger" if settings.permission is None else repr(settings.permission)
        return f"for who has the permission {settings.view_permission!r}; actions for {actors}"
    if settings.permission is not None:
        return f"for who has the permission {settings.permission!r}"
    if settings.tokens:
        return "for who may trigger"
    return ", ".join(["for who may trigger, as localhost, by address", *sorted(settings.hosts)])


def find_problems(context: CommandContext, tasks: list[Task]) -> Iterator[str]:
    """Yield a line for each thing that is wrong."""
    yield from _find_store_problems(context)
    yield from context.cron.problems
    yield from _find_proxy_problems(context)
    yield from _find_permission_problems(context)
    yield from _find_monitor_problems(context, tasks)
    yield from _find_missing_configuration(context, tasks)
    yield from _find_ended(context, tasks)
    yield from _find_duplicates(tasks)


def _find_store_problems(context: CommandContext) -> Iterator[str]:
    cron, request = context.cron, context.request
    try:
        cron.store.open()
        if cron.get_session is not None and (problem := explain_other_database(cron, request)):
            yield problem
    except StoreError as error:
        yield str(error)


def _find_missing_configuration(context: CommandContext, tasks: list[Task]) -> Iterator[str]:
    path = (context.cron.settings.config_uri or ":").partition("#")[0]
    has_scheme = ":" in path  # then it may be no file
    if not (has_scheme or os.path.isfile(path)) and any(map(context.cron.needs_process, tasks)):
        yield f"cron.config_uri: there is no file {path!r}: tasks with executor='process' will fail"


def _find_proxy_problems(context: CommandContext) -> Iterator[str]:
    """Yield what in the ini file lets a proxy pass for an allowed address."""
    if context.cron.settings.tokens:
        return
    for name, section in _ini_sections(context.args.config_uri).items():
        use = section.get("use", "").lower()
        if name.startswith("server:") and "waitress" in use and _is_clearing(section):
            yield (
                "waitress takes forwarding headers away, so through a proxy on a machine in"
                " cron.allow anybody is let in, and by address alone nobody may act on the pages;"
                f" set cron.token, or clear_untrusted_proxy_headers = false in [{name}]"
            )
        if use.endswith(PREFIX_FILTER) or use.endswith("paste#prefix"):
            yield (
                f"[{name}] takes the word of X-Forwarded-For for the address, so anybody may claim"
                " one of cron.allow; set cron.token"
            )


def _ini_sections(config_uri: str) -> Mapping[str, Mapping[str, str]]:
    """Return the sections of the configuration; those that can't be read alone are left out."""
    loader = get_config_loader(config_uri)
    sections = {}
    for name in loader.get_sections():
        if name.startswith(("server:", "filter:", "filter-app:")):
            sections[name] = dict(loader.get_settings(name))
    return sections


def _is_clearing(server: Mapping[str, str]) -> bool:
    """Return whether waitress does so with these options."""
    try:
        is_clearing = parse_boolean(server.get("clear_untrusted_proxy_headers", "true"))
    except ValueError:
        is_clearing = False  # to waitress what is not true is false
    trusted_headers = set(server.get("trusted_proxy_headers", "").lower().split())
    return is_clearing and not (server.get("trusted_proxy") and CLIENT_HEADERS & trusted_headers)


def _find_permission_problems(context: CommandContext) -> Iterator[str]:
    """Yield that nobody may see the pages, where that is so."""
    settings = context.cron.settings
    permission = settings.view_permission or settings.permission
    has_policy = context.request.registry.queryUtility(ISecurityPolicy) is not None
    if permission is not None and not has_policy:
        yield (
            f"nobody has the permission {permission!r} that the pages ask for: the application"
            " has no security policy"
        )


def _find_monitor_problems(context: CommandContext, tasks: list[Task]) -> Iterator[str]:
    monitoring = get_monitoring(context.request.registry)
    if monitoring is not None:
        yield from monitoring.ask(tasks)


def _find_ended(context: CommandContext, tasks: list[Task]) -> Iterator[str]:
    """Yield a line for each task that never runs again and has had no run."""
    for task in tasks:
        is_over = task.schedules and task.following(context.now) is None
        if is_over and not _has_history(context, task):
            yield f"task {task.name!r} never runs again, and never has: {task.describe()}"


def _has_history(context: CommandContext, task: Task) -> bool:
    """Return whether there was a run; those that are pruned by now are still counted."""
    cron = context.cron
    try:
        if context.scheduler.history(task.name, limit=1):
            return True
        overview = read_overview(cron.store, cron.task_registry.task_set_id, context.now)
    except StoreError:  # a problem of its own
        return True
    return any(stats.task == task.name for stats in overview.run_stats)


def _find_duplicates(tasks: list[Task]) -> Iterator[str]:
    """Yield a line for each task with the function and the slots of an earlier one."""
    first: dict[Any, str] = {}
    for task in tasks:
        if not task.schedules:
            continue
        # A callable of any class may be unhashable.
        function = task.function if _is_hashable(task) else id(task.function)
        key = (function, frozenset(task.schedules), task.offset)
        if key in first:
            yield f"task {task.name!r} runs the same at the same times as {first[key]!r}"
        else:
            first[key] = task.name


def _is_hashable(task: Task) -> bool:
    try:
        hash(task.function)
    except TypeError:
        return False
    return True


def find_notes(context: CommandContext) -> Iterator[str]:
    """Yield a line for each thing that may be meant, and often is not."""
    url = context.cron.settings.url
    if is_in_memory(url):
        yield "cron.url keeps runs in the memory of one process: each has its own, and pcron, too"
    elif url.get_backend_name() == "sqlite" and not (url.database or "").startswith(("/", "file:")):
        yield f"cron.url {url.database} is relative: it depends on the working directory"
    path = sqlite_path(url)
    if path and (kind := network_file_system(path)):
        yield f"cron.url lies on {kind}: over a network SQLite serves one host, if any"
    yield from _find_unused_names(context)
    logger = logging.getLogger("pyramid_cron")
    if _has_logging(context.args.config_uri) and not logger.isEnabledFor(logging.INFO):
        yield (
            "the logger pyramid_cron is above INFO: the start and end of runs are not logged;"
            " give it a section of its own with level = INFO"
        )


def _find_unused_names(context: CommandContext) -> Iterator[str]:
    """Yield a line for each service that tasks name, and that gets no reports."""
    configured = context.cron.settings.monitors
    named = [
        (task.name, service)
        for task in context.scheduler.tasks()
        if isinstance(task.monitor, Mapping)
        for service in task.monitor
        if service not in configured
    ]
    for service in dict.fromkeys(service for _, service in named):
        names = [name for name, each in named if each == service]
        tasks = f"task {names[0]!r} has" if len(names) == 1 else f"{len(names)} tasks have"
        yield f"{tasks} a name for {service}, which is not in cron.monitors"


def _has_logging(config_uri: str) -> bool:
    return "loggers" in get_config_loader(config_uri).get_sections()


NETWORK_FILE_SYSTEMS = frozenset(
    ("9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs")
)
"""File systems that hosts share, as ``/proc/mounts`` calls them."""

MOUNTS = Path("/proc/mounts")

SHOWN_TABLES = 3
"""How many tables of others are named."""


def sqlite_path(url: URL) -> str | None:
    """Return the absolute path of a SQLite store's file; None where there is none, or by a URI."""
    name = url.database or ""
    if url.get_backend_name() != "sqlite" or name in ("", ":memory:") or name.startswith("file:"):
        return None
    return os.path.abspath(name)


def describe_file(path: str, table_prefix: str) -> str:
    """Return whose tables are in the file, and how it keeps its journal."""
    try:
        with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = sorted(name for (name,) in rows if not name.startswith("sqlite_"))
            [[journal]] = connection.execute("PRAGMA journal_mode")
    except sqlite3.Error:
        return "a file that is not there yet"
    others = [name for name in names if not name.startswith(table_prefix)]
    if not others:
        return f"a file of its own, journal {journal}"
    more = ", …" if len(others) > SHOWN_TABLES else ""
    return f"a file with other tables ({', '.join(others[:SHOWN_TABLES])}{more}), journal {journal}"


def network_file_system(path: str, mounts: Path = MOUNTS) -> str | None:
    """Return the kind of file system that a path lies on if it is one that hosts share."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    folder, kind = "", ""
    for line in lines:
        _, mount_point, mount_kind, *_ = line.split(" ")
        mount_point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), mount_point)
        is_within = path.startswith(mount_point.rstrip("/") + "/")
        if is_within and len(mount_point) >= len(folder):
            folder, kind = mount_point, mount_kind
    return kind if kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse.") else None
