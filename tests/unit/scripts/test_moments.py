"""Moments as options of commands."""

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest

from pyramid_cron.scripts.context import (
    CommandFailedError,
    join_negative_moments,
    parse_moment_option,
)

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", "2026-06-15T12:00:00+00:00"),
        ("-2h", "2026-06-15T10:00:00+00:00"),
        ("+1d", "2026-06-16T12:00:00+00:00"),
        ("2026-12-01", "2026-11-30T23:00:00+00:00"),
        ("2026-06-15T14:00", "2026-06-15T12:00:00+00:00"),
        ("2026-06-15 14:00:30", "2026-06-15T12:00:30+00:00"),
        ("2026-06-15T14:00Z", "2026-06-15T14:00:00+00:00"),
        ("2026-06-15T14:00:00-05:00", "2026-06-15T19:00:00+00:00"),
    ],
)
def test_a_moment_is_read(text, instant):
    assert parse_moment_option(text, "--at", NOW, ZoneInfo("Europe/Berlin")).isoformat() == instant


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "-", "-2x", "-99999999999d", "0001-01-01", "25:00"]
)
def test_what_is_no_moment_is_named(text):
    with pytest.raises(CommandFailedError, match="--at"):
        parse_moment_option(text, "--at", NOW, ZoneInfo("Europe/Berlin"))


def test_a_moment_that_looks_like_an_option_is_joined_to_its_own():
    assert join_negative_moments(["--since", "-2h", "--until", "now"]) == [
        "--since=-2h",
        "--until",
        "now",
    ]
    assert join_negative_moments(["-n", "-2"]) == ["-n", "-2"]
