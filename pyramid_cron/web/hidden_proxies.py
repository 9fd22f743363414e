"""Servers that hide from the guard that a request came through a proxy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..app import CronApp
from ..guard import CLIENT_HEADERS

WAITRESS_KEY = "waitress.client_disconnected"
"""What waitress, and nothing else, has in the environment of a request: a method of a channel."""

log = logging.getLogger("pyramid_cron")


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
