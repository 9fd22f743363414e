"""Whole numbers as users write them: anything that is an index is one, a boolean is not."""

from __future__ import annotations

import operator
from typing import Any

MAX_INTEGER = 2**31 - 1
"""The largest integer that each database keeps."""


def parse_integer(argument: str, value: Any) -> int:
    """Return an integer that can be kept; ValueError names the argument otherwise."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ValueError(f"{argument}={value!r}: must be an integer")
    if abs(number) > MAX_INTEGER:
        raise ValueError(f"{argument}={value!r}: must be {-MAX_INTEGER} to {MAX_INTEGER}")
    return number


def parse_count(argument: str, value: Any) -> int:
    """Return an integer that is 1 or more."""
    number = parse_integer(argument, value)
    if number < 1:
        raise ValueError(f"{argument}={value!r}: must be 1 or more")
    return number
