"""Sets of IP addresses, as settings spell them: addresses, blocks, ranges and globs."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

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

_LONGEST_ADDRESS = 80  # an IPv6 address in full, its scope and some room
_WHOLE = {4: (0, 2**32 - 1), 6: (0, 2**128 - 1)}
_OCTET = r"(?:\*|[0-9]{1,3}(?:-[0-9]{1,3})?)"
_GLOB = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_PREFIX_LENGTH = re.compile(r"[0-9]{1,3}")
_SCOPE = re.compile(r"%[0-9A-Za-z._-]+\Z")


class Address(NamedTuple):
    """An IP address as the guard compares it. ``text`` is its usual spelling, safe to show."""

    version: int
    value: int
    text: str


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of addresses. ``spans`` holds (version, first, last), sorted and disjoint."""

    spans: tuple[tuple[int, int, int], ...] = ()

    def __contains__(self, address: Address) -> bool:
        at = bisect_right(self.spans, (address.version, address.value, _WHOLE[6][1]))
        if not at:
            return False
        version, _, last = self.spans[at - 1]
        return version == address.version and address.value <= last

    @property
    def boundless(self) -> bool:
        """Whether every IPv4 or every IPv6 address is in it."""
        return any((first, last) == _WHOLE[version] for version, first, last in self.spans)


NONE = Networks()
"""No address at all."""


def parse_networks(entries: Iterable[str]) -> Networks:
    """Read addresses, CIDR blocks, ranges ``10.0.0.1-10.0.0.9``, globs ``10.0.0.*``, or ``*``.

    IPv4 addresses mapped into IPv6 count as the IPv4 addresses they are.
    Raises :exc:`ValueError` naming the first entry that is none of these.
    """
    merged = IPSet(span for entry in entries for span in _parse_entry(entry)).iter_ipranges()
    return Networks(tuple(sorted((span.version, span.first, span.last) for span in merged)))


def parse_address(text: str) -> Address | None:
    """Read an IP address as servers spell it, without its IPv6 scope; ``None`` for other text.

    Abbreviations such as ``10.1`` are refused; ``::ffff:127.0.0.1`` is read as ``127.0.0.1``.
    """
    # Long text is no address, and must not be kept by the cache.
    return _parse_address(text) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=1024)
def _parse_address(text: str) -> Address | None:
    try:
        ip = _unmapped(_strict_address(_SCOPE.sub("", text) if ":" in text else text))
    except AddrFormatError:
        return None
    return Address(ip.version, ip.value, str(ip))


def _parse_entry(entry: str) -> list[IPRange]:
    if entry == "*":
        return [IPRange(IPAddress(a, v), IPAddress(z, v)) for v, (a, z) in _WHOLE.items()]
    try:
        first, last = map(_unmapped, _ends(entry))
    except AddrFormatError:
        raise ValueError(f"{entry!r} is no IP address, block, range or glob") from None
    if first.version != last.version:
        raise ValueError(f"{entry!r} mixes IPv4 and IPv6")
    if first > last:
        raise ValueError(f"{entry!r} ends before it begins")
    return [IPRange(first, last)]


def _ends(entry: str) -> tuple[IPAddress, IPAddress]:
    """Return the first and the last address; AddrFormatError where the entry can't be read."""
    if _GLOB.fullmatch(entry) and valid_glob(entry):
        first, last = glob_to_iptuple(entry)
        return first, last
    if "/" in entry:
        return _block_ends(entry)
    start, dash, end = entry.partition("-")
    first = _strict_address(start)
    return first, _strict_address(end) if dash else first


def _block_ends(entry: str) -> tuple[IPAddress, IPAddress]:
    start, _, bits = entry.partition("/")
    _strict_address(start)
    if not _PREFIX_LENGTH.fullmatch(bits):
        raise AddrFormatError(entry)
    block = IPNetwork(entry)  # of a host in a block, 10.0.0.5/8, this is the block
    return IPAddress(block.first, block.version), IPAddress(block.last, block.version)


def _strict_address(text: str) -> IPAddress:
    """Read an address in full spelling; AddrFormatError for anything else."""
    try:
        return IPAddress(text, flags=INET_PTON)
    except ValueError:  # a prefix length, a NUL, a lone surrogate
        raise AddrFormatError(text) from None


def _unmapped(ip: IPAddress) -> IPAddress:
    return ip.ipv4() if ip.is_ipv4_mapped() else ip
