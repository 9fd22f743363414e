"""What a setting is, and how text and lists in one are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.settings import aslist

SETTING_PREFIX = "cron."
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
    expectation: str
    meaning: str
    find_default: Callable[[], Any] | None = None
    is_secret: bool = False
    attribute: str = ""

    @property
    def field_name(self) -> str:
        """Name of its field in :class:`~pyramid_cron.settings.Settings`."""
        return self.attribute or self.name.removeprefix(SETTING_PREFIX).replace(".", "_")

    def read_from(self, settings: Mapping[str, Any]) -> Any:
        """Return its value there, or its default. Raises :exc:`ConfigurationError` naming it."""
        if self.find_default and self.name not in settings:
            return self.find_default()
        try:
            return self.parse(settings.get(self.name, self.default))
        except ValueError as error:
            fault = "a bad value (not shown)" if self.is_secret else error
            raise ConfigurationError(f"{self.name}: {fault}; expected {self.expectation}") from None


def parse_text(value: Any) -> str:
    """Return text that is there, stripped."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    if not value.strip():
        raise ValueError(f"{value!r} is empty")
    return value.strip()


def parse_words(value: Any) -> list[str]:
    """Words of a text, or of the texts of a list, as :func:`pyramid.settings.aslist` has it."""
    if value is None:
        return []
    if not isinstance(value, (str, list, tuple, set, frozenset)):
        raise ValueError(f"{value!r} is neither text nor a list")
    words: list[str] = aslist(value)
    for word in words:
        parse_text(word)
    return words


def parse_optional_text(value: Any) -> str | None:
    """Return text, stripped; None for what is blank."""
    blank = value is None or (isinstance(value, str) and not value.strip())
    return None if blank else parse_text(value)
