"""What a program writes, kept in a bounded space: the beginning and the end."""

from __future__ import annotations

OUTPUT_HEAD_BYTES = 32 * 1024
"""Bytes kept of the beginning of a stream."""

OUTPUT_TAIL_BYTES = 32 * 1024
"""Bytes kept of its end."""


class HeadTailBuffer:
    """The first and the last 32 KiB of a stream of bytes, and how much was left out between."""

    __slots__ = ("_head", "_size", "_tail")

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Take in what comes next."""
        self._size += len(data)
        room = OUTPUT_HEAD_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room else data
        if len(self._tail) > 4 * OUTPUT_TAIL_BYTES:  # seldom, since what stays has to be moved
            del self._tail[:-OUTPUT_TAIL_BYTES]

    def text(self) -> str | None:
        r"""Return what is kept, readable whatever it was; None if there was nothing.

        Bytes that are no UTF-8, and NUL, which not every database can keep, are shown as ``\xff``.
        Where something was left out, a line says how many bytes.
        """
        if not self._size:
            return None
        if self._size <= OUTPUT_HEAD_BYTES + OUTPUT_TAIL_BYTES:
            return _decode(self._head + self._tail)
        head, tail = (
            _trim_partial_end(self._head),
            _trim_partial_start(self._tail[-OUTPUT_TAIL_BYTES:]),
        )
        left_out = self._size - len(head) - len(tail)
        return f"{_decode(head)}\n[... {left_out} bytes left out ...]\n{_decode(tail)}"


def _decode(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _trim_partial_end(data: bytearray) -> bytearray:
    """Leave out a character at the end that was cut in two."""
    for length in range(1, min(4, len(data)) + 1):
        byte = data[-length]
        if byte & 0xC0 != 0x80:
            needed = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
            return data[:-length] if length < needed else data
    return data


def _trim_partial_start(data: bytearray) -> bytearray:
    """Leave out the rest of a character at the start that was cut in two."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:]
