"""``pcron … schedule``, ``unschedule`` and ``schedules``."""

import pytest


def test_one_is_made_listed_and_removed(shop):
    assert shop.fine("schedules") == "there are no stored schedules\n"
    made = shop.fine(
        "schedule", "ann", "clean", "--cron", "30 7 * * mon", "--payload", '{"customer": 7}'
    )
    assert made.startswith("ann: clean at 07:30 on Monday (Europe/Berlin); next 2")
    [data] = shop.json("schedules")
    assert (data["name"], data["payload"]) == ("ann", {"customer": 7})
    assert (data["schedule"], data["state"]) == ("30 7 * * mon", "ok")
    [_, row] = shop.fine("schedules", "clean").splitlines()
    assert row.split()[:3] == ["ann", "clean", "ok"]
    assert shop.fine("unschedule", "ann") == "removed ann\n"
    assert shop.json("schedules") == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["ann", "none", "--every", "1h"], "task='none': there is no such cron task"),
        (["ann", "clean", "--every", "1x"], "every='1x'"),
        (["ann", "clean"], "one of the arguments --cron --every --at is required"),
        (["ann", "clean", "--every", "1h", "--payload", "{"], "--payload '{' is no JSON"),
        (["ann", "clean", "--every", "1h", "--timezone", "Mars"], "timezone='Mars' is no IANA"),
    ],
)
def test_what_is_wrong_is_one_line(shop, arguments, error):
    assert shop.wrong("schedule", *arguments).startswith(error)


def test_one_that_is_not_there(shop):
    assert shop.wrong("unschedule", "ann") == "there is no stored schedule named 'ann'"


def test_moments_and_disabled_ones(shop):
    made = shop.fine(
        "schedule", "a", "clean", "--every", "1h", "--starting", "2030-01-01", "--disabled"
    )
    assert made.endswith("; disabled\n")
    [data] = shop.json("schedules")
    assert data["starting"].startswith("2029-12-31T23:00:00")
    assert data["enabled"] is False
