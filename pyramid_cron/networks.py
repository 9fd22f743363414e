"""Sets of IP addresses, as settings spell them: addresses, blocks, ranges and globs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

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

_ALL_ADDRESSES = tuple(
    IPRange(IPAddress(0, version), IPAddress(2**bits - 1, version))
    for version, bits in ((4, 32), (6, 128))
)
_OCTET = r"(?:\*|[0-9]{1,3}(?:-[0-9]{1,3})?)"
_GLOB = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_PREFIX_LENGTH = re.compile(r"[0-9]{1,3}")
_SCOPE = re.compile(r"%[0-9A-Za-z._-]+\Z")


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of addresses; its ranges are in order and apart from each other."""

    spans: tuple[IPRange, ...] = ()

    def __contains__(self, address: IPAddress) -> bool:
        return any(address in span for span in self.spans)

    @property
    def is_unbounded(self) -> bool:
        """Whether every IPv4 or every IPv6 address is in it."""
        return any(span in _ALL_ADDRESSES for span in self.spans)


NO_NETWORKS = Networks()
"""No address at all."""


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
