"""What a query asks for, or a Refused that says what is wrong with it."""

from __future__ import annotations

import re

from pyramid.request import Request

from ..run import RUN_ID_PATTERN, RunState
from .responses import HTTPProblem


def query_number(request: Request, name: str, default: int, maximum: int) -> int:
    """Return a whole number from 1 to ``most``."""
    given = request.GET.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", given) or not 1 <= int(given) <= maximum:
        raise HTTPProblem(400, f"{name}={given!r}: must be a whole number from 1 to {maximum}")
    return int(given)


def query_states(request: Request) -> list[RunState]:
    """Return the states that are asked for; none means any."""
    given = [text for text in request.GET.getall("state") if text]
    try:
        return [RunState(text) for text in given]
    except ValueError:
        known = ", ".join(RunState)
        raise HTTPProblem(400, f"state={given[-1]!r}: must be one of {known}") from None


def query_before(request: Request) -> str | None:
    """Return the id of the run before which to go on."""
    given = request.GET.get("before") or None
    if given is not None and not RUN_ID_PATTERN.fullmatch(given):
        raise HTTPProblem(400, f"before={given!r}: must be the id of a run, 26 hexadecimal digits")
    return given


def check_storable(name: str, text: str) -> str:
    """Return a text that every database can compare with."""
    if "\0" in text:
        raise HTTPProblem(400, f"{name}: must not contain NUL")
    return text
