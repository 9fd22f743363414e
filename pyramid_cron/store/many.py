"""One statement for many rows, without what SQLAlchemy does anew for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.sql.dml import UpdateBase

Values = dict[str, Any]


def execute_many(
    connection: Connection,
    table: Table,
    name: str,
    make: Callable[[], UpdateBase],
    rows: list[Values],
) -> None:
    """Execute a statement for rows; under one ``name`` they have the same keys in all calls.

    ``make`` returns it; that is asked for once a table and ``name``.
    """
    if not rows:
        return
    key = (name, connection.dialect.name)
    many = table.info.get(key)
    if many is None:
        many = table.info[key] = _Many(make(), connection.dialect, list(rows[0]))
    many.execute(connection, rows)


class _Many:
    """A statement that is compiled once.

    SQLite takes a row in less time than SQLAlchemy does to look at it, so there the values are made
    ready here. Other databases are far enough away for that not to count.
    """

    def __init__(self, statement: UpdateBase, dialect: Dialect, keys: Sequence[str]) -> None:
        self._statement = statement
        self._raw = dialect.name == "sqlite"
        if self._raw:
            compiled: Any = statement.compile(dialect=dialect, column_keys=list(keys))
            self._sql = str(compiled)
            binds = [(name, compiled.binds[name]) for name in compiled.positiontup]
            self._names = [name for name, _ in binds]
            self._given = {name: bind.value for name, bind in binds if not bind.required}
            ready = [(name, bind.type.bind_processor(dialect)) for name, bind in binds]
            self._ready = [(name, process) for name, process in ready if process is not None]

    def execute(self, connection: Connection, rows: list[Values]) -> None:
        """Execute it for rows."""
        if self._raw:
            connection.exec_driver_sql(self._sql, [self._values(row) for row in rows])
        else:
            connection.execute(self._statement, rows)

    def _values(self, row: Values) -> tuple[Any, ...]:
        values = {**self._given, **row}
        for name, process in self._ready:
            values[name] = process(values[name])
        return tuple([values[name] for name in self._names])
