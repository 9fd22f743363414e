"""Who may change something: a machine with a token, or a browser that shows it means it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pyramid.csrf import CookieCSRFStoragePolicy, LegacySessionCSRFStoragePolicy
from pyramid.interfaces import ICSRFStoragePolicy, ISessionFactory
from pyramid.request import Request

from .access import has_token
from .urls import TRIGGER_ROUTE

CSRF_COOKIE = "cron_csrf"
CSRF_FIELD = "csrf_token"


def csrf_token(request: Request) -> str:
    """Return what a form has to send back."""
    return str(_csrf_policy(request).get_csrf_token(request))


def is_csrf_safe(request: Request) -> bool:
    """Return whether no other site can have made somebody's browser send this.

    That is so with a bearer token, with our own CSRF token, and with JSON that comes from no other
    site, which a browser would not send without having asked first.
    """
    if has_token(request):
        return True
    if request.content_type == "application/json":
        return not _is_cross_site(request)
    supplied = request.headers.get("X-CSRF-Token") or request.POST.get(CSRF_FIELD, "")
    return bool(
        isinstance(supplied, str) and _csrf_policy(request).check_csrf_token(request, supplied)
    )


def _is_cross_site(request: Request) -> bool:
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    try:
        return origin is not None and urlsplit(origin).netloc != request.host
    except ValueError:  # it is no URL at all
        return True


def _csrf_policy(request: Request) -> Any:
    """Return the application's policy; without one and without sessions, a cookie of our own."""
    registry = request.registry
    policy = registry.queryUtility(ICSRFStoragePolicy)
    usable = policy is not None and (
        not isinstance(policy, LegacySessionCSRFStoragePolicy)
        or registry.queryUtility(ISessionFactory) is not None
    )
    if usable:
        return policy
    return CookieCSRFStoragePolicy(
        cookie_name=CSRF_COOKIE,
        secure=request.scheme == "https",
        httponly=True,
        path=request.route_path(TRIGGER_ROUTE),
        samesite="Strict",
    )
