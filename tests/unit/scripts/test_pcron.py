"""``pcron`` on a real application in a folder."""

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import make_url

from pyramid_cron.app import get_cron
from pyramid_cron.errors import StoreError
from pyramid_cron.scripts import operate
from pyramid_cron.scripts.command_line import make_parser
from pyramid_cron.scripts.context import CommandOutput
from pyramid_cron.scripts.pcron import COMMANDS, PCronCommand
from pyramid_cron.scripts.show import find_new_text
from pyramid_cron.sources.crontab_syntax import parse_crontab
from pyramid_cron.store.store import Store
from tests.records import claim, ended, slot, write

ROOT = Path(__file__).parents[3]


def process(shop, *arguments, before=(), environ=None, **options):
    path = os.pathsep.join([str(shop.folder), *sys.path])
    # On some Pythons importing Pyramid warns.
    environ = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"} | (environ or {})
    command = [*before, sys.executable, "-m", "pyramid_cron.scripts.pcron", shop.ini, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(command, env=environ, **pipes)


def test_list_shows_the_tasks_with_a_label(shop):
    shop.write('config.add_cron_task(clean, name="bill", hour=1, labels={"team": "billing"})')
    for label in ("team", "team:billing"):
        [task] = shop.json("list", "--label", label)
        assert (task["task"], task["labels"]) == ("bill", {"team": "billing"})
    assert shop.fine("list", "--label", "team:web", "--label", "tier") == (
        "no task has team:web and tier\n"
    )


def test_list_shows_each_task_with_its_schedule_and_its_last_run(shop):
    shop("run", "fails")
    heads, *lines = shop.fine("list").splitlines()
    assert heads.split() == ["TASK", "SCHEDULE", "STATE", "NEXT", "LAST"]
    assert lines[0].startswith("nightly  at 02:30 every day (Europe/Berlin)  ")
    assert lines[2].endswith("  failed")
    states = {task["task"]: task["state"] for task in shop.json("list")}
    assert states == {"nightly": "ok", "clean": "ok", "fails": "failing", "prints": "ok"}


def test_history_is_filtered_by_trigger_reason_host_and_moment(shop):
    shop("run", "fails")
    [run] = shop.json("history", "--trigger", "manual", "--since", "-1h", "--until", "+1h")
    assert run["task"] == "fails"
    assert shop.json("history", "--host", run["host"]) == [run]
    for options in (("--trigger", "retry"), ("--reason", "missed"), ("--until", "-1h")):
        assert shop.json("history", *options) == []


def test_next_shows_slots_in_the_configured_zone(shop):
    _, *lines = shop.fine("next", "nightly", "-n", "2").splitlines()
    assert len(lines) == 2
    assert all(" 02:30:00 CE" in line for line in lines)
    slots = [slot["slot"] for slot in shop.json("next")]
    assert len(slots) == 5
    assert slots == sorted(slots)
    assert shop.fine("next", "clean") == "no slots are left\n"


def test_next_obeys_a_schedule_of_ones_own(shop):
    shop.write(
        """
    from pyramid_cron import Cron

    class Mornings(Cron):
        __slots__ = ()

        def following(self, after):
            return Cron("0 8 * * *", timezone="Europe/Berlin").following(after)

    config.add_cron_task(clean, schedule=Mornings("* * * * *"), name="mornings")
    """
    )
    _, *lines = shop.fine("next", "mornings", "-n", "2").splitlines()
    assert [" 08:00:00 CE" in line for line in lines] == [True, True]


def test_next_has_a_note_on_a_slot_that_falls_on_a_shift(shop):
    class InOctober(PCronCommand):
        @staticmethod
        def bootstrap(uri, options):
            env = PCronCommand.bootstrap(uri, options=options)
            get_cron(env["registry"]).clock = lambda: datetime(2026, 10, 24, tzinfo=timezone.utc)
            return env

    assert InOctober(["pcron", shop.ini, "next", "nightly", "-n", "2"]).run() == 0
    assert shop.capsys.readouterr().out.splitlines() == [
        "SLOT                      TASK     NOTE",
        "2026-10-24 02:30:00 CEST  nightly",
        "2026-10-25 02:30:00 CEST  nightly  02:30 happens twice: this is the first,"
        " the second has no run",
    ]


def test_explain_says_what_shifts_do(shop):
    text = shop.fine("explain", "30 2 * * *")
    assert "02:30 is skipped: it runs once instead, at 03:00 CEST" in text
    assert "02:30 is there twice: it runs the first time only" in text
    wildcard = shop.json("explain", "*/20 * * * *", "--timezone", "America/New_York")
    assert [shift["effect"] for shift in wildcard["shifts"]] in (
        [
            "it follows elapsed time: what is skipped is not made up",
            "it follows elapsed time: it runs through both passes",
        ],
        [
            "it follows elapsed time: it runs through both passes",
            "it follows elapsed time: what is skipped is not made up",
        ],
    )
    assert "do not shift" in shop.fine("explain", "@daily", "--timezone", "Asia/Tokyo")
    assert shop.json("explain", "every", "30m")["crontab"] == "*/30 * * * * (in UTC)"
    assert shop.fine("explain", "2020-01-01T00:00Z").endswith("  never again\n")


def test_explain_takes_a_task_by_its_name(shop):
    shop.write(
        """
    from datetime import date
    from pyramid_cron import Every, Schedule

    class Tides(Schedule):
        def following(self, after):
            return Every("1h").following(after)

        def preceding(self, before):
            return Every("1h").preceding(before)

        def describe(self):
            return "at high water"

    limited = Every("6h").starting("2100-01-01T00:00Z").excluding([date(2100, 1, 1)])
    config.add_cron_task(clean, schedule=[limited, Tides()], name="limited", jitter="10m")
    """
    )
    text = shop.fine("explain", "limited")
    assert text.startswith("limited: every 6 hours, from 2100-01-01 00:00:00 UTC, except on 2100-")
    assert "  Sat 2100-01-02 01:00:00 CET\n" in text
    assert "\n\nat high water\ncrontab: none: a crontab has no such schedule\n" in text
    assert "\n    Tides says what it does; its slots around are\n" in text
    data = shop.json("explain", "limited")
    assert (data["task"], data["jitter"] < 600) == ("limited", True)
    assert [schedule["crontab"] for schedule in data["schedules"]] == [None, None]
    assert data["schedules"][0]["next"][0]["slot"] == "2100-01-02T00:00:00Z"
    assert shop.fine("explain", "clean") == "clean: on demand\n"


def test_explain_refuses_what_is_no_schedule(shop):
    assert "61 is out of range" in shop.wrong("explain", "61 * * * *")
    assert "every='soon'" in shop.wrong("explain", "every soon")
    assert "--timezone 'Mars'" in shop.wrong("explain", "@daily", "--timezone", "Mars")


def test_check_finds_no_problems_in_a_sound_application(shop):
    assert shop.fine("check").endswith("\n4 tasks, no problems\n")
    assert "note: " not in shop.out


def test_check_names_tasks_that_never_run_duplicates_and_bad_folders(shop):
    (shop.folder / "jobs" / "2weeks").mkdir(parents=True)
    shop.write(
        'config.add_cron_task(clean, at="2020-01-01T00:00Z", name="old")\n'
        '    config.add_cron_task(clean, schedule="30 2 * * *", name="again")\n'
        '    config.add_cron_command(["sync"], name="sync", hour=5)\n'
        '    config.add_cron_command(["sync"], name="sync again", hour=5)\n'
        f"    config.add_cron_folder({str(shop.folder / 'jobs')!r})\n"
    )
    assert shop("check") == 1
    assert "task 'old' never runs again" in shop.out
    assert "task 'again' runs the same at the same times as 'nightly'" in shop.out
    assert "task 'sync again' runs the same at the same times as 'sync'" in shop.out
    assert "2weeks: must be a number" in shop.out
    assert shop.out.endswith("4 problems\n")


@pytest.mark.parametrize("command", [("run", "looks"), ("tick",)])
def test_a_task_finds_a_root_and_a_client(shop, command):
    shop.write(
        "def look(system):\n"
        "        request = system['request']\n"
        "        log.warning('%s %s', type(request.root).__name__, request.client_addr)\n"
        "    config.add_cron_task(look, name='looks')\n"
    )
    shop(*command)
    [run] = shop.json("history", "looks")
    assert "DefaultRootFactory 127.0.0.1" in shop.json("show", run["run"])["output"]


def test_tick_runs_what_is_due_and_its_exit_status_is_1_if_a_run_failed(shop):
    assert shop("tick", "--at", "2026-06-15T02:31") == 0
    assert shop("tick", "--at", "2026-06-15T02:45") == 1
    assert "RuntimeError: no stock" in shop.out
    assert shop.fine("tick", "--at", "2026-06-15T02:46") == (
        "nothing due at 2026-06-15 02:46:00 CEST\n"
    )
    shop("tick", "--at", "2026-06-16T04:00:00+02:00", "--json")
    assert "prints" in [run["task"] for run in json.loads(shop.out)["runs"]]


def test_run_prints_the_log_and_the_output(shop):
    text = shop.fine("run", "clean", "--payload", '{"days": 3}')
    assert "[shop] cleaned {'days': 3}" in text
    assert " succeeded in 0." in text
    assert shop.fine("run", "prints").startswith("out\nerr\nprints run=")
    assert shop.json("run", "prints")["stdout"] == "out\n"
    assert shop("run", "fails") == 1
    assert ": RuntimeError: no stock" in shop.out


def test_with_json_other_output_goes_to_stderr(shop):
    extra = 'print("loaded")\n    config.add_cron_task(talk, name="talks", hour=5, min=1)'
    module = shop.folder / f"{shop.module}.py"
    shop.write(extra)
    module.write_text(module.read_text() + '\n\ndef talk(system):\n    print("hello")\n')
    assert shop.json("run", "talks")["state"] == "succeeded"
    assert shop.err.splitlines() == ["loaded", "hello"]
    [run] = shop.json("tick", "--at", "2026-06-16T05:01")["runs"]
    assert run["task"] == "talks"
    assert "hello\n" in shop.err
    assert "hello\n" in shop.fine("run", "talks")


def test_history_lists_runs_and_show_prints_one(shop):
    shop("run", "fails")
    shop("run", "clean", "--payload", "7")
    assert [run["task"] for run in shop.json("history")] == ["clean", "fails"]
    assert [run["task"] for run in shop.json("history", "--state", "failed")] == ["fails"]
    assert [run["task"] for run in shop.json("history", "--limit", "1")] == ["clean"]
    [run] = shop.json("history", "fails")
    assert run["run"] in shop.fine("history", "fails")
    text = shop.fine("show", run["run"])
    assert "state:    failed" in text
    assert 'raise RuntimeError("no stock")' in text
    assert shop.json("show", run["run"])["traceback"].startswith("Traceback")
    assert shop.fine("history", "nightly") == "no such runs\n"


def test_pause_and_resume(shop):
    assert "paused nightly until 20" in shop.fine("pause", "n*", "--for", "2h", "--reason", "move")
    [nightly, *_] = shop.json("list")
    assert nightly["paused"]["reason"] == "move"
    assert shop.json("pause", "fails", "--until", "2099-01-01")["until"] == "2098-12-31T23:00:00Z"
    assert shop.fine("resume", "nightly") == "resumed nightly\n"
    assert shop.fine("resume", "nightly") == "none of them was paused\n"
    assert shop.json("list")[0]["paused"] is None
    last = "9999-12-31T23:59:59Z"
    assert shop.fine("pause", "fails", "--until", last).endswith("9999-12-31 23:59:59 UTC\n")
    assert "Fri 9999-12-31 23:59:59 UTC" in shop.fine("explain", last)
    assert "no cron task matches" in shop.wrong("pause", "x*")


def test_retry_tries_a_failed_run_again_and_cancel_refuses_one_that_is_over(shop):
    shop("run", "fails")
    [run] = shop.json("history")
    run_slot = run["slot"]
    assert "is over" in shop.wrong("cancel", run["run"])
    assert " waits, attempt 2, " in shop.fine("retry", run["run"])
    assert shop("tick") == 1
    attempts = [run["attempt"] for run in shop.json("history", "fails") if run["slot"] == run_slot]
    assert attempts == [2, 1]


def test_backfill_leaves_out_slots_that_are_on_record(shop):
    span = ("fails", "--since", "2026-05-01", "--until", "2026-05-15")
    assert shop.json("backfill", *span) == {"task": "fails", "waiting": 1344, "known": 0}
    assert shop.json("backfill", *span) == {"task": "fails", "waiting": 0, "known": 1344}
    assert [task["waiting"] for task in shop.json("list")] == [0, 0, 1344, 0]
    heads, *lines = shop.fine("list").splitlines()
    assert heads.endswith("  LAST  WAITING")
    assert [line.split()[-1] for line in lines] == ["-", "-", "1344", "-"]


def test_a_backfill_says_why_there_are_no_slots(shop):
    span = ("--since", "2026-05-01T03:00", "--until", "2026-05-01T04:00")
    shop.fine("backfill", "clean", *span)
    assert shop.out == "0 slots of clean: it runs on demand only, and has no slots; use run\n"
    shop.fine("backfill", "nightly", *span)
    none = "0 slots of nightly: it has none in this time, at 02:30 every day (Europe/Berlin)\n"
    assert shop.out == none


def test_an_interrupted_backfill_goes_on_when_it_is_called_again(shop, monkeypatch):
    span = ("fails", "--since", "2026-05-01", "--until", "2026-05-15")
    split_range = operate.split_range

    def interrupted(*arguments):
        yield next(split_range(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(operate, "split_range", interrupted)
    assert shop("backfill", *span) == 130
    assert "576 slots wait" in shop.out
    monkeypatch.undo()
    sys.path.insert(0, str(shop.folder))
    assert shop.json("backfill", *span) == {"task": "fails", "waiting": 768, "known": 576}


@pytest.mark.system
def test_a_backfill_that_a_signal_ends_has_written_whole_batches(shop):
    span = ("fails", "--since", "1990-01-01", "--until", "2026-01-01")
    shop.fine("list")  # makes the store
    running = process(shop, "backfill", *span)
    while not shop.json("list")[2]["waiting"]:
        assert running.poll() is None, running.communicate()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert err == "pcron: interrupted\n"
    waiting = shop.json("list")[2]["waiting"]
    assert waiting % 576 == 0
    [counted] = re.findall(r"interrupted: (\d+) slots wait", out)
    assert int(counted) in (waiting, waiting - 576)  # which was written, and not counted yet


def test_export_writes_a_crontab_that_runs_tasks_wherever_it_is_called(shop, monkeypatch):
    pcron = installed(shop.folder / "50% 'venv'" / "bin")
    monkeypatch.setattr(sys, "executable", str(pcron.with_name("python")))
    monkeypatch.chdir(shop.folder)
    shop.ini = "shop.ini"
    text = shop.fine("export")
    assert "\n0 4 * * * sh -c 'echo out; echo err >&2'\n" in text
    nightly = next(entry for entry in parse_crontab(text.encode()) if entry.name == "nightly")
    assert (nightly.schedule, nightly.variables["CRON_TZ"]) == ("30 2 * * *", "Europe/Berlin")
    ended = subprocess.run(
        ["sh", "-c", nightly.command],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == f"{pcron} {shop.folder}/shop.ini run nightly\n"


def test_export_can_have_the_column_for_the_account(shop):
    entries = parse_crontab(shop.fine("export", "--user", "shop").encode(), user=True)
    assert {entry.user for entry in entries} == {"shop"}


def test_export_looks_for_pcron_on_the_path_where_none_is_beside_python(shop, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(shop.folder / "python"))
    pcron = installed(shop.folder / "bin")
    monkeypatch.setenv("PATH", str(pcron.parent))
    assert f"30 2 * * * {pcron} {shop.ini} run nightly\n" in shop.fine("export")
    monkeypatch.setenv("PATH", "")
    assert f"30 2 * * * pcron {shop.ini} run nightly\n" in shop.fine("export")


def installed(folder):
    """Put a ``pcron`` into a folder that prints how it was called."""
    folder.mkdir(parents=True)
    pcron = folder / "pcron"
    pcron.write_text('#!/bin/sh\necho "$0 $*"\n')
    pcron.chmod(0o755)
    return pcron


def test_prune_deletes_runs_older_than_retention(shop):
    shop("tick", "--at", "2026-01-01T02:30")
    shop("tick", "--at", "2026-01-01T02:45")
    shop.write(settings="cron.retention = 1d\n")
    assert shop.json("prune")["deleted"] > 0
    assert shop.json("history") == []


def test_a_tick_prunes_too(shop):
    shop("tick", "--at", "2026-01-01T02:30")
    shop.write(settings="cron.retention = 1d\n")
    shop("tick", "--at", "2026-01-02T02:31")
    assert [run["slot"] for run in shop.json("history", "nightly")] == ["2026-01-02T01:30:00Z"]


def test_a_tick_that_can_not_prune_is_a_tick_all_the_same(shop, monkeypatch):
    def fail(*_):
        raise StoreError("locked")

    monkeypatch.setattr("pyramid_cron.app.prune", fail)
    assert "nothing due" in shop.fine("tick", "--at", "2026-01-01T02:31")


def test_simulate_writes_what_would_run_and_runs_nothing(shop):
    span = ("--since", "2026-06-15", "--until", "2026-06-15T06:00")
    lines = shop.fine("simulate", *span).splitlines()
    assert len(lines) == 26
    assert "2026-06-15 02:30:00 CEST  nightly" in lines
    assert len(shop.json("simulate", *span)) == 26
    assert shop.json("simulate", *span, "--summary")[0]["slots"] == 1
    assert shop.fine("simulate", *span, "--summary").endswith("26 slots of 3 tasks\n")
    assert shop.json("history") == []
    nothing = ("--since", "2026-06-15T00:01", "--until", "2026-06-15T00:02")
    assert shop.json("simulate", *nothing) == []


def test_health_shows_states_and_its_exit_status_is_1_if_unhealthy(shop):
    assert shop("health") == 1
    assert "unhealthy: no tick has come yet" in shop.out
    shop("tick")
    shop("run", "fails")
    assert shop("health", "--json") == 1
    report = json.loads(shop.out)
    assert {task["task"]: task["state"] for task in report["tasks"]}["fails"] == "failing"


def test_health_shows_moments_in_the_configured_zone_and_as_json_in_utc(shop):
    shop("pause", "fails", "--until", "2099-01-01", "--reason", "moving")
    shop("tick", "--at", "2026-06-15T12:00")
    shop("health")
    assert " until 2099-01-01 00:00:00 CET: moving\n" in shop.out
    assert "nightly  late    due since 2026-06-16 02:30:00 CEST, and no tick" in shop.out
    assert "unhealthy: nightly: late, due since 2026-06-16 02:30:00 CEST, and no tick" in shop.out
    assert "Z" not in shop.out
    shop("health", "--json")
    details = {task["task"]: task["detail"] for task in json.loads(shop.out)["tasks"]}
    assert details["fails"].endswith("Z until 2098-12-31T23:00:00Z: moving")
    assert details["nightly"].startswith("due since 2026-06-16T00:30:00Z, and no tick")


def test_the_exit_status_of_a_healthy_application_is_0(shop):
    shop.fine("pause", "fails")
    shop.fine("tick", "--at", "now")
    assert shop.fine("health").splitlines()[-1] == "healthy"
    assert shop.json("health")["healthy"] is True


def test_a_store_that_cannot_be_reached_is_unhealthy(shop):
    ini, url = shop.folder / "shop.ini", "postgresql+psycopg://nobody@127.0.0.1:1/shop"
    ini.write_text(ini.read_text().replace("sqlite:///%(here)s/cron.sqlite", url))
    assert shop("health") == 1
    [line] = shop.err.splitlines()
    assert line.startswith("pcron: the store can't be read: cron.url postgresql+psycopg://nobody@")
    assert shop("health", "--json") == 1
    report = json.loads(shop.out)
    assert report["healthy"] is False
    assert report["error"].startswith("cron.url postgresql+psycopg://nobody@127.0.0.1:1/shop: ")
    assert shop("list") == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "nightli"], "did you mean 'nightly'?"),
        (["next", "nope"], "there is no cron task named 'nope'"),
        (["history", "nope"], "there is no cron task named 'nope'"),
        (["history", "--state", "odd"], "invalid choice: 'odd'"),
        (["show", "nope"], "there is no run 'nope'"),
        (["cancel", "nope"], "there is no run 'nope'"),
        (["run", "clean", "--payload", "{"], "--payload '{' is no JSON"),
        (["tick", "--at", "noon"], "--at 'noon' is no moment"),
        (["pause", "*", "--for", "soon"], "--for 'soon' is no duration"),
        (["pause", "*", "--until", "-2h"], "--until '-2h' is not in the future: it means 20"),
        (
            ["pause", "*", "--until", "2020-01-01"],
            "--until '2020-01-01' is not in the future: it means 2020-01-01 00:00:00 CET",
        ),
        (["pause", "re:("], "no regular expression"),
        (["next", "-n", "0"], "'0' is no number, 1 or more"),
        (["simulate", "--since", "now", "--until", "-2h"], "is not before"),
        (["backfill", "fails", "--since", "-2h", "--until", "+2h"], "is in the future"),
        (["nosuch"], "invalid choice: 'nosuch'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_use_is_one_line(shop, arguments, line):
    assert line in shop.wrong(*arguments)


def test_a_missing_file_a_broken_configuration_and_a_store_that_is_none_are_one_line(shop):
    shop.write(settings="cron.nonsense = 1\n")
    assert "cron.nonsense" in shop.wrong("list")
    shop.write("config.add_cron_task(clean, hour=25)")
    assert "hour=25" in shop.wrong("list")
    shop.write("import nowhere_to_be_found")
    assert "ModuleNotFoundError: No module named" in shop.wrong("list")
    shop.write()
    (shop.folder / "cron.sqlite").write_bytes(b"no database" * 1000)
    assert "cron.url" in shop.wrong("list")
    shop.ini = "nowhere.ini"
    assert shop.wrong("list") == "there is no configuration file 'nowhere.ini'"
    shop.ini = f"config:{shop.folder}/nowhere.ini"
    assert "nowhere.ini" in shop.wrong("list")


@pytest.mark.parametrize(("status", "line"), [('"bye"', "SystemExit: bye"), ("0", "SystemExit: 0")])
def test_an_application_that_ends_itself_is_one_line(shop, status, line):
    shop.write(f"raise SystemExit({status})")
    assert shop.wrong("list") == f"{shop.ini}: {line}"


def test_a_store_of_a_newer_version_is_one_line_and_a_problem_to_check(shop):
    shop.fine("list")
    with sqlite3.connect(shop.folder / "cron.sqlite") as connection:
        connection.execute("UPDATE cron_schema_info SET value = 999 WHERE name = 'schema'")
    connection.close()
    assert "cron.url" in shop.wrong("list")
    assert shop("check") == 1
    assert "cron.url" in shop.out
    assert shop.out.endswith("4 tasks, 1 problem\n")


def test_an_application_without_cron_is_named_as_such(shop):
    shop.write()
    path = shop.folder / f"{shop.module}.py"
    path.write_text(
        "from pyramid.config import Configurator\n"
        "def main(g, **s): return Configurator().make_wsgi_app()\n"
    )
    assert 'config.include("pyramid_cron") is missing' in shop.wrong("list")


def test_ctrl_c_in_a_task_is_on_record_and_ends_the_command(shop):
    shop.write('config.add_cron_task(interrupt, on_demand=True, name="stops")')
    assert shop("run", "stops") == 1
    assert shop.json("history", "stops")[0]["error"] == "KeyboardInterrupt"


@pytest.mark.system
def test_a_signal_while_a_task_runs_cancels_it_and_is_130(shop):
    mark = shop.folder / "started"
    shop.write(
        "def waits(system):\n"
        "        import pathlib, time\n"
        f"        pathlib.Path({str(mark)!r}).touch()\n"
        "        while True: time.sleep(0.01)\n"
        '    config.add_cron_task(waits, on_demand=True, name="waits")',
        settings="cron.shutdown_timeout = 1\n",
    )
    running = process(shop, "run", "waits")
    while not mark.exists():
        assert running.poll() is None, running.communicate()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert err == "pcron: interrupted\n"
    assert shop.json("history", "waits")[0]["state"] == "cancelled"


@pytest.mark.system
def test_a_closed_pipe_is_no_error(shop):
    running = process(shop, "simulate", "--since", "2020-01-01", "--until", "2026-01-01")
    assert running.stdout.readline().startswith("2020-01-01 00:15:00 CET")
    running.stdout.close()
    assert running.stderr.read() == ""
    running.stderr.close()
    assert running.wait(30) == 0


@pytest.mark.system
def test_what_can_not_be_encoded_is_escaped_but_not_in_a_crontab(shop):
    shop.write('config.add_cron_command(["echo", "\u03c0"], name="\u03c0", hour=3)')
    latin = {"PYTHONIOENCODING": "latin-1"}
    out, err = process(shop, "list", environ=latin).communicate(timeout=30)
    assert ("\n\\u03c0 " in out, err) == (True, "")
    out, err = process(shop, "export", environ=latin).communicate(timeout=30)
    assert (out, "can't encode character" in err) == ("", True)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.system
def test_without_anywhere_to_write_the_exit_status_is_that_of_the_command(shop, closed):
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    for arguments, status in ((["list"], 0), (["run", "fails"], 1)):
        running = process(shop, *arguments, before=shell)
        assert (running.communicate(timeout=30)[1], running.returncode) == ("", status)


def terminal(shop, *arguments, **environ):
    """Return what it shows on a terminal."""
    ours, theirs = pty.openpty()
    with_term = {"TERM": "xterm-256color", "COLUMNS": "200"} | environ
    running = process(shop, *arguments, environ=with_term, stdout=theirs, stderr=None)
    os.close(theirs)
    text = b""
    try:
        while data := os.read(ours, 4096):
            text += data
    except OSError:  # how a terminal says that there is no more
        pass
    os.close(ours)
    assert running.wait(30) == 0
    return text.decode()


@pytest.mark.system
def test_a_terminal_gets_rich_tables_and_no_color_is_obeyed(shop):
    assert "\x1b[1m" in terminal(shop, "list")
    assert "─" in terminal(shop, "list", NO_COLOR="1")
    assert "─" not in terminal(shop, "list", TERM="dumb")
    assert "\x1b[3" not in terminal(shop, "list", NO_COLOR="1")


@pytest.mark.system
def test_the_id_of_a_run_can_be_copied_from_a_narrow_terminal(shop):
    shop("run", "fails")
    [run] = shop.json("history")
    assert run["run"] in terminal(shop, "history", COLUMNS="80", NO_COLOR="1")


def test_each_command_has_help(shop, capsys):
    for arguments in (["--help"], *([shop.ini, name, "--help"] for name in COMMANDS)):
        with pytest.raises(SystemExit) as ended:
            PCronCommand(["pcron", *arguments])
        assert ended.value.code == 0
        assert "usage: pcron" in capsys.readouterr().out


def test_the_application_can_be_replaced_as_in_other_scripts(shop):
    calls = []

    class Command(PCronCommand):
        @staticmethod
        def bootstrap(uri, options):
            calls.append((uri, options))
            return PCronCommand.bootstrap(uri, options=options)

    assert Command(["pcron", shop.ini, "list"]).run() == 0
    assert calls == [(shop.ini, {"__script__": "pcron"})]


def test_the_manual_mentions_each_command_and_option():
    manual = "".join(
        (ROOT / "docs" / f"{name}.rst").read_text() for name in ("pcron", "pcron_running")
    )
    subparsers = next(action for action in make_parser()._actions if action.dest == "command")
    assert set(subparsers.choices) == set(COMMANDS)
    for name, command in subparsers.choices.items():
        assert f"``{name}" in manual
        for action in command._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help") or option in manual, (name, option)


def test_output_escapes_what_a_terminal_would_obey(capsys):
    CommandOutput(ZoneInfo("UTC")).print_table(["A", "B"], [["x\x1b[31m", "1"], ["y\nz", "2"]])
    assert capsys.readouterr().out.splitlines()[1:] == ["x\\x1b[31m  1", "y\\nz       2"]


def test_show_follows_the_log_of_a_run_that_goes_on(shop, monkeypatch):
    shop.fine("check")
    store = Store(make_url(f"sqlite:///{shop.folder}/cron.sqlite"), "cron_")
    store.open()
    [run] = claim(store, slot("clean"))
    row = {"run_id": run.id, "stdout": None, "stderr": None}
    steps = iter(("one\n", "one\ntwo\n", None))

    def sleep(seconds):
        log = next(steps)
        if log is None:
            write(store, ended(run, log="one\ntwo\nthree\n"))
        else:
            store.write_live_outputs([{**row, "log": log}])

    monkeypatch.setattr("pyramid_cron.scripts.show.sleep", sleep)
    lines = shop.fine("show", run.id, "--follow").splitlines()
    assert lines[:4] == ["one", "two", "three", ""]
    assert "state:    succeeded" in lines
    assert shop.json("show", run.id, "--follow")["log"] == "one\ntwo\nthree\n"
    store.database.dispose()


@pytest.mark.parametrize(
    ("printed", "text", "new"),
    [
        ("", "a\n", "a\n"),
        ("a\n", "a\nb\n", "b\n"),
        ("a\nb\n", "a\nb\n", ""),
        (
            "x" * 500 + "\nend\n",
            "[... 9 bytes left out ...]\n" + "x" * 450 + "\nend\nnew\n",
            "new\n",
        ),
        ("long ago\n", "[... 9 bytes left out ...]\nnew\n", "[... 9 bytes left out ...]\nnew\n"),
    ],
)
def test_of_a_log_that_is_followed_what_is_new_is_printed(printed, text, new):
    assert find_new_text(printed, text) == new


def test_patterns_are_for_command_lines_after_command(shop):
    shop.write('config.add_cron_command(["sh", "-c", "true"], name="fine", hour=4)')
    pattern = "command:sh -c *"
    assert shop.fine("pause", pattern).count("paused ") == 2
    assert shop.fine("resume", "command:re:true").splitlines() == ["resumed fine"]
    since = ["--since", "2026-06-10", "--until", "2026-06-12"]
    answers = shop.json("backfill", pattern, *since)
    assert [answer["task"] for answer in answers] == ["prints", "fine"]
    assert [answer["waiting"] for answer in answers] == [2, 2]
    assert "2 had run or wait already" in shop.fine("backfill", "fine", *since)
    assert shop.json("cancel", "--all", pattern)["cancelled"] == 4
    assert "no cron task named" in shop.wrong("backfill", "command:nothing", *since)
    assert "no regular expression" in shop.wrong("work", "--only", "command:re:(")
