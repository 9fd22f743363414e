"""Errors that an application may meet."""

from __future__ import annotations


class StoreError(Exception):
    """The store could not do what was asked; the message names ``cron.url`` and the cause."""


class CommandError(Exception):
    """Raised when a program could not be run or ended badly; its text says how, in a line."""
