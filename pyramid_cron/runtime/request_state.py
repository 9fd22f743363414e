"""A request as it was, so that what one task leaves on it is gone for the next."""

from __future__ import annotations

from pyramid.request import Request

CALLBACK_ATTRIBUTES = ("response_callbacks", "finished_callbacks")
"""What a request keeps: callbacks that tasks have added are called in the end."""


class RequestState:
    """The attributes of a request at one moment: reified ones, caches of methods, all others.

    A task that finds the database session, the user or the services of the one before it would
    work with what that one's transaction has closed.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._class = type(request)
        self._attributes = dict(vars(request))

    def restore(self) -> None:
        """Give the request the attributes that it had, and leave it its callbacks."""
        current = vars(self._request)
        callbacks = {name: current[name] for name in CALLBACK_ATTRIBUTES if name in current}
        current.clear()
        current.update(self._attributes | callbacks)
        if type(self._request) is not self._class:  # it was given properties
            self._request.__class__ = self._class
