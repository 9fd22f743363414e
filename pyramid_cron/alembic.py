"""For the ``env.py`` of an application whose store lies in its own database.

The store makes its tables itself. What ``alembic revision --autogenerate`` finds in the database
and not in the application's metadata it would drop, so ``env.py`` has to leave them out::

    from pyramid_cron.alembic import include_name

    context.configure(..., include_name=include_name)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .store.schema import make_tables

DEFAULT_PREFIX = "cron_"
"""The prefix of the tables where ``cron.table_prefix`` is not set."""

IncludeName = Callable[[str | None, str, Mapping[str, str | None]], bool]
"""What Alembic takes as ``include_name``."""

IncludeObject = Callable[[Any, str | None, str, bool, Any], bool]
"""What Alembic takes as ``include_object``."""


def make_include_name(
    prefix: str = DEFAULT_PREFIX, other: IncludeName | None = None
) -> IncludeName:
    """Return an ``include_name`` that leaves the store's tables out.

    ``prefix`` is ``cron.table_prefix``; ``other`` is asked about everything else. Tables of the
    application's own stay in, whatever they are called.
    """
    names = frozenset(make_tables(prefix).metadata.tables)

    def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
        if (name if type_ == "table" else parent_names.get("table_name")) in names:
            return False
        return other is None or other(name, type_, parent_names)

    return include_name


def make_include_object(
    prefix: str = DEFAULT_PREFIX, other: IncludeObject | None = None
) -> IncludeObject:
    """Return an ``include_object`` that leaves the store's tables out; as for ``include_name``.

    With ``include_name`` alone Alembic does not even look at them, which is quicker.
    """
    names = frozenset(make_tables(prefix).metadata.tables)

    def include_object(
        object_: Any, name: str | None, type_: str, reflected: bool, compare_to: Any
    ) -> bool:
        table = object_ if type_ == "table" else getattr(object_, "table", None)
        if getattr(table, "name", None) in names:
            return False
        return other is None or other(object_, name, type_, reflected, compare_to)

    return include_object


include_name = make_include_name()
"""``include_name`` for tables that begin with ``cron_``."""

include_object = make_include_object()
"""``include_object`` for tables that begin with ``cron_``."""
