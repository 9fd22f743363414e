from datetime import datetime, timezone

import pytest

from pyramid_cron.text import escape_unprintable, format_instant, suggest


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", "plain"),
        ("Straße 東京 🎉", "Straße 東京 🎉"),
        ("1\xa0000\u3000円", "1\xa0000\u3000円"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[2J\x07\x9b", r"\x1b[2J\x07\x9b"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("\u202eturned around", r"\u202eturned around"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("half\ud800", r"half\ud800"),
    ],
)
def test_what_a_terminal_obeys_is_escaped_and_nothing_else(text, escaped):
    assert escape_unprintable(text) == escaped


def test_some_characters_can_be_allowed():
    assert escape_unprintable("a\n\tb\x1b", allow="\n\t") == "a\n\tb\\x1b"


def test_a_name_that_is_nearly_right_is_suggested():
    assert suggest("nightli", {"hourly", "nightly"}) == "; did you mean 'nightly'?"
    assert suggest("backup", ["hourly", "nightly"]) == ""


def test_an_instant_is_written_with_z():
    assert format_instant(datetime(2026, 12, 1, 9, tzinfo=timezone.utc)) == "2026-12-01T09:00:00Z"
