"""What kind of file a SQLite store lies in: what else is in it, and on which file system."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

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
