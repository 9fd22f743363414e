"""The text of a task's error, as pages, mails and monitors show it: without values of its SQL.

The application's own log has the whole error.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from sqlalchemy.exc import StatementError

PARAMETERS_LINE = re.compile(r"^([\s|]*)\[parameters: .*$\n?", re.MULTILINE)
"""What SQLAlchemy adds to an error's text, also where that is part of another error's."""

DETAIL_LINE = re.compile(r"^[\s|]*DETAIL:  .*$\n?", re.MULTILINE)
"""PostgreSQL's line with the values of the row that it refused."""

SQL_START = re.compile(r"\n[\s|]*\[SQL: ")


def summarize_error(error: BaseException) -> str:
    """Return the error's type and text; what comes from SQLAlchemy is one line without SQL."""
    text = _without_values("".join(traceback.format_exception_only(error)), error).strip()
    start = SQL_START.search(text)
    return " ".join(text[: start.start()].split()) if start else text


def format_traceback(error: BaseException, frames: TracebackType | None) -> str:
    """Return the traceback from these frames on, with the errors that led to this one."""
    with _hidden_parameters(error):
        text = "".join(traceback.format_exception(type(error), error, frames))
    return _without_values(text, error)


def _without_values(text: str, error: BaseException) -> str:
    """Return the text of an error without the values that its statements had."""
    for statement_error in _statement_errors(error):
        original = str(statement_error.orig or "")
        if original:
            text = text.replace(original, _without_own_values(original, statement_error.params))
    return DETAIL_LINE.sub("", PARAMETERS_LINE.sub("", text))


def _without_own_values(text: str, parameters: Any) -> str:
    """Return the first line of what a driver says, without values in quotes."""
    line = next(iter(text.splitlines()), "")
    for value in _flatten(parameters):
        line = line.replace(f"'{value}'", "'…'")
    return line


def _flatten(parameters: Any) -> Iterator[Any]:
    if isinstance(parameters, Mapping):
        parameters = parameters.values()
    if isinstance(parameters, (str, bytes)) or not isinstance(parameters, Iterable):
        yield parameters
        return
    for value in parameters:
        yield from _flatten(value)


@contextmanager
def _hidden_parameters(error: BaseException) -> Iterator[None]:
    """Have errors of SQLAlchemy hide their parameters while they are formatted."""
    errors = [(found, found.hide_parameters) for found in _statement_errors(error)]
    try:
        for found, _ in errors:
            found.hide_parameters = True
        yield
    finally:
        for found, was_hidden in errors:
            found.hide_parameters = was_hidden


def _statement_errors(error: BaseException) -> Iterator[StatementError]:
    """Yield SQLAlchemy's errors among an error and what led to it, each once."""
    pending: list[BaseException | None] = [error]
    known: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in known:
            continue
        known.add(id(current))
        if isinstance(current, StatementError):
            yield current
        group = getattr(current, "exceptions", ())  # of an ExceptionGroup
        pending += [current.__cause__, current.__context__]
        pending += group if isinstance(group, tuple) else ()
