"""Lengths of time with parts of a second; the tests of intervals cover whole ones."""

from datetime import timedelta

import pytest

from pyramid_cron.schedule.quantities import parse_duration


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("90s", timedelta(seconds=90)),
        (0.25, timedelta(milliseconds=250)),
        (2, timedelta(seconds=2)),
        (timedelta(milliseconds=5), timedelta(milliseconds=5)),
        ("1d", timedelta(days=1)),
    ],
)
def test_a_span_may_have_parts_of_a_second(value, length):
    assert parse_duration(value, argument="timeout") == length


@pytest.mark.parametrize(
    "value",
    [0.0, "soon", None, True, float("nan"), float("inf"), 1e300, -1, "36526d", timedelta.max],
)
def test_a_wrong_span_is_refused_by_name(value):
    with pytest.raises(
        ValueError, match=r"^timeout=.* seconds or .* at least 0.001s and at most 36525d$"
    ):
        parse_duration(value, argument="timeout", min_seconds=0.001)
