"""What a query asks for, or a Refused that says what is wrong with it."""

from __future__ import annotations

import re

from pyramid.request import Request

from ..run import ID, RunState
from .answers import Refused


def number(request: Request, name: str, default: int, most: int) -> int:
    """Return a whole number from 1 to ``most``."""
    given = request.GET.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", given) or not 1 <= int(given) <= most:
        raise Refused(400, f"{name}={given!r}: must be a whole number from 1 to {most}")
    return int(given)


def states(request: Request) -> list[RunState]:
    """Return the states that are asked for; none means any."""
    given = [text for text in request.GET.getall("state") if text]
    try:
        return [RunState(text) for text in given]
    except ValueError:
        known = ", ".join(RunState)
        raise Refused(400, f"state={given[-1]!r}: must be one of {known}") from None


def before(request: Request) -> str | None:
    """Return the id of the run before which to go on."""
    given = request.GET.get("before") or None
    if given is not None and not ID.fullmatch(given):
        raise Refused(400, f"before={given!r}: must be the id of a run, 26 hexadecimal digits")
    return given


def storable_text(name: str, given: str) -> str:
    """Return a text that every database can compare with."""
    if "\0" in given:
        raise Refused(400, f"{name}: must not contain NUL")
    return given
