"""Programs as tasks: what they are given, what is kept, how they end and how they are stopped."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta

import pytest
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.runtime.subprocesses import TERM_GRACE_SECONDS
from tests.apps import NOON, configure, cron_of


@pytest.fixture
def config():
    return configure()


def ran(config, argv, payload=None, **arguments):
    """The run of one command, as the store knows it."""
    config.add_cron_command(argv, name="it", on_demand=True, **arguments)
    cron_of(config).run("it", payload, at=NOON)
    return scheduler(config.registry).history("it")[0]


def variables(run):
    return dict(line.split("=", 1) for line in run.stdout.splitlines())


def gone(pid):
    """Whether a process is over, or will be in a moment."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def pids(path, count):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if path.exists() and len(found := path.read_text().split()) == count:
            return [int(each) for each in found]
        time.sleep(0.01)
    raise AssertionError("it did not start")


class TestEnding:
    def test_stdout_and_stderr_are_kept_apart(self, config):
        run = ran(config, ["sh", "-c", "echo fine; echo careful >&2"])
        assert (run.state, run.error) == ("succeeded", None)
        assert (run.stdout, run.stderr, run.log) == ("fine\n", "careful\n", None)

    def test_output_is_all_that_was_logged_and_written(self, config):
        config.add_cron_command(
            ["sh", "-c", "echo fine; echo careful >&2"],
            name="both",
            on_demand=True,
            when=lambda system: logging.getLogger("shop").warning("may run") or True,
        )
        cron_of(config).run("both")
        [run] = scheduler(config.registry).history("both")
        assert run.log.endswith("WARNI [shop] may run\n")
        assert run.output == f"{run.log}fine\ncareful\n"

    def test_a_program_that_writes_nothing_has_no_output(self, config):
        run = ran(config, ["true"])
        assert (run.stdout, run.stderr, run.exit_status) == (None, None, 0)

    def test_an_exit_status_other_than_0_is_a_failure_with_what_was_written(self, config):
        run = ran(config, ["sh", "-c", "echo before; exit 3"])
        assert (run.state, run.error, run.stdout) == ("failed", "exit status 3", "before\n")
        assert run.exit_status == 3
        assert run.traceback is None

    def test_a_signal_is_told_by_its_name(self, config):
        run = ran(config, "kill -KILL $$", shell=True)
        assert (run.state, run.error) == ("failed", "killed by SIGKILL")
        assert run.exit_status == -9

    def test_a_program_that_is_missing_fails_when_it_is_to_run(self, config):
        run = ran(config, ["/nowhere/backup"])
        assert (run.state, run.error) == ("failed", "there is no program '/nowhere/backup'")

    def test_a_program_that_is_not_in_the_path_tells_where_it_was_looked_for(self, config):
        run = ran(config, ["backup-nobody-has"], env=("none", {"PATH": "/bin:/opt/x"}))
        assert run.error == "there is no program 'backup-nobody-has' in PATH (/bin:/opt/x)"

    def test_a_missing_directory_is_named(self, config):
        run = ran(config, ["true"], cwd="/nowhere")
        assert (run.state, run.error) == ("failed", "cwd '/nowhere' is no folder here")

    def test_what_can_not_be_executed_says_why(self, config, tmp_path):
        (tmp_path / "plain").write_text("echo hello")
        run = ran(config, [f"{tmp_path}/plain"])
        assert run.error == f"'{tmp_path}/plain' is not executable by this user"

    def test_a_script_without_its_first_line_says_why(self, config, tmp_path):
        script = tmp_path / "plain"
        script.write_text("echo hello")
        script.chmod(0o755)
        assert "a script begins with #!" in ran(config, [str(script)]).error

    def test_a_missing_interpreter_is_told_from_a_missing_script(self, config, tmp_path):
        script = tmp_path / "odd"
        script.write_text("#!/nowhere/python\n")
        script.chmod(0o755)
        assert "what '" in (error := ran(config, [str(script)]).error)
        assert "names in its #! line" in error

    def test_the_log_has_the_reason_without_a_traceback(self, config, caplog):
        ran(config, ["false"])
        [record] = [each for each in caplog.records if each.levelname == "ERROR"]
        assert record.getMessage().endswith("failed: exit status 1")
        assert record.exc_info is None

    def test_a_failed_command_is_tried_again(self, config, tmp_path):
        config.add_cron_command(
            f"echo $CRON_ATTEMPT >> {tmp_path}/tries; exit 1", shell=True, name="it", retry=2
        )
        cron = cron_of(config)
        cron.tick(NOON)
        cron.tick(NOON + timedelta(seconds=40))
        assert (tmp_path / "tries").read_text() == "1\n2\n"

    @pytest.mark.parametrize("status", [0, 3])
    def test_a_status_that_nobody_knows_is_a_failure(self, config, monkeypatch, status):
        """As where SIGCHLD is ignored, or a handler of it waits for all children."""
        waitpid = os.waitpid

        def reaped_elsewhere(pid, options):
            if waitpid(pid, options)[0]:
                raise ChildProcessError(errno.ECHILD, "No child processes")
            return 0, 0

        monkeypatch.setattr(os, "waitpid", reaped_elsewhere)
        run = ran(config, f"echo done; exit {status}", shell=True)
        assert (run.state, run.stdout, run.exit_status) == ("failed", "done\n", None)
        assert run.error.startswith("its exit status is not known: this process ignores SIGCHLD")

    def test_where_sigchld_is_ignored_no_program_seems_to_succeed(self, config):
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            run = ran(config, ["false"])
        finally:
            signal.signal(signal.SIGCHLD, before)
        assert (run.state, run.error[:28]) == ("failed", "its exit status is not known")

    def test_no_folder_for_temporary_files_is_told_as_such(self, config, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
        run = ran(config, ["cat"], stdin="hello")
        assert run.state == "failed"
        assert run.error == (
            "its input could not be written to a temporary file: No such file or directory"
        )

    def test_arguments_that_are_too_long_are_told_as_such(self, config):
        run = ran(config, ["true", "x" * 200_000])
        assert run.error == (
            "'true' could not be started: its arguments and environment variables are longer than"
            " this system takes"
        )


class TestOutput:
    def test_both_streams_are_read_at_once(self, config):
        script = "import os\nfor _ in range(50): os.write(2, b'e' * 9000); os.write(1, b'o' * 9000)"
        run = ran(config, [sys.executable, "-c", script], timeout=30)
        assert run.state == "succeeded"
        for kept, letter in ((run.stdout, "o"), (run.stderr, "e")):
            assert kept.startswith(letter * 32768 + "\n")
            assert kept.endswith("\n" + letter * 32768)
            assert "[... 384464 bytes left out ...]" in kept

    def test_bytes_of_any_kind_can_be_kept(self, config):
        run = ran(config, ["printf", r"\377\000\303\251"])
        assert run.stdout == "\\xff\\x00é"

    def test_a_background_process_that_keeps_the_output_does_not_hang_the_run(
        self, config, tmp_path
    ):
        run = ran(config, f"sleep 60 & echo $! > {tmp_path}/pid; echo done", shell=True)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        assert (run.state, run.stdout) == ("succeeded", "done\n")

    def test_a_program_that_closes_its_output_is_waited_for(self, config, tmp_path):
        script = f"exec >&- 2>&-; sleep 0.3; touch {tmp_path}/late"
        assert ran(config, script, shell=True).state == "succeeded"
        assert (tmp_path / "late").exists()


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def set(self, monkeypatch):
        monkeypatch.setenv("SHOP", "north")
        monkeypatch.setenv("SECRET", "1234")

    @pytest.mark.parametrize(
        ("env", "expected"),
        [
            (None, {"SHOP": "north", "SECRET": "1234"}),
            ("inherit", {"SHOP": "north", "SECRET": "1234"}),
            ("none", {}),
            (["SHOP", "UNSET"], {"SHOP": "north"}),
            (("SHOP",), {"SHOP": "north"}),
            ({"SHOP": "south", "OWN": "a=b"}, {"SHOP": "south", "OWN": "a=b", "SECRET": "1234"}),
            (("none", {"OWN": "x"}), {"OWN": "x"}),
            ((["SECRET"], {"OWN": "x"}), {"OWN": "x", "SECRET": "1234"}),
            (("inherit", {"OWN": "x"}), {"OWN": "x", "SECRET": "1234", "SHOP": "north"}),
        ],
    )
    def test_it_is_inherited_or_not_and_has_values_of_its_own(self, config, env, expected):
        found = variables(ran(config, ["/usr/bin/env"], env=env))
        assert {
            name: found[name] for name in ("SHOP", "SECRET", "OWN") if name in found
        } == expected

    def test_a_callable_is_asked_at_each_run(self, config):
        answers = [{"OWN": "1"}, ("none", {"OWN": "2"})]
        config.add_cron_command(["/usr/bin/env"], name="it", env=answers.pop, every="1m")
        cron = cron_of(config)
        first, second = cron.run("it"), cron.run("it")
        assert (variables(first)["OWN"], "SHOP" in variables(first)) == ("2", False)
        assert (variables(second)["OWN"], "SHOP" in variables(second)) == ("1", True)

    def test_a_callable_may_take_the_system(self, config):
        run = ran(config, ["/usr/bin/env"], env=lambda system: {"OWN": system["run"].task})
        assert variables(run)["OWN"] == "it"

    def test_an_error_of_the_callable_is_that_of_the_run(self, config):
        run = ran(config, ["/usr/bin/env"], env=lambda: 1 / 0)
        assert (run.state, run.error) == ("failed", "ZeroDivisionError: division by zero")

    def test_a_wrong_answer_is_told_without_what_is_in_it(self, config):
        def secrets():
            return {"PASSWORD": 1234567}

        run = ran(config, ["/usr/bin/env"], env=secrets)
        assert run.state == "failed"
        assert "secrets: its answer must be 'inherit'" in run.error
        assert "1234567" not in f"{run.error}{run.traceback}"

    def test_a_program_is_always_told_of_its_run(self, config):
        run = ran(config, ["/usr/bin/env"], env="none", payload={"shop": "é"})
        assert variables(run) == {
            "CRON_TASK": "it",
            "CRON_RUN": run.id,
            "CRON_SLOT": "2026-06-15T12:00:00Z",
            "CRON_ATTEMPT": "1",
            "CRON_TRIGGER": "manual",
            "CRON_PAYLOAD": json.dumps({"shop": "é"}),
        }

    def test_it_runs_in_its_directory_and_reads_what_it_is_given(self, config, tmp_path):
        run = ran(config, "pwd; cat", shell=True, cwd=tmp_path, stdin="one\ntwo")
        assert run.stdout == f"{tmp_path}\none\ntwo"

    def test_without_input_it_reads_nothing(self, config):
        assert ran(config, ["cat"], timeout=20).state == "succeeded"

    def test_no_shell_reads_the_arguments(self, config):
        assert ran(config, ["echo", "$HOME; *"]).stdout == "$HOME; *\n"

    def test_a_long_payload_is_in_a_file(self, config):
        payload = ["é" * 50_000]
        script = 'echo "$CRON_PAYLOAD_FILE"; cat "$CRON_PAYLOAD_FILE" | wc -c'
        run = ran(config, f"test -z ${{CRON_PAYLOAD+x}} && {script}", payload, shell=True)
        path, size = run.stdout.split()
        assert int(size) == len(json.dumps(payload))
        assert not os.path.exists(path)

    def test_a_run_without_a_payload_has_not_that_of_an_outer_run(self, config, monkeypatch):
        monkeypatch.setenv("CRON_PAYLOAD", "outer")
        monkeypatch.setenv("CRON_PAYLOAD_FILE", "/outer")
        assert "CRON_PAYLOAD" not in ran(config, ["env"]).stdout


class TestStopping:
    @pytest.mark.system
    def test_a_timeout_ends_the_whole_group_and_keeps_what_was_written(self, config, tmp_path):
        script = f"sleep 60 & echo $$ $! > {tmp_path}/pids; echo begun; wait"
        run = ran(config, script, shell=True, timeout=1)
        assert (run.state, run.stdout) == ("timed_out", "begun\n")
        assert all(map(gone, pids(tmp_path / "pids", 2)))

    @pytest.mark.system
    def test_a_program_may_tidy_up_before_it_ends(self, config):
        script = "trap 'echo tidied; exit 0' TERM; echo begun; while :; do sleep 0.05; done"
        run = ran(config, script, shell=True, timeout=1)
        assert (run.state, run.stdout) == ("timed_out", "begun\ntidied\n")

    @pytest.mark.system
    def test_what_pays_no_heed_is_killed_with_its_children(self, config, tmp_path):
        script = f"trap '' TERM; sleep 60 & echo $$ $! > {tmp_path}/pids; wait"
        started = time.monotonic()
        run = ran(config, script, shell=True, timeout=1)
        assert run.state == "timed_out"
        assert "may still be running" not in run.error
        assert time.monotonic() - started >= TERM_GRACE_SECONDS
        assert all(map(gone, pids(tmp_path / "pids", 2)))

    @pytest.mark.system
    def test_a_child_that_pays_no_heed_is_killed_though_the_program_has_ended(
        self, config, tmp_path
    ):
        child = f"trap '' TERM; echo $$ > {tmp_path}/pids; sleep 60; sleep 60"
        run = ran(config, f'sh -c "{child}" >/dev/null 2>&1 & wait', shell=True, timeout=1)
        assert run.state == "timed_out"
        assert all(map(gone, pids(tmp_path / "pids", 1)))

    def test_cancelling_ends_it(self, tmp_path):
        config = configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"})
        script = f"echo $$ > {tmp_path}/pids; exec sleep 60"
        config.add_cron_command(script, shell=True, name="it", on_demand=True)
        cron = cron_of(config)
        thread = threading.Thread(target=cron.run, args=("it",))
        thread.start()
        [pid] = pids(tmp_path / "pids", 1)
        asked = scheduler(config.registry)
        until = time.monotonic() + 60
        while not asked.history("it", "running") and time.monotonic() < until:
            time.sleep(0.01)
        asked.cancel(asked.history("it", "running")[0].id)
        thread.join(20)
        assert asked.history("it")[0].state == "cancelled"
        assert gone(pid)

    def test_nothing_is_left_when_there_is_no_time_to_wait_for_it(self, tmp_path, caplog):
        config = configure(
            **{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.shutdown_timeout": "0"}
        )
        script = f"trap '' TERM; sleep 60 & echo $$ $! > {tmp_path}/pids; wait"
        config.add_cron_command(script, shell=True, name="it", on_demand=True)
        cron = cron_of(config)
        thread = threading.Thread(target=cron.run, args=("it",))
        thread.start()
        found = pids(tmp_path / "pids", 2)
        get_cron(config.registry).supervisor.shutdown(0)
        assert all(map(gone, found))
        thread.join(20)
        [run] = scheduler(config.registry).history("it")
        assert (run.state, run.error) == ("cancelled", "the process stopped; it was killed")
        assert f"it run={run.id} did not stop in time: killed" in caplog.messages
        assert "going on" not in caplog.text

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    @pytest.mark.system
    def test_a_process_that_is_told_to_stop_leaves_no_program_behind(self, tmp_path, number):
        program = f"""
from tests.apps import configure, cron_of
config = configure(**{{"cron.url": "sqlite:///{tmp_path}/c.sqlite", "cron.shutdown_timeout": "1"}})
config.add_cron_command(
    "trap '' TERM; sleep 60 & echo $$ $! > {tmp_path}/pids; wait", shell=True, name="it"
)
cron_of(config).tick()
"""
        process = subprocess.Popen([sys.executable, "-c", program])
        found = pids(tmp_path / "pids", 2)
        process.send_signal(number)
        process.wait(30)
        assert all(map(gone, found))

    def test_a_server_that_reads_its_configuration_on_sighup_still_does(self, config):
        heard = []
        before = signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
        try:
            config.add_cron_task(lambda system: os.kill(os.getpid(), signal.SIGHUP), name="it")
            cron = cron_of(config)
            assert cron.tick(NOON).runs[0].state == "succeeded"
            assert cron.tick(NOON + timedelta(minutes=1)).runs[0].state == "succeeded"
        finally:
            signal.signal(signal.SIGHUP, before)
        assert heard == [signal.SIGHUP] * 2


class TestRegistering:
    def test_programs_and_arguments_may_be_paths(self, config, tmp_path):
        (tmp_path / "greet").write_text('#!/bin/sh\necho "$@"\n')
        (tmp_path / "greet").chmod(0o755)
        config.add_cron_command([tmp_path / "greet", "in", tmp_path], on_demand=True)
        run = cron_of(config).run("greet")
        assert (run.state, run.stdout) == ("succeeded", f"in {tmp_path}\n")
        [task] = scheduler(config.registry).tasks()
        assert task.description == f"{tmp_path}/greet in {tmp_path}"

    @pytest.mark.parametrize(
        ("argv", "arguments", "message"),
        [
            ([], {}, "argv=[]: must be a list of a program and its arguments"),
            ("backup now", {}, "must be a list, such as ['backup', 'now']; text is for shell=True"),
            (["backup", 3], {}, "3 is no text"),
            (["a\0b"], {}, "is no text that a program can be given"),
            ([""], {}, "must be a list of a program"),
            (["backup"], {"shell": True}, "with shell=True it must be text"),
            (" ", {"shell": True}, "with shell=True it must be text"),
            (["backup"], {"shell": 1}, "shell=1: must be True or False"),
            (["backup"], {"env": "all"}, "env='all': use 'inherit'"),
            (["backup"], {"env": ["A=B"]}, "env=['A=B']: use 'inherit'"),
            (["backup"], {"env": {"A": 1}}, "'A': 1 must be a name and text"),
            (["backup"], {"env": lambda a, b: {}}, "it must take one argument, the system"),
            (["backup"], {"cwd": 3}, "cwd=3: must be the path of a directory"),
            (["backup"], {"stdin": b"x"}, "stdin=b'x': must be text"),
            (["backup"], {"timout": 3}, "no such argument; did you mean 'timeout'?"),
            (["backup"], {"hour": 25}, "25 is out of range"),
        ],
    )
    def test_what_is_wrong_is_told_with_the_name_of_the_task(
        self, config, argv, arguments, message
    ):
        with pytest.raises(ConfigurationError) as caught:
            config.add_cron_command(argv, name="nightly", **arguments)
        assert str(caught.value).startswith("cron task 'nightly': ")
        assert message in str(caught.value)

    @pytest.mark.parametrize("said", [{}, {"description": None}])
    def test_it_is_called_like_its_program_unless_it_has_a_name(self, config, said):
        config.add_cron_command(["/usr/local/bin/backup", "--all"], hour=2, **said)
        config.commit()
        [task] = scheduler(config.registry).tasks()
        assert (task.name, task.description) == ("backup", "/usr/local/bin/backup --all")
        assert task.describe() == "at 02:00 every day (UTC)"

    def test_what_a_shell_runs_needs_a_name(self, config):
        with pytest.raises(ConfigurationError, match="needs a name of its own"):
            config.add_cron_command("backup", shell=True)

    def test_the_same_name_twice_is_a_conflict(self, config):
        config.add_cron_command(["backup"])
        config.add_cron_task(lambda system: None, name="backup")
        with pytest.raises(ConfigurationConflictError):
            config.commit()

    def test_an_application_overrides_the_command_of_a_package(self, config):
        config.include(lambda config: config.add_cron_command(["backup"], hour=1))
        config.add_cron_command(["backup"], hour=2)
        config.commit()
        assert [task.describe() for task in scheduler(config.registry).tasks()] == [
            "at 02:00 every day (UTC)"
        ]

    def test_introspection_shows_the_command(self, config):
        config.add_cron_command(["backup", "my shop"], retry=3)
        config.add_cron_task(lambda system: None, name="function")
        config.commit()
        [command, function] = config.introspector.get_category("cron tasks")
        assert command["introspectable"]["command"] == "backup 'my shop'"
        assert "command" not in function["introspectable"]
