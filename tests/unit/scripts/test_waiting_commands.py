"""``pcron`` on what waits: waiting, defer, reschedule, cancel and retry."""

from __future__ import annotations

import json
import re

import pytest

from tests.unit.scripts.test_pcron import terminal

LATER = ("--at", "2100-01-01T09:00")
WAITS = "waits, not before 2100-01-01 09:00:00 CET"


@pytest.fixture
def defer(shop):
    """Defer a task; return the run that waits."""
    return lambda *options: shop.json("defer", "clean", *(options or LATER))


def test_nothing_waits_at_first(shop):
    assert shop.fine("waiting") == "nothing waits\n"
    assert shop.fine("waiting", "clean") == "nothing waits\n"
    assert shop.json("waiting") == []


def test_waiting_lists_what_waits_the_next_first(shop, defer):
    second = defer("--at", "2100-01-02", "--key", "order 7", "--payload", '{"id": "ü"}')
    first = defer()
    lines = shop.fine("waiting").splitlines()
    assert lines == [
        "RUN                         NOT BEFORE               WHY    TRIGGER",
        f"{first['run']}  2100-01-01 09:00:00 CET  later  deferred",
        "    clean",
        f"{second['run']}  2100-01-02 00:00:00 CET  later  deferred",
        '    clean, key order 7, payload {"id": "ü"}',
    ]
    assert shop.json("waiting") == [first, second]
    assert shop.json("waiting", "clean", "--trigger", "retry") == []
    assert shop.json("waiting", "nightly") == []
    lines = shop.fine("waiting", "--limit", "1").splitlines()
    assert (len(lines), lines[-1]) == (4, "1 of 2 are shown; --limit shows more")
    assert len(shop.fine("waiting", "--limit", "2").splitlines()) == 5
    shown = shop.fine("waiting", "clean", "--trigger", "deferred", "--limit", "1")
    assert "1 of 2 are shown" in shown


def test_waiting_says_which_attempt_and_slot_it_is(shop):
    shop("run", "fails")
    shop.fine("retry", shop.json("history")[0]["run"])
    assert re.search(r"  retry  retry\n    fails, attempt 2, slot 20", shop.fine("waiting"))
    shop.fine("backfill", "nightly", "--since", "2026-05-01", "--until", "2026-05-03")
    assert "  time  backfill\n    nightly\n" in shop.fine("waiting", "nightly")


def test_defer_says_when_and_takes_a_payload(shop, defer):
    assert re.fullmatch(
        f"run [0-9a-f]{{26}} of clean {WAITS}\n", shop.fine("defer", "clean", *LATER)
    )
    run = defer("--after", "10m", "--payload", '{"id": 7}', "--key", "k")
    assert (run["key"], run["payload"], run["trigger"]) == ("k", {"id": 7}, "deferred")
    assert run["slot"] == run["not_before"]
    shop.fine("defer", "clean")
    assert shop("tick") in (0, 1)
    assert shop.json("history", "clean")[0]["trigger"] == "deferred"


def test_defer_says_what_happened_to_the_run_with_the_key(shop, defer):
    run = defer(*LATER, "--key", "k")
    name = f"run {run['run']} of clean"
    again = shop.fine("defer", "clean", "--key", "k")
    assert again == f"{name} {WAITS}; it had the key already; --replace moves it\n"
    moved = shop.fine("defer", "clean", "--key", "k", "--at", "2100-01-02", "--replace")
    assert moved == f"{name} waits, not before 2100-01-02 00:00:00 CET; it has been moved\n"
    shop.fine("cancel", run["run"])
    over = shop.fine("defer", "clean", "--key", "k")
    assert over == f"{name} is cancelled; it has the key, so nothing is deferred\n"
    assert shop.fine("waiting") == "nothing waits\n"


def test_a_run_is_rescheduled_by_a_shortened_id(shop, defer):
    run = defer("--after", "1h")
    assert shop.fine("reschedule", run["run"][:8], *LATER) == f"run {run['run']} of clean {WAITS}\n"
    moved = shop.json("reschedule", run["run"], "--after", "90s")
    assert (moved["run"], moved["not_before"] < run["not_before"]) == (run["run"], True)


def test_cancel_says_that_a_waiting_run_is_cancelled(shop, defer):
    run = defer()
    assert shop.fine("cancel", run["run"][:8]) == f"run {run['run']} of clean is cancelled\n"
    assert "is over: it has cancelled" in shop.wrong("cancel", run["run"])
    assert shop.json("cancel", defer()["run"])["state"] == "cancelled"


def test_cancel_says_that_the_cancellation_of_an_active_run_is_requested(shop):
    shop.write(
        """
    import os, sys
    from pyramid_cron.scripts.pcron import main as pcron

    def cancel_itself(system):
        print(pcron(["pcron", global_config["__file__"], "cancel", system["run"].id]))

    config.add_cron_task(cancel_itself, name="itself", on_demand=True)
    """
    )
    shop("run", "itself")
    assert re.match(
        r"run [0-9a-f]{26} of itself is (claimed|running): cancellation requested\n", shop.out
    )


def test_cancel_all_ends_what_waits_of_a_task(shop, defer):
    defer()
    shop.fine("backfill", "nightly", "--since", "2026-05-01", "--until", "2026-05-03")
    assert shop.fine("cancel", "--all", "clean", "--trigger", "retry").startswith("0 waiting runs")
    assert shop.fine("cancel", "--all", "clean") == "1 waiting run of clean cancelled\n"
    ended = shop.json("cancel", "--all", "nightly", "--trigger", "backfill")
    assert ended == {"task": "nightly", "trigger": "backfill", "cancelled": 2}
    assert shop.fine("waiting") == "nothing waits\n"


def test_retry_says_which_run_waits(shop):
    shop("run", "fails")
    [failed] = shop.json("history")
    line = shop.fine("retry", failed["run"][:8])
    [waiting] = shop.json("waiting")
    assert line.startswith(f"run {waiting['run']} of fails waits, attempt 2, not before 20")
    assert shop.json("retry", failed["run"]) == waiting


def test_show_takes_a_shortened_id_and_says_why_a_run_waits(shop, defer):
    run = defer(*LATER, "--key", "order 7")
    text = shop.fine("show", run["run"][:8])
    assert "\nstate:      waiting\n" in text
    assert "\nkey:        order 7\n" in text
    assert "\nnot before: 2100-01-01 09:00:00 CET\n" in text
    assert "\nwhy:        later\n" in text
    assert "process" not in text
    assert "cancelled" in shop.fine("cancel", run["run"])
    assert "\nwhere:    -\n" in shop.fine("show", run["run"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["waiting", "nope"], "there is no cron task named 'nope'"),
        (["waiting", "--trigger", "odd"], "invalid choice: 'odd'"),
        (["waiting", "--limit", "0"], "'0' is no number, 1 or more"),
        (["defer", "cleen"], "did you mean 'clean'?"),
        (["defer", "clean", "--payload", "{"], "--payload '{' is no JSON"),
        (["defer", "clean", "--at", "noon"], "--at 'noon' is no moment"),
        (["defer", "clean", "--after", "soon"], "--after 'soon' is no duration"),
        (["defer", "clean", "--at", "now", "--after", "1h"], "not allowed with argument --at"),
        (["defer", "clean", "--replace"], "--replace needs --key KEY"),
        (["defer", "clean", "--key", ""], "key='': must be text of 1 to 200"),
        (["reschedule", "0a12"], "one of the arguments --at --after is required"),
        (["reschedule", "0a12", "--after", "1h"], "there is no run '0a12'"),
        (["cancel"], "one of the arguments RUN --all is required"),
        (["cancel", "0a12", "--all", "clean"], "not allowed with argument"),
        (["cancel", "0a12", "--trigger", "retry"], "--trigger goes with --all TASK"),
        (["cancel", "--all", "nope"], "there is no cron task named 'nope'"),
        (["cancel", "0a1"], "'0a1' is too short for a run's id: give 4 characters or more"),
        (["show", "0a1"], "'0a1' is too short for a run's id"),
        (["retry", "0a12"], "there is no run '0a12'"),
    ],
)
def test_wrong_use_is_one_line(shop, arguments, line):
    assert line in shop.wrong(*arguments)


@pytest.mark.parametrize("command", ["show", "cancel", "retry", "reschedule"])
def test_an_ambiguous_id_names_the_runs(shop, defer, command):
    ids = sorted(defer()["run"] for _ in range(2))
    options = ["--after", "1h"] if command == "reschedule" else []
    line = shop.wrong(command, ids[0][:8], *options)
    assert f"the ids of 2 runs begin with '{ids[0][:8]}': {ids[0]}, {ids[1]}" in line


@pytest.mark.system
def test_waiting_fits_into_80_columns(shop, defer):
    defer("--at", "2100-07-01T09:00", "--payload", json.dumps({"text": "x" * 100}))
    lines = terminal(shop, "waiting", COLUMNS="80").splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) == 80
    assert lines[2].endswith("xxx…")
