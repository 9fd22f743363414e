"""Who acts: the user of a request, a token, ``pcron``, or the task that runs."""

from __future__ import annotations

import logging

from pyramid.request import Request

from .execution import current_execution

ACTOR_KEY = "pyramid_cron.actor"
"""Under this the environment of a request of a person has who that is."""

APPLICATION_ACTOR = "application"

log = logging.getLogger("pyramid_cron")


def set_actor(request: Request, who: str) -> None:
    """Take note that a person acts by this request: who it is where the request has no user."""
    request.environ[ACTOR_KEY] = who


def is_by_hand(request: Request | None) -> bool:
    """Return whether a person acts, by a page or by ``pcron``, and no task or view."""
    return request is not None and ACTOR_KEY in request.environ and current_execution.get() is None


def find_actor(request: Request | None) -> str:
    """Return who acts: the user of the request, if any, else whatever does."""
    execution = current_execution.get()
    if request is not None:
        if (user := _find_user(request)) is not None:
            return user
        if execution is None and ACTOR_KEY in request.environ:
            return str(request.environ[ACTOR_KEY])
    return APPLICATION_ACTOR if execution is None else f"task {execution.run.task}"


def _find_user(request: Request) -> str | None:
    """Return the id of the request's user; None without one, or without a policy that knows."""
    try:
        user = request.authenticated_userid
    except Exception as error:  # a policy that needs more than a request of our own has
        log.debug("the user of %s is unknown: %r", request.path_info, error)
        return None
    return None if user is None else str(user)
