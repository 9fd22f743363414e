"""Values that don't change: how schedules are sealed, compared and copied, subclasses included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any, TypeVar

ClassT = TypeVar("ClassT")
ValueT = TypeVar("ValueT")


def seal(cls: type[ClassT]) -> type[ClassT]:
    """Have a frozen dataclass with slots raise FrozenInstanceError for whatever is assigned.

    Python does so for its fields only. Another name gets a TypeError that speaks of ``super()``:
    the slots make a second class, and what was generated before knows the first. A subclass may
    have attributes of its own, and set them.
    """
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]

    def is_sealed(value: object, name: str) -> bool:
        return name in names or type(value) is cls

    def set_attribute(self: object, name: str, value: object) -> None:
        if is_sealed(self, name):
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def delete_attribute(self: object, name: str) -> None:
        if is_sealed(self, name):
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    cls.__setattr__ = set_attribute  # type: ignore[method-assign]
    cls.__delattr__ = delete_attribute  # type: ignore[method-assign]
    cls.__reduce__ = _reduce  # type: ignore[method-assign]
    return cls


def _reduce(self: object) -> tuple[Callable[..., object], tuple[type, dict[str, object]]]:
    """Have copies and pickles keep the attributes of subclasses, too."""
    return _restore, (type(self), dict(_iterate_state(self)))


def _restore(cls: type[ValueT], state: dict[str, object]) -> ValueT:
    value = object.__new__(cls)
    for name, attribute in state.items():
        object.__setattr__(value, name, attribute)
    return value


def compare_attributes(cls: type) -> None:
    """Have a new subclass of a dataclass compare its own attributes, too."""
    inherited: Callable[..., Any] = cls.__eq__
    if "__eq__" in vars(cls) or not is_dataclass(cls):
        return
    names = {field.name for field in fields(cls)}

    def own_attributes(value: object) -> dict[str, object]:
        return {name: state for name, state in _iterate_state(value) if name not in names}

    def equal(self: object, other: object) -> Any:
        result = inherited(self, other)
        return result if result is not True else own_attributes(self) == own_attributes(other)

    cls.__eq__ = equal  # type: ignore[method-assign]


def _iterate_state(value: object) -> Iterator[tuple[str, object]]:
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)
    yield from getattr(value, "__dict__", {}).items()


def copy_with(value: ValueT, **changes: object) -> ValueT:
    """Return a copy of a frozen value with some attributes changed, without its ``__init__``."""
    return _restore(type(value), {**dict(_iterate_state(value)), **changes})
