"""Statements that are made once: to put one together costs more than to execute it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from sqlalchemy import Executable

from .tables import Tables

S = TypeVar("S", bound=Executable)


def once(make: Callable[[Tables], S]) -> Callable[[Tables], S]:
    """Ask a function for its statement once per store, whose tables keep it.

    What differs from one execution to the next is a ``bindparam``.
    """

    @wraps(make)
    def made(tables: Tables) -> S:
        known = tables.metadata.info
        if make not in known:
            known[make] = make(tables)
        statement: S = known[make]
        return statement

    return made
