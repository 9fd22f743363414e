"""Who may trigger a tick: pure decisions on peers, proxies and bearer tokens.

Nothing here does I/O or logs; :meth:`Guard.check` says who asked and, when they are refused, why.
What it cannot tell for certain, it refuses.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from netaddr import IPAddress

from .networks import NO_NETWORKS, Networks, parse_address

#: What a request bears that came through a proxy.
FORWARDING_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-IP")

#: Shown in place of a peer address that is none, so that no foreign text reaches an answer.
UNKNOWN_ADDRESS = "unknown"

_BRACKETS_OR_PORT = re.compile(r"\[([^\[\]]*:[^\[\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who asked, and why they are refused: ``reason`` is ``None`` for those let in.

    ``address`` is a plainly spelled IP address or ``unknown``: safe to put in an answer.
    ``reason`` is for the log. It has no control characters and never holds a token.
    """

    address: str
    reason: str | None = None

    @property
    def is_allowed(self) -> bool:
        """Whether the request may trigger a tick."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may trigger: who has an address in ``allow`` and, if there are ``tokens``, one of them.

    ``trusted_proxies`` are the peers whose ``X-Forwarded-For`` is believed.
    """

    allow: Networks
    tokens: tuple[str, ...] = field(default=(), repr=False)
    trusted_proxies: Networks = NO_NETWORKS

    def check(self, remote_addr: str | None, headers: Mapping[str, str]) -> Verdict:
        """Judge a request by its peer (``REMOTE_ADDR``) and headers (names in any case).

        The ``Host`` header plays no part.
        """
        peer = parse_address(remote_addr or "")
        if peer is None:
            return Verdict(UNKNOWN_ADDRESS, _explain_missing_peer(remote_addr))
        client, reason = self._find_client(peer, headers)
        if reason is None and client not in self.allow:
            reason = f"{client} is not in cron.allow"
        if reason is None and self.tokens:
            reason = self._explain_token_refusal(headers.get("Authorization"))
        return Verdict(str(client), reason)

    def _find_client(
        self, peer: IPAddress, headers: Mapping[str, str]
    ) -> tuple[IPAddress, str | None]:
        """Whose request it is; without a certain answer the peer, and a reason to refuse."""
        present = [name for name in FORWARDING_HEADERS if name in headers]
        if not present:
            return peer, None
        names = ", ".join(present)
        if peer not in self.trusted_proxies:
            return peer, f"came through a proxy that is not in cron.trusted_proxies (has {names})"
        if "X-Forwarded-For" not in present:
            return peer, f"only X-Forwarded-For is believed of a trusted proxy (has {names})"
        return self._find_forwarded_client(peer, headers["X-Forwarded-For"])

    def _find_forwarded_client(self, peer: IPAddress, header: str) -> tuple[IPAddress, str | None]:
        """Walk the hops from the nearest: the first that is no trusted proxy is the client."""
        client = peer
        for hop in reversed(header.split(",")):
            address = _parse_hop(hop)
            if address is None:
                return peer, f"X-Forwarded-For has an entry that is no IP address: {hop[:80]!a}"
            if client in self.trusted_proxies:
                client = address
        return client, None

    def _explain_token_refusal(self, authorization: str | None) -> str | None:
        """Why the ``Authorization`` header is not good enough; ``None`` if it is."""
        scheme, _, given = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            return "no bearer token in the Authorization header"
        # Not ASCII with escapes: that could turn a foreign character into part of a token.
        secret = given.strip().encode("utf-8", "surrogatepass")
        known = False
        for token in self.tokens:
            known |= hmac.compare_digest(secret, token.encode())
        return None if known else "wrong bearer token"


def _parse_hop(text: str) -> IPAddress | None:
    """Read an entry of X-Forwarded-For, where proxies may write brackets and a port."""
    hop = text.strip(" \t")
    match = _BRACKETS_OR_PORT.fullmatch(hop)
    return parse_address((match[1] or match[2]) if match else hop)


def _explain_missing_peer(remote_addr: str | None) -> str:
    return (
        f"the server gives no peer IP address (REMOTE_ADDR is {(remote_addr or '')[:80]!a}), "
        "as on a unix socket: have it listen on a TCP port"
    )
