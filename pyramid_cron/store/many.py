"""One statement for many rows, without what SQLAlchemy does anew for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
) -> int:
    """Execute a statement for rows; return how many the database says that it has written.

    Under one ``name`` they have the same keys in all calls. ``make`` returns the statement; that is
    asked for once a table and ``name``.
    """
    if not rows:
        return 0
    key = (name, connection.dialect.name)
    many = table.info.get(key)
    if many is None:
        many = table.info[key] = _Many(make(), connection.dialect, list(rows[0]))
    return many.execute(connection, rows)


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
            self._columns = [
                _Column(name, bind.required, bind.value, bind.type.bind_processor(dialect))
                for name, bind in binds
            ]

    def execute(self, connection: Connection, rows: list[Values]) -> int:
        """Execute it for rows; return how many were written."""
        if self._raw:
            columns = [column.of(rows) for column in self._columns]
            result = connection.exec_driver_sql(self._sql, list(zip(*columns, strict=True)))
        else:
            counting = {"preserve_rowcount": True}
            result = connection.execute(self._statement, rows, execution_options=counting)
        return result.rowcount


@dataclass(frozen=True, slots=True)
class _Column:
    """What of a row goes in one place of a statement.

    Where the row need not have it, that is ``value``. ``process`` makes of a value what the
    database keeps; without it they are the same.
    """

    name: str
    required: bool
    value: Any
    process: Callable[[Any], Any] | None

    def of(self, rows: list[Values]) -> list[Any]:
        """Return the values of rows. Few of those that are processed differ, as a rule."""
        if not self.required:
            values = [self.value] * len(rows)
        else:
            name = self.name
            values = [row[name] for row in rows]
        if self.process is None:
            return values
        ready = {value: self.process(value) for value in set(values)}
        return [ready[value] for value in values]
