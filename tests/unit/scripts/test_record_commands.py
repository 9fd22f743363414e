"""``pcron`` on the record: actions and reset."""

from __future__ import annotations

import os
import sys

import pytest

from pyramid_cron.scripts import pcron

ME = pcron._system_user()


def test_there_are_no_actions_at_first(shop):
    assert shop.fine("actions") == "no such actions\n"
    assert shop.json("actions") == []


def test_actions_are_those_of_the_system_user(shop):
    shop.fine("pause", "nightly", "--until", "2100-01-01", "--reason", "moving")
    shop.fine("pause", "*")
    run = shop.json("defer", "clean", "--at", "2100-01-01")["run"]
    lines = shop.fine("actions").splitlines()
    assert lines[0].split() == ["WHEN", "ACTION", "WHO"]
    assert [line.split()[3] for line in lines[1::2]] == ["defer", "pause", "pause"]
    assert all(line.endswith(f"pcron ({ME})") for line in lines[1::2])
    assert [line.strip() for line in lines[2::2]] == [
        f"clean, run {run}, not before 2100-01-01 00:00:00 CET",
        "all that match *",
        "nightly, until 2100-01-01 00:00:00 CET, reason moving",
    ]
    assert max(map(len, lines)) <= 80


def test_actions_are_filtered(shop):
    shop("run", "fails")
    shop.fine("pause", "nightly")
    shop.fine("schedule", "ann", "clean", "--every", "1h")
    assert [action["action"] for action in shop.json("actions", "nightly")] == ["pause"]
    assert [action["task"] for action in shop.json("actions", "--action", "run")] == ["fails"]
    assert len(shop.json("actions", "--who", f"pcron ({ME})", "-n", "2")) == 2
    assert shop.json("actions", "--until", "2020-01-01") == []
    assert len(shop.json("actions", "--since", "-1h")) == 3
    assert "clean, schedule ann, when every hour" in shop.fine("actions", "ann")


def test_reset_forgets_all_but_that_it_was_done(shop):
    shop("run", "fails")
    line = shop.wrong("reset")
    assert line.startswith("reset forgets all runs, pauses, schedules and actions in sqlite:///")
    assert len(shop.json("history")) == 1
    assert "is forgotten" in shop.fine("reset", "--yes")
    assert shop.json("history") == []
    [action] = shop.json("actions")
    assert (action["action"], action["who"]) == ("reset", f"pcron ({ME})")
    assert "everything" in shop.fine("actions")
    assert shop.json("reset", "--yes") == {"reset": True}


def test_the_system_user_is_a_number_where_it_has_no_name(monkeypatch):
    pwd = pytest.importorskip("pwd")

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert pcron._system_user() == str(os.getuid())


def test_the_system_user_is_that_of_the_session_where_there_are_no_numbers(monkeypatch):
    monkeypatch.setitem(sys.modules, "pwd", None)
    monkeypatch.setenv("LOGNAME", "ann")
    assert pcron._system_user() == "ann"
