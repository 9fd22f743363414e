"""Sets of small numbers as bits of an integer."""

from __future__ import annotations


def lowest_bit(mask: int) -> int:
    """Return the lowest number in ``mask``, which isn't empty."""
    return (mask & -mask).bit_length() - 1


def highest_bit(mask: int) -> int:
    """Return the highest number in ``mask``, which isn't empty."""
    return mask.bit_length() - 1
