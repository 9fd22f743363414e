"""What pcron's commands say of stored schedules."""

import pytest


@pytest.fixture
def ann(shop):
    shop.fine("schedule", "ann", "clean", "--cron", "30 7 * * *", "--timezone", "Europe/Berlin")
    return shop


def test_next_has_their_slots(ann):
    slots = ann.json("next", "ann", "-n", "2")
    assert [slot["schedule"] for slot in slots] == ["ann", "ann"]
    assert {slot["task"] for slot in slots} == {"clean"}
    assert "ann" in {slot["schedule"] for slot in ann.json("next", "clean", "-n", "300")}
    assert "ann" in {slot["schedule"] for slot in ann.json("next", "-n", "5000")}
    assert "SCHEDULE" in ann.fine("next", "ann").splitlines()[0]
    assert ann.wrong("next", "bob").startswith("there is no cron task named 'bob'")


def test_explain_says_what_one_means(ann):
    text = ann.fine("explain", "ann")
    assert text.startswith("ann: at 07:30 every day (Europe/Berlin)\n")
    assert "Next in Europe/Berlin:" in text
    explained = ann.json("explain", "ann")
    assert (explained["schedule"], explained["task"]) == ("ann", "clean")


def test_history_is_of_one(ann):
    assert ann.fine("history", "--schedule", "ann") == "no such runs\n"
    ann.fine("run", "clean")
    assert ann.json("history", "--schedule", "ann") == []


def test_schedules_say_their_state(ann):
    ann.fine("pause", "ann")
    [schedule] = ann.json("schedules")
    assert (schedule["state"], schedule["next"]) == ("paused", None)
