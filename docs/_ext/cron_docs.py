"""What the documentation needs beyond Sphinx: tables from the code, crontabs as code."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sqlalchemy import Column, String, Table, UniqueConstraint

from pyramid_cron.settings import SETTINGS, Setting
from pyramid_cron.store import schema

Cells = tuple[str, str, str]


class CronSettings(SphinxDirective):
    """A table of all settings, from their rows in the code."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = [(f"``{row.name}``", _default(row), _meaning(row)) for row in SETTINGS]
        return _parsed(self, _table("22 22 56", ("Setting", "Default", "Meaning"), rows))


class CronTables(SphinxDirective):
    """The tables of the store, with what their columns are."""

    def run(self) -> list[nodes.Node]:
        """Return a description and a table of columns for each."""
        lines: list[str] = []
        tables = schema.make_tables("cron_")
        for field in dataclasses.fields(tables):
            if field.name != "metadata":
                lines += _described(getattr(tables, field.name), getattr(schema, f"_{field.name}"))
        return _parsed(self, lines)


def _described(table: Table, make: Callable[..., Table]) -> list[str]:
    about = inspect.cleandoc(make.__doc__ or "")
    rows = [
        (f"``{column.name}``", _kind(column), ", ".join(_constraints(table, column)) or " ")
        for column in table.columns
    ]
    about_and_columns = [*about.splitlines(), "", *_table("26 34 40", ("Column", "Type", ""), rows)]
    return [f"``{table.name}``", *(f"   {line}" for line in about_and_columns), ""]


def _kind(column: Column[Any]) -> str:
    if isinstance(column.type, schema.UtcMicroseconds):
        return "instant"
    if isinstance(column.type, schema.TaskName):
        return "name"
    return "text" if isinstance(column.type, String) else "integer"


def _constraints(table: Table, column: Column[Any]) -> Iterator[str]:
    if column.primary_key:
        yield "primary key"
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and column.name in constraint.columns:
            yield "unique together"
    if column.nullable:
        yield "may be NULL"


def _parsed(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    container = nodes.Element()
    directive.state.nested_parse(StringList(lines, source=__file__), 0, container)
    return list(container.children)


def _table(widths: str, header: Cells, rows: Iterable[Cells]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (header, *rows):
        lines += _row(*row)
    return lines


def _row(first: str, *cells: str) -> list[str]:
    return [f"   * - {first}", *(f"     - {cell}" for cell in cells)]


def _default(setting: Setting) -> str:
    if setting.find_default:
        return setting.default
    return f"``{setting.default}``" if setting.default else "none"


def _meaning(setting: Setting) -> str:
    meaning, expected = _escaped(setting.meaning), _escaped(setting.expectation)
    return f"{meaning[0].upper()}{meaning[1:]}. Takes {expected}."


def _escaped(text: str) -> str:
    """Return text for reStructuredText; URLs in it are examples, and no links."""
    return re.sub(r"\b\w+://[^\s,]*", r"``\g<0>``", text.replace("*", r"\*").replace("_", r"\_"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the lexer and the directives to Sphinx."""
    app.add_lexer("crontab", TextLexer)
    app.add_directive("cron-settings", CronSettings)
    app.add_directive("cron-tables", CronTables)
    return {"parallel_read_safe": True}
