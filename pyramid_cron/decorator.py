"""``@cron_task``: tasks that ``config.scan()`` finds where their functions are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

import venusian
from pyramid.exceptions import ConfigurationError

from .arguments import is_generator_function, takes_system

_UNBOUND_METHODS = (staticmethod, classmethod)

TaskT = TypeVar("TaskT", bound=Callable[..., Any])


@overload
def cron_task(f: TaskT, /) -> TaskT: ...


@overload
def cron_task(
    *fields: Any, attr: str | None = None, category: str = "pyramid", **arguments: Any
) -> Callable[[TaskT], TaskT]: ...


def cron_task(
    *fields: Any, attr: str | None = None, category: str = "pyramid", **arguments: Any
) -> Any:
    """Have ``config.scan()`` register a function, class or method as a task.

    With no parentheses it runs every minute. A function may be decorated several times, with
    different names. A class is made for each run: it is called with ``system`` if it takes an
    argument, and so is its method.

    :param fields: ``min``, ``hour``, ``day``, ``month``, ``dow`` and ``idle`` by position.
    :param attr: on a class, the name of the method to call. A method that is decorated itself needs
        none.
    :param category: the category of decorators that ``config.scan()`` has to ask for.
        ``"pyramid"`` is the one that it looks for by itself.
    :param arguments: everything else is as for ``config.add_cron_task``, and is checked by the
        scan.
    """
    if len(fields) == 1 and (callable(fields[0]) or isinstance(fields[0], _UNBOUND_METHODS)):
        return _attach(fields[0], attr, category, (), arguments)

    def decorate(f: TaskT) -> TaskT:
        return _attach(f, attr, category, fields, arguments)

    return decorate


def _attach(
    f: TaskT, attr: str | None, category: str, fields: tuple[Any, ...], arguments: dict[str, Any]
) -> TaskT:
    def register(context: Any, name: str, ob: Any) -> None:  # noqa: ARG001
        method = attr or (f.__name__ if info.scope == "class" else None)
        function = ob if method is None else MethodTask(ob, method)
        config = context.config.with_package(info.module)
        config.add_cron_task(function, *fields, _info=info.codeinfo, **arguments)

    info = venusian.attach(f, register, category=category, depth=2)
    return f


class MethodTask:
    """A method as a task: it is called on a new instance of its class for each run."""

    def __init__(self, cls: type, attr: str) -> None:
        """Raise ConfigurationError where there is no such method, or it can't be called."""
        self.__module__, self.__qualname__ = cls.__module__, f"{cls.__qualname__}.{attr}"
        try:
            method = _find_method(cls, attr)
            self._needs_instance = not isinstance(
                inspect.getattr_static(cls, attr), _UNBOUND_METHODS
            )
            self._class_takes_system = self._needs_instance and takes_system(cls)
            self._takes_system = takes_system(method, *([cls] if self._needs_instance else []))
        except ValueError as error:
            name = f"{self.__module__}.{self.__qualname__}"
            raise ConfigurationError(f"cron task {name!r}: attr={attr!r}: {error}") from None
        self.__doc__ = inspect.getdoc(method)
        self._cls, self._attr = cls, attr

    def __call__(self, system: Any) -> Any:
        """Call the method, with ``system`` if it takes an argument."""
        owner: Any = self._cls
        if self._needs_instance:
            owner = owner(system) if self._class_takes_system else owner()
        method = getattr(owner, self._attr)
        return method(system) if self._takes_system else method()

    def __repr__(self) -> str:
        return f"<method {self.__module__}.{self.__qualname__}>"


def _find_method(cls: Any, attr: str) -> Callable[..., Any]:
    method = getattr(cls, attr, None) if isinstance(cls, type) else None
    if not callable(method):
        raise ValueError(f"{cls!r} has no such method")
    if is_generator_function(method):
        raise ValueError("is a generator function: to call it runs nothing of it")
    return method  # type: ignore[no-any-return]
