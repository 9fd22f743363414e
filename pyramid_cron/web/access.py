"""Who may use the pages: the trigger's rule, or a permission of the application; CSRF checks."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from pyramid.csrf import CookieCSRFStoragePolicy, LegacySessionCSRFStoragePolicy
from pyramid.httpexceptions import HTTPForbidden
from pyramid.interfaces import ICSRFStoragePolicy, ISecurityPolicy, ISessionFactory
from pyramid.request import Request
from pyramid.response import Response

from ..app import CronApp, get_cron
from ..guard import CLIENT_HEADERS, Verdict
from .problems import HTTPProblem, problem_json_response
from .urls import TRIGGER_ROUTE

ContextView = Callable[[Any, Request], Response]

HIDDEN_ACTION = (
    "an action by address alone, where waitress takes forwarding headers away, may be anybody's:"
    " set cron.token or cron.permission, or clear_untrusted_proxy_headers = false for waitress"
)
"""Why nobody may act where an allowed peer may be a proxy that cannot be told."""

CSRF_COOKIE = "cron_csrf"
CSRF_FIELD = "csrf_token"

log = logging.getLogger("pyramid_cron")


def has_token(request: Request) -> bool:
    """Return whether the request comes from an allowed address with one of ``cron.token``."""
    guard = get_cron(request.registry).guard
    return bool(guard.tokens) and _verdict(request).is_allowed


def client_name(request: Request) -> str:
    """Return who sends a request that no user of the application is known for."""
    if has_token(request):
        return "token"
    return f"address {_verdict(request).address}"


def is_action(request: Request) -> bool:
    """Return whether the request is to change something."""
    return request.method not in ("GET", "HEAD")


def why_forbidden(request: Request, *, to_act: bool) -> str | None:
    """Return why the request may not use the pages, to look or ``to_act``; None if it may.

    Where a permission is set for that, it or a token is needed. Otherwise the guard decides.
    """
    permissions = _needed_permissions(request, to_act=to_act)
    if not permissions:
        return _explain_refusal_by_address(request, to_act=to_act)
    if has_token(request):
        return None
    name = repr(permissions[0])
    # Without a security policy Pyramid grants every permission.
    if request.registry.queryUtility(ISecurityPolicy) is None:
        return f"the application has no security policy to grant the permission {name}"
    if any(request.has_permission(permission) for permission in permissions):
        return None
    return f"lacks the permission {name}"


def may_act(request: Request) -> bool:
    """Return whether who sees a page may also press its buttons."""
    return why_forbidden(request, to_act=True) is None


def _needed_permissions(request: Request, *, to_act: bool) -> tuple[str, ...]:
    """Return the permissions of which one is needed: who may act may also look."""
    settings = get_cron(request.registry).settings
    names = (settings.permission,) if to_act else (settings.view_permission, settings.permission)
    return tuple(name for name in names if name is not None)


def _explain_refusal_by_address(request: Request, *, to_act: bool) -> str | None:
    cron, environ = get_cron(request.registry), request.environ
    reason = cron.guard.check_page(environ.get("REMOTE_ADDR"), request.headers).reason
    if reason is None:
        warn_of_hidden_proxies(cron, environ)
        if to_act and _may_be_of_anybody(request):
            reason = HIDDEN_ACTION
    return reason


def _may_be_of_anybody(request: Request) -> bool:
    """Return whether an allowed peer may be a proxy that cannot be told from its machine."""
    return not get_cron(request.registry).guard.tokens and is_hiding_proxies(request.environ)


def lacks_buttons_by_server(request: Request) -> bool:
    """Return whether who sees a page may not act only since the server hides proxies."""
    needs_permission = _needed_permissions(request, to_act=True)
    return not needs_permission and _may_be_of_anybody(request)


def require_access(view: ContextView) -> ContextView:
    """Decorate a view: a request without access gets 403 and a WARNING that says why."""

    @functools.wraps(view)
    def guard_then_call(context: Any, request: Request) -> Response:
        reason = why_forbidden(request, to_act=is_action(request))
        if reason is not None:
            log.warning("%s refused: %s", request.path_info, reason)
            return _forbid(request, reason)
        return view(context, request)

    return guard_then_call


def _forbid(request: Request, reason: str) -> Response:
    accept = request.headers.get("Accept", "")
    if _needed_permissions(request, to_act=is_action(request)):
        if "json" not in accept or "html" in accept:
            raise HTTPForbidden()  # the application's own forbidden view may ask for a login
        return problem_json_response(request, HTTPProblem(403, "the permission is missing"))
    message = f"fail {_verdict(request).address}"
    if reason == HIDDEN_ACTION:  # who may look is shown as much by the pages
        message += f": {reason}"
    if "text/html" not in accept:
        return problem_json_response(request, HTTPProblem(403, message))
    response = Response(message, status=403, content_type="text/plain", charset="UTF-8")
    response.headers.update({"Cache-Control": "no-store", "Vary": "Accept"})
    return response


def _verdict(request: Request) -> Verdict:
    guard = get_cron(request.registry).guard
    return guard.check(request.environ.get("REMOTE_ADDR"), request.headers)


def csrf_token(request: Request) -> str:
    """Return the CSRF token that a form has to send."""
    return str(_csrf_policy(request).get_csrf_token(request))


def is_csrf_safe(request: Request) -> bool:
    """Return whether the request cannot be cross-site.

    It cannot with a bearer token, with our CSRF token, or with JSON, ``PUT`` or ``DELETE`` from no
    other site: for these, cross-site, a browser needs a preflight request.
    """
    if has_token(request):
        return True
    if request.content_type == "application/json" or request.method in ("PUT", "DELETE"):
        return not _is_cross_site(request)
    token = request.headers.get("X-CSRF-Token") or request.POST.get(CSRF_FIELD, "")
    return bool(isinstance(token, str) and _csrf_policy(request).check_csrf_token(request, token))


def _is_cross_site(request: Request) -> bool:
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    try:
        return origin is not None and urlsplit(origin).netloc != request.host
    except ValueError:  # it is no URL
        return True


def _csrf_policy(request: Request) -> Any:
    """Return the application's CSRF policy; our cookie without one, or without its sessions."""
    registry = request.registry
    policy = registry.queryUtility(ICSRFStoragePolicy)
    is_usable = policy is not None and (
        not isinstance(policy, LegacySessionCSRFStoragePolicy)
        or registry.queryUtility(ISessionFactory) is not None
    )
    if is_usable:
        return policy
    return CookieCSRFStoragePolicy(
        cookie_name=CSRF_COOKIE,
        secure=request.scheme == "https",
        httponly=True,
        path=request.route_path(TRIGGER_ROUTE),
        samesite="Strict",
    )


WAITRESS_KEY = "waitress.client_disconnected"
"""What waitress, and nothing else, has in the environment of a request: a method of a channel."""


def is_hiding_proxies(environ: Mapping[str, Any]) -> bool:
    """Return whether the server takes forwarding headers away, as waitress does by default.

    Then whatever comes through a proxy on an allowed machine looks like that machine. waitress
    leaves the peer it trusts the headers it trusts; one that names the client then tells.
    """
    if WAITRESS_KEY not in environ:
        return False
    channel = getattr(environ[WAITRESS_KEY], "__self__", None)
    options: Any = getattr(channel, "adj", None)
    if not getattr(options, "clear_untrusted_proxy_headers", True):
        return False
    [peer, *_] = getattr(channel, "addr", None) or ("",)
    is_trusted = getattr(options, "trusted_proxy", None) in ("*", peer)
    return not (is_trusted and CLIENT_HEADERS.intersection(options.trusted_proxy_headers))


def warn_of_hidden_proxies(cron: CronApp, environ: Mapping[str, Any]) -> None:
    """Log once per process that a proxy could let anybody in, where addresses alone guard."""
    if cron.guard.tokens or not is_hiding_proxies(environ):
        return
    text = (
        "waitress takes forwarding headers away, so through a proxy on a machine in cron.allow"
        " anybody is let in, but for actions on the pages; set cron.token, or"
        " clear_untrusted_proxy_headers = false for waitress"
    )
    if cron.warnings.add(text):
        log.warning(text)
