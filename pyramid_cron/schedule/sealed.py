"""Frozen dataclasses with slots that refuse each assignment in the same way."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import NoReturn, TypeVar

ClassT = TypeVar("T")


def seal(cls: type[ClassT]) -> type[ClassT]:
    """Have a frozen dataclass with slots raise FrozenInstanceError for whatever is assigned.

    Python does so for its fields only. Another name gets a TypeError that speaks of ``super()``:
    the slots make a second class, and what was generated before knows the first.
    """

    def refuse_to_set(_: object, name: str, __: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def refuse_to_delete(_: object, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    cls.__setattr__ = refuse_to_set  # type: ignore[method-assign]
    cls.__delattr__ = refuse_to_delete  # type: ignore[method-assign]
    return cls
