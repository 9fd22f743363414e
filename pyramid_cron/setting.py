"""What a setting is, and how text and lists in one are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.settings import aslist

PREFIX = "cron."
"""What the names of all settings begin with."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What there is to know about one setting.

    ``default`` is written as in an ini file, or says what ``find_default`` looks up. ``parse``
    takes text or a Python value and raises :exc:`ValueError` saying what is wrong with it;
    ``expected`` says what would be right. A ``secret`` value is never shown. ``attribute`` is the
    field of :class:`~pyramid_cron.settings.Settings`, where it is not called as the setting.
    """

    name: str
    default: str
    parse: Callable[[Any], Any]
    expected: str
    meaning: str
    find_default: Callable[[], Any] | None = None
    secret: bool = False
    attribute: str = ""

    @property
    def field_name(self) -> str:
        """Name of its field in :class:`~pyramid_cron.settings.Settings`."""
        return self.attribute or self.name.removeprefix(PREFIX).replace(".", "_")

    def value(self, settings: Mapping[str, Any]) -> Any:
        """Return its value there, or its default. Raises :exc:`ConfigurationError` naming it."""
        if self.find_default and self.name not in settings:
            return self.find_default()
        try:
            return self.parse(settings.get(self.name, self.default))
        except ValueError as error:
            fault = "a bad value (not shown)" if self.secret else error
            raise ConfigurationError(f"{self.name}: {fault}; expected {self.expected}") from None


def text(given: Any) -> str:
    """Return text that is there, stripped."""
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is not text")
    if not given.strip():
        raise ValueError(f"{given!r} is empty")
    return given.strip()


def entries(given: Any) -> list[str]:
    """Words of a text, or of the texts of a list, as :func:`pyramid.settings.aslist` has it."""
    if given is None:
        return []
    if not isinstance(given, (str, list, tuple, set, frozenset)):
        raise ValueError(f"{given!r} is neither text nor a list")
    words: list[str] = aslist(given)
    for word in words:
        text(word)
    return words


def optional_text(given: Any) -> str | None:
    """Return text, stripped; None for what is blank."""
    blank = given is None or (isinstance(given, str) and not given.strip())
    return None if blank else text(given)
