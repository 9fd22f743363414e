"""What ``pcron`` prints."""

from __future__ import annotations

import shlex
from datetime import datetime, timezone

import plaster.loaders
import pytest

from pyramid_cron.scripts.pcron import main
from tests.golden.conftest import MINUTE, NOON

INI = """
[app:main]
use = call:tests.golden.shop:main
cron.timezone = Europe/Berlin
cron.url = sqlite:///%(here)s/cron.sqlite
cron.retention = 1d
"""
COMMANDS = ("list", "next", "explain", "check", "tick", "run", "history", "show", "pause")
COMMANDS += (
    "waiting",
    "defer",
    "reschedule",
    "resume",
    "cancel",
    "retry",
    "backfill",
    "simulate",
    "export",
    "health",
    "prune",
)
BEFORE_AUTUMN = datetime(2026, 10, 24, tzinfo=timezone.utc)
SPAN = ("--since", "2026-06-15T10:00", "--until", "2026-06-15T14:00")


class Shell:
    """Calls ``pcron``, and keeps what a terminal would show."""

    def __init__(self, ini, capsys):
        self.ini, self.capsys = ini, capsys
        self.transcript = ""

    def __call__(self, *arguments):
        """Call one command."""
        self.capsys.readouterr()
        try:
            status = main(["pcron", self.ini, *arguments])
        except SystemExit as end:  # as --help has it
            status = end.code
        out, err = self.capsys.readouterr()
        command = shlex.join(["pcron", "shop.ini", *arguments])
        self.transcript += f"$ {command}\n{out}{err}[exit status {status}]\n\n"

    def both(self, *arguments):
        """Call one command for people and for programs."""
        self(*arguments)
        self(*arguments, "--json")


@pytest.fixture(scope="session")
def loaders():
    """Finds loaders as ``plaster`` does, but reads what is installed only once."""
    found, find = {}, plaster.loaders.find_loaders

    def find_once(scheme, protocols=None):
        key = scheme, tuple(protocols or ())
        if key not in found:
            found[key] = find(scheme, protocols)
        return found[key]

    return find_once


@pytest.fixture
def pcron(loaders, store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("plaster.loaders.find_loaders", loaders)
    ini = tmp_path / "shop.ini"
    ini.write_text(INI)
    return Shell(str(ini), capsys)


@pytest.fixture
def transcript(pcron, golden):
    return lambda name: golden(f"pcron/{name}.txt", pcron.transcript)


def test_list(pcron, transcript):
    pcron.both("list")
    transcript("list")


def test_next(pcron, transcript, clock):
    pcron.both("next")
    pcron.both("next", "sweep", "-n", "2")
    pcron.both("next", "refund")
    clock.moment = BEFORE_AUTUMN
    pcron.both("next", "letter", "-n", "2")
    transcript("next")


def test_explain(pcron, transcript):
    pcron.both("explain", "30 2 * * *")
    pcron.both("explain", "*/20", "*", "*", "*", "*", "--timezone", "America/New_York")
    pcron.both("explain", "every 90m")
    pcron.both("explain", "2026-12-01T09:00:00+01:00")
    pcron.both("explain", "@daily", "--timezone", "Asia/Tokyo")
    transcript("explain")


def test_check(pcron, transcript):
    pcron.both("check")
    transcript("check")


def test_tick(pcron, transcript, clock):
    pcron("tick")
    pcron("tick", "--json")
    clock.moment += 54 * MINUTE
    pcron("tick")
    clock.moment += 60 * MINUTE
    pcron("tick", "--at", "now", "--json")
    pcron("tick", "--at", "2026-06-15T18:00:30")
    transcript("tick")


def test_run(pcron, transcript, clock):
    for task in ("orders", "mail", "backup", "forecast"):
        clock.moment += MINUTE
        pcron.both("run", task)
    pcron("run", "refund", "--payload", '{"order": 9}')
    transcript("run")


def test_history(pcron, transcript):
    pcron.both("history")
    pcron.both("history", "mail", "--state", "failed", "--limit", "2")
    pcron.both("history", "letter")
    transcript("history")


def test_show(pcron, transcript, newest):
    for task in ("orders", "mail", "refund", "backup"):
        pcron.both("show", newest(task))
    for task in ("slow", "forecast", "audit", "parcels"):
        pcron("show", newest(task))
    transcript("show")


def test_pause_and_resume(pcron, transcript, clock):
    pcron("pause", "p*", "--for", "2h", "--reason", "moving")
    clock.moment += MINUTE
    pcron("pause", "re:^m", "--until", "2026-07-01", "--json")
    pcron("pause", "sweep", "--until", "+30m")
    pcron("pause", "orders")
    pcron("list")
    clock.moment += MINUTE
    pcron.both("resume", "p*")
    pcron("resume")
    pcron("resume", "*", "--json")
    transcript("pause_and_resume")


def test_cancel_and_retry(pcron, transcript, newest):
    mail, parcels = newest("mail"), newest("parcels")
    pcron("retry", mail)
    pcron("cancel", parcels)
    pcron("cancel", mail)
    pcron("retry", newest("orders"))
    pcron("history", "parcels", "--limit", "1")
    pcron("list")
    transcript("cancel_and_retry")


def test_waiting(pcron, transcript):
    pcron.both("waiting")
    pcron("waiting", "refund", "--limit", "1")
    pcron("waiting", "--trigger", "retry")
    transcript("waiting")


def test_defer(pcron, transcript):
    pcron("defer", "refund", "--after", "10m")
    pcron("defer", "refund", "--after", "20m", "--json")
    pcron("defer", "refund", "--at", "2026-06-16T09:00", "--payload", '{"order": 9}')
    pcron("defer", "refund", "--key", "order-8")
    pcron.both("defer", "refund", "--key", "order-8", "--at", "+1h", "--replace")
    pcron("waiting", "refund")
    transcript("defer")


def test_moving_and_ending_what_waits(pcron, transcript, newest_waiting):
    run = newest_waiting("refund")
    pcron.both("reschedule", run, "--after", "1h")
    pcron("show", run)
    pcron("cancel", run)
    pcron.both("cancel", "--all", "sweep", "--trigger", "backfill")
    pcron("reschedule", run, "--after", "1h")
    pcron("defer", "refund", "--key", "order-8")
    pcron("waiting")
    transcript("moving_and_ending")


def test_backfill(pcron, transcript):
    pcron.both("backfill", "poll", *SPAN)
    pcron("backfill", "orders", *SPAN, "--overlap", "allow", "--json")
    transcript("backfill")


def test_simulate(pcron, transcript):
    pcron.both("simulate", *SPAN)
    pcron.both("simulate", *SPAN, "--summary")
    transcript("simulate")


def test_export(pcron, transcript):
    pcron("export")
    transcript("export")


def test_health(pcron, transcript, clock):
    pcron.both("health")
    clock.moment += 90 * MINUTE
    pcron.both("health")
    transcript("health")


def test_prune(pcron, transcript, clock):
    pcron.both("prune")
    clock.moment = NOON + 24 * 60 * MINUTE + 20 * MINUTE
    pcron("prune")
    clock.moment += 24 * 60 * MINUTE
    pcron("prune", "--json")
    pcron("history")
    transcript("prune")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(pcron, transcript, command):
    pcron(*([command] if command else []), "--help")
    transcript(f"help/{command or 'pcron'}")


def test_the_usual_errors(pcron, transcript):
    mistakes = [
        ["run", "order"],
        ["next", "nope"],
        ["history", "nope"],
        ["history", "--state", "odd"],
        ["history", "--limit", "0"],
        ["show", "nope"],
        ["cancel", "nope"],
        ["retry", "nope"],
        ["retry", "0a1"],
        ["waiting", "nope"],
        ["defer", "nope"],
        ["defer", "refund", "--after", "soon"],
        ["defer", "refund", "--replace"],
        ["reschedule", "nope"],
        ["cancel"],
        ["cancel", "--all", "nope"],
        ["backfill", "nope", *SPAN],
        ["backfill", "orders", "--since", "-2h", "--until", "+2h"],
        ["backfill", "orders"],
        ["run", "refund", "--payload", "{"],
        ["tick", "--at", "noon"],
        ["simulate", "--since", "now", "--until", "-2h"],
        ["pause", "*", "--for", "soon"],
        ["pause", "*", "--for", "1h", "--until", "now"],
        ["pause", "*", "--until", "2020-01-01"],
        ["pause", "x*"],
        ["pause", "re:("],
        ["resume", "x*"],
        ["next", "-n", "none"],
        ["explain", "61 * * * *"],
        ["explain", "every soon"],
        ["explain", "@daily", "--timezone", "Mars"],
        ["nosuch"],
        [],
    ]
    for mistake in mistakes:
        pcron(*mistake)
    pcron.ini = "none.ini"
    pcron("list")
    transcript("errors")
