"""Who may trigger a tick or see a page: decisions on peers, proxies, bearer tokens and host names.

Nothing here does I/O or logs; :meth:`Guard.check` returns the client and, for a refusal, the
reason. Whatever is uncertain is refused.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netaddr import (
    INET_PTON,
    AddrFormatError,
    IPAddress,
    IPNetwork,
    IPRange,
    IPSet,
    glob_to_iptuple,
    valid_glob,
)

from .text import escape_unprintable

#: Headers of a request that came through a proxy; so is any that begins with the prefix below.
FORWARDING_HEADERS = frozenset(
    ("forwarded", "x-real-ip", "via", "cf-connecting-ip", "true-client-ip")
)

FORWARDING_PREFIX = "x-forwarded-"

#: Those of them that a server may be told to trust, and that name the client.
CLIENT_HEADERS = frozenset(("x-forwarded-for", "forwarded"))

#: Stands for a peer without an IP address, so that no foreign text reaches an answer.
UNKNOWN_ADDRESS = "unknown"

_BRACKETS_OR_PORT = re.compile(r"\[([^\[\]]*:[^\[\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


_ALL_ADDRESSES = tuple(
    IPRange(IPAddress(0, version), IPAddress(2**bits - 1, version))
    for version, bits in ((4, 32), (6, 128))
)
_OCTET = r"(?:\*|[0-9]{1,3}(?:-[0-9]{1,3})?)"
_GLOB = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")
_PREFIX_LENGTH = re.compile(r"[0-9]{1,3}")
_SCOPE = re.compile(r"%[0-9A-Za-z._-]+\Z")


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of addresses, as ranges in order that do not touch."""

    spans: tuple[IPRange, ...] = ()

    def __contains__(self, address: IPAddress) -> bool:
        return any(address in span for span in self.spans)

    @property
    def is_unbounded(self) -> bool:
        """Whether every IPv4 or every IPv6 address is in it."""
        return any(span in _ALL_ADDRESSES for span in self.spans)


NO_NETWORKS = Networks()
"""No address at all."""

ALL_NETWORKS = Networks(_ALL_ADDRESSES)
"""Every address: what ``*`` means."""


def parse_networks(entries: Iterable[str]) -> Networks:
    """Read addresses, CIDR blocks, ranges ``10.0.0.1-10.0.0.9``, globs ``10.0.0.*``, or ``*``.

    IPv4 addresses mapped into IPv6 count as the IPv4 addresses they are.
    Raises :exc:`ValueError` naming the first entry that is none of these.
    """
    merged = IPSet(span for entry in entries for span in _parse_entry(entry))
    return Networks(tuple(merged.iter_ipranges()))


def parse_address(text: str) -> IPAddress | None:
    """Read an IP address as servers spell it, without its IPv6 scope; ``None`` for other text.

    Abbreviations such as ``10.1`` are refused; ``::ffff:127.0.0.1`` is read as ``127.0.0.1``.
    """
    try:
        return _unmap(_parse_strict_address(_SCOPE.sub("", text) if ":" in text else text))
    except AddrFormatError:
        return None


def _parse_entry(entry: str) -> list[IPRange]:
    if entry == "*":
        return list(_ALL_ADDRESSES)
    try:
        first, last = map(_unmap, _parse_ends(entry))
    except AddrFormatError:
        raise ValueError(f"{entry!r} is no IP address, block, range or glob") from None
    if first.version != last.version:
        raise ValueError(f"{entry!r} mixes IPv4 and IPv6")
    if first > last:
        raise ValueError(f"{entry!r} ends before it begins")
    return [IPRange(first, last)]


def _parse_ends(entry: str) -> tuple[IPAddress, IPAddress]:
    """Return the first and the last address; AddrFormatError where the entry can't be read."""
    if _GLOB.fullmatch(entry) and valid_glob(entry):
        first, last = glob_to_iptuple(entry)
        return first, last
    if "/" in entry:
        return _parse_block_ends(entry)
    start, dash, end = entry.partition("-")
    first = _parse_strict_address(start)
    return first, _parse_strict_address(end) if dash else first


def _parse_block_ends(entry: str) -> tuple[IPAddress, IPAddress]:
    start, _, bits = entry.partition("/")
    _parse_strict_address(start)
    if not _PREFIX_LENGTH.fullmatch(bits):
        raise AddrFormatError(entry)
    block = IPNetwork(entry)  # of a host in a block, 10.0.0.5/8, this is the block
    return IPAddress(block.first, block.version), IPAddress(block.last, block.version)


def _parse_strict_address(text: str) -> IPAddress:
    """Read an address in full spelling; AddrFormatError for anything else."""
    try:
        return IPAddress(text, flags=INET_PTON)
    except ValueError:  # a prefix length, a NUL, a lone surrogate
        raise AddrFormatError(text) from None


def _unmap(ip: IPAddress) -> IPAddress:
    return ip.ipv4() if ip.is_ipv4_mapped() else ip


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may trigger a tick, and why not."""

    #: A plainly spelled IP address or ``unknown``: safe to put in an answer.
    address: str
    #: For the log, without control characters or tokens; None if the request is allowed.
    reason: str | None = None

    @property
    def is_allowed(self) -> bool:
        """Whether the request may trigger a tick."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may trigger: clients with an address in ``allow`` and, where there are any, a token."""

    allow: Networks
    tokens: tuple[str, ...] = field(default=(), repr=False)
    #: The peers whose ``X-Forwarded-For`` is believed.
    trusted_proxies: Networks = NO_NETWORKS
    #: Names in lower case under which pages may be asked for, besides ``localhost``.
    hosts: frozenset[str] = frozenset()

    def check(self, remote_addr: str | None, headers: Mapping[str, str]) -> Verdict:
        """Check a request by its peer (``REMOTE_ADDR``) and headers (names in any case).

        The ``Host`` header plays no part.
        """
        peer = parse_address(remote_addr or "")
        if peer is None:
            return Verdict(UNKNOWN_ADDRESS, self._explain_unix_socket(remote_addr, headers))
        client, reason = self._find_client(peer, headers)
        if reason is None and client not in self.allow:
            reason = f"{client} is not in cron.allow"
        if reason is None and self.tokens:
            reason = self._explain_token_refusal(headers.get("Authorization"))
        return Verdict(str(client), reason)

    def check_page(self, remote_addr: str | None, headers: Mapping[str, str]) -> Verdict:
        """Check a request for a page: as :meth:`check`, and by ``Host`` where there is no token.

        A browser on an allowed machine asks on behalf of any site that it shows, and a site may
        have a name of its own point to that machine: then it could read the answer.
        """
        verdict = self.check(remote_addr, headers)
        if self.tokens or not verdict.is_allowed or self._may_be_called(headers.get("Host")):
            return verdict
        reason = f"asked for as {headers['Host'][:80]!a}, a name that is not in cron.hosts"
        return Verdict(verdict.address, reason)

    def _may_be_called(self, host: str | None) -> bool:
        """Return whether a Host header has a known name or an address; browsers always send one."""
        if host is None:
            return True
        match = _HOST.fullmatch(host.strip())
        if match is None:
            return False
        name = (match[1] or match[2] or "").lower().removesuffix(".")
        return name == "localhost" or name in self.hosts or parse_address(name) is not None

    def _explain_unix_socket(
        self, remote_addr: str | None, headers: Mapping[str, str]
    ) -> str | None:
        """Return why a peer without an address is refused; ``None`` if it is not.

        Any address may, so none is needed, and a token is enough.
        """
        fault: str | None = "cron.allow is not *"
        if self.allow == ALL_NETWORKS:
            fault = self._explain_token_refusal(headers.get("Authorization"))
        return fault and (
            f"the server gives no peer IP address (REMOTE_ADDR is {(remote_addr or '')[:80]!a}), "
            f"as on a unix socket, where cron.allow = * and a right token are needed: {fault}"
        )

    def _find_client(
        self, peer: IPAddress, headers: Mapping[str, str]
    ) -> tuple[IPAddress, str | None]:
        """Return the client; where it is uncertain the peer, and the reason to refuse."""
        present = [name for name in headers if _is_forwarding(name)]
        if not present:
            return peer, None
        names = escape_unprintable(", ".join(present)[:200])
        if peer not in self.trusted_proxies:
            return peer, f"came through a proxy that is not in cron.trusted_proxies (has {names})"
        if "X-Forwarded-For" not in headers:
            return peer, f"only X-Forwarded-For is believed of a trusted proxy (has {names})"
        return self._find_forwarded_client(peer, headers["X-Forwarded-For"])

    def _find_forwarded_client(self, peer: IPAddress, header: str) -> tuple[IPAddress, str | None]:
        """Return the first hop, from the nearest, that is no trusted proxy."""
        client = peer
        for hop in reversed(header.split(",")):
            address = _parse_hop(hop)
            if address is None:
                return peer, f"X-Forwarded-For has an entry that is no IP address: {hop[:80]!a}"
            if client in self.trusted_proxies:
                client = address
        return client, None

    def _explain_token_refusal(self, authorization: str | None) -> str | None:
        """Return why the ``Authorization`` header is refused; ``None`` if it is not."""
        scheme, _, credentials = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not credentials.strip():
            return "no bearer token in the Authorization header"
        # Not ASCII with escapes: that could turn a foreign character into part of a token.
        secret = credentials.strip().encode("utf-8", "surrogatepass")
        is_valid = False
        for token in self.tokens:  # all of them, so that the time tells nothing
            is_valid |= hmac.compare_digest(secret, token.encode())
        return None if is_valid else "wrong bearer token"


def _is_forwarding(name: str) -> bool:
    name = name.lower()
    return name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIX)


def _parse_hop(text: str) -> IPAddress | None:
    """Read an entry of X-Forwarded-For, where proxies may write brackets and a port."""
    hop = text.strip(" \t")
    match = _BRACKETS_OR_PORT.fullmatch(hop)
    return parse_address((match[1] or match[2]) if match else hop)
