"""Crontab files: what their lines mean, and what is wrong with others."""

import logging
import os
import pwd
from datetime import timedelta

import pytest
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.errors import CommandError
from pyramid_cron.runtime.programs import find_identity
from pyramid_cron.runtime.subprocesses import Identity, Process
from pyramid_cron.sources.crontab import CrontabCommand
from pyramid_cron.sources.crontab_syntax import CrontabEntry, CrontabSyntaxError, parse_crontab
from tests.apps import NOON, configure, cron_of

MINUTE = timedelta(minutes=1)
HOME = pwd.getpwuid(os.getuid()).pw_dir


@pytest.fixture
def config():
    return configure()


@pytest.fixture
def crontab(tmp_path):
    def write(text):
        path = tmp_path / "shop.cron"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def two_files(folder, text):
    """Two crontabs with the same file name and text."""
    files = [folder / name / "shop.cron" for name in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text(text)
    return files


def entries(text):
    return [(entry.schedule, entry.command, entry.stdin) for entry in parse_crontab(text.encode())]


def ran(report):
    return {run.task: run.stdout for run in report.runs}


def tasks(config):
    config.commit()
    return {task.name: task for task in scheduler(config.registry).tasks()}


class TestLines:
    def test_a_line_is_five_fields_and_a_command(self):
        assert entries("*/5  *\t* jan-mar mon,fri  /bin/a  b  c\n") == [
            ("*/5 * * jan-mar mon,fri", "/bin/a  b  c", None)
        ]

    def test_an_alias_stands_for_five_fields(self):
        assert entries("  @daily  backup --all") == [("@daily", "backup --all", None)]

    def test_comments_and_empty_lines_say_nothing(self):
        assert entries("# a comment\n\n   # another\n \t\n") == []

    def test_lines_of_windows_are_understood(self):
        assert entries("A=b\r\n@daily echo\r\n") == [("@daily", "echo", None)]

    def test_a_mark_of_utf_8_at_the_beginning_says_nothing(self):
        text = b"\xef\xbb\xbf@daily echo caf\xc3\xa9\n"
        assert [each.command for each in parse_crontab(text)] == ["echo caf\u00e9"]

    def test_a_hash_later_in_a_line_is_for_the_shell(self):
        assert entries("@daily echo a # b") == [("@daily", "echo a # b", None)]

    @pytest.mark.parametrize(
        ("command", "expected"),
        [
            ("cat%one%two", ("cat", "one\ntwo\n")),
            ("cat%one%", ("cat", "one\n")),
            ("cat%", ("cat", "")),
            ("cat%a%\\", ("cat", "a\n\\")),
            (r"date +\%H:\%M", ("date +%H:%M", None)),
            (r"date +\%H%a\%b%c", ("date +%H", "a%b\nc\n")),
            (r"echo a\\%b", ("echo a\\", "b\n")),
            (r"echo a\\\%b", (r"echo a\%b", None)),
            (r"echo \n\\", (r"echo \n" + "\\", None)),
            (r"echo \\\\\\n", (r"echo \\\n", None)),
            ("echo a\\", ("echo a\\", None)),
            (r"cat%a\\%b\\c", ("cat", "a\\%b\\\\c\n")),
        ],
    )
    def test_the_percent_sign(self, command, expected):
        assert entries(f"@daily {command}") == [("@daily", *expected)]

    def test_variables_hold_for_the_lines_below_them(self):
        found = parse_crontab(
            b'@daily first\nA=b c  \n B = " d e" \nC=\'f\'\n"D"=""\n'
            b"@daily second\nA=x\n@daily third\n"
        )
        assert [each.variables for each in found] == [
            {},
            {"A": "b c", "B": " d e", "C": "f", "D": ""},
            {"A": "x", "B": " d e", "C": "f", "D": ""},
        ]

    @pytest.mark.parametrize(
        ("line", "name", "value"),
        [
            ("A-B.c=1", "A-B.c", "1"),
            ("'A B' = 1", "A B", "1"),
            ('A=b"c', "A", 'b"c'),
            ("A=b=c", "A", "b=c"),
            ('A=" b " ', "A", " b"),
            ("A='\"b\"'", "A", "b"),
            ('A=\'""b""\'', "A", '"b"'),
            ("A='\"b'", "A", '"b'),
        ],
    )
    def test_quotes_in_variables_are_read_as_cron_does(self, line, name, value):
        [entry] = parse_crontab(f"{line}\n@daily a\n".encode())
        assert entry.variables == {name: value}

    def test_a_comment_may_be_in_any_encoding(self):
        text = "# für Anna\n# name: gr\u00fcn\n@daily a\n".encode("latin-1")
        assert [entry.name for entry in parse_crontab(text)] == ["gr\u00fcn"]

    def test_a_name_in_quotes_may_begin_with_a_space(self):
        assert [entry.name for entry in parse_crontab(b'# name: " a"\n@daily a\n')] == [" a"]
        assert [entry.name for entry in parse_crontab(b'# name: "a"b"\n@daily a\n')] == ['"a"b"']

    def test_lines_that_run_at_boot_can_be_passed_over(self):
        text = b"# name: boot\n@reboot a\n@daily b\n"
        [entry] = parse_crontab(text, skip_reboot=True)
        assert (entry.line, entry.command, entry.name) == (3, "b", None)

    def test_a_command_with_an_equals_sign_is_no_variable(self):
        assert entries("@daily A=b echo") == [("@daily", "A=b echo", None)]
        assert entries("0 0 * * * A=b echo") == [("0 0 * * *", "A=b echo", None)]

    def test_a_comment_directly_above_names_a_line(self):
        text = (
            b"# name: first\n# why\n@daily a\n@daily b\n"
            b"# NAME:  the third \n@daily c\n# name: x\n\n@daily d"
        )
        assert [each.name for each in parse_crontab(text)] == ["first", None, "the third", None]

    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            (b"\n@reboot backup", 2, "there is no boot to run at"),
            (b"A=b\n0 0 * * *", 2, "must be five fields"),
            (b"@daily", 1, "and a command"),
            (b"@daily %input", 1, "and a command"),
            (b"hello", 1, "or NAME=value"),
            (b"\n\nA='b", 3, "the quotes must close"),
            (b'A="b" c', 1, "the quotes must close"),
            (b"# fine\n@daily caf\xe9", 2, "byte 0xe9 is no UTF-8"),
            (b"@daily a\0b", 1, "without NUL"),
            (b"\n0 5 * * * * echo hello", 2, "the command begins with '*', which looks like one"),
            (b"@daily * x", 1, "the command begins with '*'"),
            (b"0 5 * * *\t*/2 x", 1, "the command begins with '*/2'"),
            (b"0 5 * * * *x", 1, "the command begins with '*x'"),
            (b"0 0 5 * * ? x", 1, "the command begins with '?'"),
            (b"0 0 5 * * 1-5 x", 1, "the command begins with '1-5'"),
            (b"A=\n@daily x", 1, 'an empty value is written as A=""'),
            (b'PATH="/a":"/b"', 1, "the quotes must close at the end of the line"),
            (b'\n"A=B"=c', 2, "or NAME=value"),
            (b"=c", 1, "or NAME=value"),
            (b"\nCRON_TZ=Nowhere\n\n@daily x", 2, "CRON_TZ='Nowhere': no such time zone"),
        ],
    )
    def test_a_line_that_is_wrong_is_told_by_its_number(self, text, line, message):
        with pytest.raises(CrontabSyntaxError) as caught:
            parse_crontab(text)
        assert caught.value.line == line
        assert message in str(caught.value)


class TestUsers:
    def test_the_column_for_the_account_is_read(self):
        text = b"0 5 * * *\troot\ttest -x a || b\n@daily  www-data echo\n"
        found = parse_crontab(text, user=True)
        assert [(entry.schedule, entry.user, entry.command) for entry in found] == [
            ("0 5 * * *", "root", "test -x a || b"),
            ("@daily", "www-data", "echo"),
        ]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("0 5 * * * root", "@daily and its kin, an account, and a command"),
            ("@daily root", "@daily and its kin, an account, and a command"),
            ("0 5 * * * * root a", "the command begins with '*'"),
            ("@daily * x", "the command begins with '*'"),
        ],
    )
    def test_a_line_without_it_is_refused(self, line, message):
        with pytest.raises(CrontabSyntaxError) as caught:
            parse_crontab(f"{line}\n".encode(), user=True)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        "command",
        ["/bin/backup all", "test -x a || b", "cd /srv && b", "cat file", "A=b c", "[ a ]"],
    )
    def test_a_command_is_not_taken_for_an_account(self, config, crontab, command):
        path = crontab(f"\n@daily {command}\n")
        with pytest.raises(ConfigurationError) as caught:
            config.add_crontab(path, user=True)
        assert str(caught.value).startswith(f"{path}, line 2: {command.split()[0]!r} is no account")

    def test_an_account_is_not_taken_for_a_command(self, config, crontab):
        path = crontab("@daily true\n0 5 * * * root test -x a || b\n")
        with pytest.raises(ConfigurationError) as caught:
            config.add_crontab(path)
        assert str(caught.value).startswith(f"{path}, line 2: 'root' is an account of this machine")
        assert "user=True" in str(caught.value)

    def test_a_program_may_be_called_like_an_account(self, config, crontab, tmp_path):
        (tmp_path / "root").write_text("#!/bin/sh\n")
        (tmp_path / "root").chmod(0o755)
        config.add_crontab(crontab(f"PATH={tmp_path}\n@daily root of all\n"))
        assert list(tasks(config)) == ["shop.cron:2"]

    def test_what_has_options_or_stands_alone_is_a_command(self, config, crontab):
        config.add_crontab(crontab("@daily root --all\n@daily root\n"))
        assert len(tasks(config)) == 2

    def test_an_account_may_be_on_another_machine(self, config, crontab):
        config.add_crontab(crontab("@daily no-such-account echo\n"), user=True)
        command = tasks(config)["shop.cron:1"].function
        assert (command.user, command.line) == ("no-such-account", "echo")

    def test_only_root_may_choose_the_account(self, config, crontab, monkeypatch, caplog):
        monkeypatch.setattr("os.geteuid", lambda: 4711)
        config.add_crontab(crontab("* * * * * no-such-account echo $USER\n"), user=True)
        [warning] = caplog.records
        assert warning.levelno == logging.WARNING
        expected = "commands of no-such-account run as the user of this application"
        assert expected in warning.getMessage()
        [run] = cron_of(config).tick(NOON).runs
        assert (run.state, run.stdout) == ("succeeded", "4711\n")

    def test_root_runs_a_command_as_its_account(self, monkeypatch):
        nobody = pwd.getpwnam("nobody")
        assert find_identity(None) == Identity()
        monkeypatch.setattr("os.geteuid", lambda: 4711)
        assert find_identity("nobody") == Identity()
        monkeypatch.setattr("os.geteuid", lambda: 0)
        identity = find_identity("nobody")
        assert (identity.user, identity.group) == (nobody.pw_uid, nobody.pw_gid)
        with pytest.raises(CommandError, match="there is no account 'no-such-account' here"):
            find_identity("no-such-account")

    def test_a_program_runs_as_whom_it_is_told(self):
        own = Identity(os.getuid(), os.getgid(), None)
        script = ("sh", "-c", "id -u; cat $TEXT; stat -c %u $TEXT")
        process = Process(script, os.environ, None, None, {"TEXT": "text\n"}, identity=own)
        process.run()
        assert process.stdout.text() == f"{os.getuid()}\ntext\n{os.getuid()}\n"


class TestRunning:
    def test_lines_are_tasks_named_by_file_and_line_or_by_a_comment(self, config, crontab):
        config.add_crontab(
            crontab("# the shop's\n30 4 * * mon-fri backup\n\n# name: poll\n@hourly poll shops\n"),
            retry=2,
        )
        found = tasks(config)
        assert list(found) == ["shop.cron:2", "poll"]
        assert found["shop.cron:2"].describe() == "at 04:30 on Monday to Friday (UTC)"
        assert found["poll"].description == "poll shops"
        assert found["poll"].retry.attempts == 2

    def test_a_line_runs_as_cron_would_run_it(self, config, crontab, monkeypatch, tmp_path):
        monkeypatch.setenv("SECRET", "of the application")
        config.add_crontab(
            crontab(
                f"MAILTO=root\nPATH=/bin:/usr/bin\nHOME = {tmp_path}\n"
                'GREETING = "Good  morning"\n'
                r'* * * * * cat; echo "$GREETING, $PWD, ${SECRET-none}" \% $CRON_TASK%one%two'
                "\n"
            )
        )
        [run] = cron_of(config).tick(NOON).runs
        assert run.state == "succeeded"
        assert run.stdout == f"one\ntwo\nGood  morning, {tmp_path}, none % shop.cron:5\n"

    def test_what_cron_gives_is_given(self, config, crontab):
        config.add_crontab(crontab("* * * * * env; pwd\n"))
        [run] = cron_of(config).tick(NOON).runs
        *lines, cwd = run.stdout.splitlines()
        found = dict(line.split("=", 1) for line in lines)
        assert (found["SHELL"], found["PATH"]) == ("/bin/sh", "/usr/bin:/bin")
        assert found["HOME"] == cwd == HOME
        assert found["LOGNAME"] == found["USER"] == pwd.getpwuid(os.getuid()).pw_name
        assert {name for name in found if name.startswith("CRON_")} == {
            *("CRON_TASK", "CRON_RUN", "CRON_SLOT", "CRON_ATTEMPT", "CRON_TRIGGER")
        }

    def test_who_a_command_runs_as_is_not_for_the_crontab_to_say(self, config, crontab, caplog):
        caplog.set_level(logging.INFO)
        config.add_crontab(crontab("USER=root1\nLOGNAME=root1\n* * * * * echo $USER $LOGNAME\n"))
        [run] = cron_of(config).tick(NOON).runs
        name = pwd.getpwuid(os.getuid()).pw_name
        assert run.stdout == f"{name} {name}\n"
        assert "USER is ignored: commands run as the user of this application" in caplog.text

    def test_another_shell_reads_the_commands_below_it(self, config, crontab):
        config.add_crontab(crontab("SHELL=/bin/cat\n* * * * * anything\n"))
        [run] = cron_of(config).tick(NOON).runs
        assert (run.state, run.error) == ("failed", "exit status 1")
        assert "invalid option -- 'c'" in run.stderr

    def test_cron_tz_is_the_zone_of_the_schedules_below_it(self, config, crontab):
        config.add_crontab(
            crontab("0 14 * * * a\nCRON_TZ=Europe/Berlin\n0 14 * * * b\n"), timezone="Asia/Tokyo"
        )
        found = tasks(config)
        assert found["shop.cron:1"].timezone == "Asia/Tokyo"
        assert found["shop.cron:3"].timezone == "Europe/Berlin"
        assert found["shop.cron:3"].following(NOON).hour == 12

    def test_days_and_weekdays_are_alternatives_as_in_cron(self, config, crontab):
        config.add_crontab(crontab("0 12 1 * mon true\n"))  # NOON is a Monday, the 15th
        assert len(cron_of(config).tick(NOON).runs) == 1

    def test_mail_is_not_sent_and_that_is_said(self, config, crontab, caplog):
        caplog.set_level(logging.INFO)
        config.add_crontab(crontab("MAILTO=root\n@daily a\n@hourly b\n"))
        assert [each.getMessage() for each in caplog.records if "MAILTO" in each.getMessage()] == [
            f"crontab {crontab('')}: MAILTO is for the monitor mail: what a command writes is kept"
            " with its run"
        ]

    def test_a_command_keeps_the_entry_it_comes_from(self, config, crontab):
        file = crontab("A=b\nHOME=/tmp\n\n# name: poll\n0  4 * * *  poll%one\n")
        config.add_crontab(file)
        command = tasks(config)["poll"].function
        assert isinstance(command, CrontabCommand)
        assert command.path == str(file)
        assert command.entry == CrontabEntry(
            line=5,
            schedule="0 4 * * *",
            command="poll",
            stdin="one\n",
            variables={"A": "b", "HOME": "/tmp"},
            name="poll",
        )
        assert command.environment.overrides.items() >= {"A": "b", "HOME": "/tmp"}.items()

    def test_lines_that_run_the_same_are_equal(self, config, crontab):
        config.add_crontab(crontab("@daily a\n@hourly a\n@daily b\nA=1\n@daily a\n"))
        first, second, third, fourth = (task.function for task in tasks(config).values())
        assert first == second
        assert hash(first) == hash(second)
        assert len({first, third, fourth}) == 3

    def test_introspection_shows_the_command(self, config, crontab):
        config.add_crontab(crontab(r"@daily date +\%F" + "\n"))
        config.commit()
        [shown] = config.introspector.get_category("cron tasks")
        assert shown["introspectable"]["command"] == "date +%F"


class TestChanges:
    """The file changes while the application runs."""

    @pytest.fixture
    def start(self, config, crontab):
        def start(text, **arguments):
            config.add_crontab(crontab(text), **arguments)
            return cron_of(config)

        return start

    def test_lines_come_change_and_go(self, config, crontab, start):
        cron = start("# name: a\n* * * * * echo 1\n# name: b\n* * * * * echo 2\n", retry=2)
        assert ran(cron.tick(NOON)) == {"a": "1\n", "b": "2\n"}
        crontab("A=3\n# name: c\n* * * * * echo $A\n# name: a\n* * * * * echo 4\n")
        assert ran(cron.tick(NOON + MINUTE)) == {"a": "4\n", "c": "3\n"}
        assert scheduler(config.registry).status("c").task.retry.attempts == 2
        shown = config.introspector.get_category("cron tasks")
        assert sorted(each["introspectable"]["name"] for each in shown) == ["a", "c"]
        assert len(scheduler(config.registry).history("a")) == 2

    def test_a_new_schedule_holds_from_then_on(self, crontab, start):
        cron = start("# name: a\n0 0 * * * echo\n")
        assert ran(cron.tick(NOON)) == {}
        crontab("# name: a\n1 12 * * * echo\n")
        assert ran(cron.tick(NOON + MINUTE)) == {"a": "\n"}

    def test_what_is_paused_stays_paused(self, config, crontab, start):
        cron = start("# name: a\n* * * * * echo 1\n")
        cron.tick(NOON)
        scheduler(config.registry).pause("a")
        crontab("\n\n# name: a\n* * * * * echo 2\n")
        assert ran(cron.tick(NOON + MINUTE)) == {}
        scheduler(config.registry).resume("a")
        assert ran(cron.tick(NOON + 2 * MINUTE)) == {"a": "2\n"}

    def test_a_line_that_only_moves_is_the_task_it_was(self, config, crontab, start):
        start("# name: a\n@daily echo\n")
        before = scheduler(config.registry).tasks()[0]
        crontab("\n\n# name: a\n@daily echo\n")
        get_cron(config.registry).refresh_sources(NOON + MINUTE)
        assert scheduler(config.registry).tasks()[0] is before

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("# name: a\n@daily echo\n61 * * * * b\n", "line 3: '61 * * * *': min='61'"),
            ("# name: a\n@daily echo\n@daily * b\n", "line 3: the command begins with '*'"),
            ("CRON_TZ=Nowhere\n", "line 1: CRON_TZ='Nowhere'"),
            (None, "can't be read: No such file"),
        ],
    )
    def test_a_mistake_changes_nothing_and_is_told_once(
        self, config, crontab, start, caplog, text, problem
    ):
        cron = start("# name: a\n* * * * * echo 1\n")
        path = crontab("# name: a\n* * * * * echo 1\n")
        if text is None:
            path.unlink()
        else:
            crontab(text)
        for minute in range(3):
            assert ran(cron.tick(NOON + minute * MINUTE)) == {"a": "1\n"}
        [listed] = get_cron(config.registry).problems
        assert str(path) in listed
        assert problem in listed
        assert listed.endswith("; the lines that were there before go on")
        warned = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
        assert warned == [f"crontab: {listed}"]
        crontab("# name: a\n* * * * * echo 2\n")
        assert ran(cron.tick(NOON + 3 * MINUTE)) == {"a": "2\n"}
        assert get_cron(config.registry).problems == []

    def test_half_a_line_is_not_read(self, crontab, start):
        cron = start("# name: a\n* * * * * echo 1\n")
        crontab("# name: a\n* * * * * ech")
        assert ran(cron.tick(NOON)) == {"a": "1\n"}
        crontab("# name: a\n* * * * * echo 2")
        assert ran(cron.tick(NOON + MINUTE)) == {"a": "1\n"}
        assert ran(cron.tick(NOON + 2 * MINUTE)) == {"a": "2\n"}

    def test_names_of_other_tasks_are_left_to_them(self, config, crontab):
        path = crontab("# name: a\n* * * * * echo 1\n")
        config.include(lambda package: package.add_crontab(path))
        config.add_cron_command(["echo", "mine"], name="a")
        config.add_cron_command(["echo", "mine"], name="b")
        cron = cron_of(config)
        crontab("# name: a\n* * * * * echo 2\n# name: b\n* * * * * echo 2\n")
        assert ran(cron.tick(NOON)) == {"a": "mine\n", "b": "mine\n"}
        problem = f"{path}, line 4: there is another task named 'b'"
        assert get_cron(config.registry).problems == [problem]
        crontab("")
        assert ran(cron.tick(NOON + MINUTE)) == {"a": "mine\n", "b": "mine\n"}
        assert get_cron(config.registry).problems == []

    def test_what_is_ignored_is_told_once_for_each_change(self, config, crontab, caplog):
        caplog.set_level(logging.INFO)
        config.add_cron_command(["echo"], name="b")
        config.add_crontab(crontab("MAILTO=x\n# name: a\n* * * * * echo\n"))
        cron = cron_of(config)
        crontab("MAILTO=y\n# name: b\n* * * * * echo\n")
        for minute in range(3):
            cron.tick(NOON + minute * MINUTE)
        told = [each.getMessage() for each in caplog.records]
        assert len([text for text in told if "MAILTO is for" in text]) == 2
        assert len([text for text in told if "another task named 'b'" in text]) == 1

    def test_a_policy_that_does_not_fit_is_told(self, config, crontab, monkeypatch):
        config.add_crontab(crontab("# name: a\n@daily echo\n"), weight=3)
        config.commit()
        monkeypatch.setattr("pyramid_cron.directives.check_weight", lambda *_: refuse())
        crontab("# name: b\n@daily echo\n")
        get_cron(config.registry).refresh_sources(NOON + MINUTE)
        [problem] = get_cron(config.registry).problems
        assert problem.startswith(f"{crontab('')}, line 2: cron task 'b': it is refused")

    def test_policies_are_checked_though_there_is_no_line(self, config, crontab):
        path = crontab("# nothing yet\n")
        with pytest.raises(ConfigurationError, match=f"^crontab '{path}': timeout='soon'"):
            config.add_crontab(path, timeout="soon")

    def test_two_at_once_do_not_meet(self, config, crontab, start):
        start("# name: a\n@daily echo\n")
        [source] = get_cron(config.registry).sources
        crontab("# name: b\n@daily echo\n")
        with source._refresh_lock:
            source.refresh()
        assert get_cron(config.registry).find_task("b") is None
        source.refresh()
        assert get_cron(config.registry).find_task("b") is not None

    def test_a_child_does_not_wait_for_a_thread_of_its_parent(self, config, crontab, start):
        start("# name: a\n@daily echo\n")
        cron = get_cron(config.registry)
        [source] = cron.sources
        crontab("# name: b\n@daily echo\n")
        source._refresh_lock.acquire()
        for reset in cron.fork_hook._resets:
            reset()
        source.refresh()
        assert cron.find_task("b") is not None


def refuse():
    raise ValueError("it is refused")


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("\n61 * * * * a\n", "line 2: '61 * * * *': min='61': 61 is out of range"),
            ("@never a\n", "line 1: '@never': use five fields or one of @hourly"),
            ("@reboot a\n", "line 1: @reboot: there is no boot to run at"),
            ("0 0 31 2 * a\n", "line 1: '0 0 31 2 *': there is no such date"),
            ("CRON_TZ=localtime\n@daily a\n", "line 1: CRON_TZ='localtime': no such time zone"),
            ("CRON_TZ=Nowhere\n@daily a\n", "line 1: CRON_TZ='Nowhere': no such time zone"),
            ("@daily\n", "line 1: '@daily' must be five fields"),
            ("# name: a\n@daily a\n# name: a\n@daily b\n", "line 4: name 'a': line 2 has the same"),
            ("@daily a\n# name: shop.cron:1\n@daily b\n", "line 3: name 'shop.cron:1': line 1 has"),
        ],
    )
    def test_file_and_line_are_named(self, config, crontab, text, message):
        path = crontab(text)
        with pytest.raises(ConfigurationError) as caught:
            config.add_crontab(path)
        assert str(caught.value).startswith(f"{path}, {message}")

    def test_an_argument_that_is_wrong_is_told_as_one(self, config, crontab):
        for arguments, message in (
            ({"timezone": "X"}, "shop.cron': timezone='X' is no IANA time zone"),
            ({"skip_reboot": 1}, "shop.cron': skip_reboot=1: must be True or False"),
        ):
            with pytest.raises(ConfigurationError, match=message):
                config.add_crontab(crontab("@daily a\n"), **arguments)

    def test_a_missing_file_is_an_error(self, config, tmp_path):
        with pytest.raises(ConfigurationError, match="can't be read: No such file"):
            config.add_crontab(tmp_path / "none")

    def test_arguments_there_are_not_are_refused(self, config, crontab):
        with pytest.raises(ConfigurationError, match="hour=2: add_crontab has no such argument"):
            config.add_crontab(crontab(""), hour=2)

    def test_a_wrong_policy_is_told(self, config, crontab):
        with pytest.raises(ConfigurationError, match=r"line 1: .*timeout='soon'"):
            config.add_crontab(crontab("@daily a\n"), timeout="soon")

    def test_a_file_of_the_same_name_does_not_take_the_place_of_a_packages(self, config, tmp_path):
        a, b = two_files(tmp_path, "@daily it\n")
        config.include(lambda package: package.add_crontab(a))
        config.add_crontab(b)
        with pytest.raises(ConfigurationError) as caught:
            config.commit()
        told = f"crontab '{a}': its task 'shop.cron:1' has the name of one in '{b}'; tell them"
        assert told in str(caught.value)
        assert "prefix=" in str(caught.value)

    def test_a_prefix_tells_files_of_the_same_name_apart(self, config, tmp_path):
        a, b = two_files(tmp_path, "@daily it\n# name: it\n@daily it\n")
        config.include(lambda package: package.add_crontab(a, prefix="package:"))
        config.add_crontab(b)
        assert set(tasks(config)) == {"package:shop.cron:1", "package:it", "shop.cron:1", "it"}

    def test_what_is_overridden_by_name_or_by_the_same_file_is_meant_to_be(self, config, tmp_path):
        a, b = two_files(tmp_path, "# name: it\n@daily it\n@daily it\n")
        (tmp_path / "c").write_text("# name: it\n@daily ours\n")
        config.include(lambda package: package.add_crontab(a))
        config.include(lambda package: package.add_crontab(b, prefix="b:"))
        config.add_crontab(b, prefix="b:", retry=2)
        config.add_cron_command(["it"], name="shop.cron:3", every="1h")
        config.add_crontab(tmp_path / "c")
        found = tasks(config)
        assert found["shop.cron:3"].describe() == "every hour"
        assert found["b:shop.cron:3"].retry.attempts == 2
        assert found["it"].description == "ours"

    def test_a_prefix_is_text(self, config, crontab):
        with pytest.raises(ConfigurationError, match="prefix=3: must be text"):
            config.add_crontab(crontab(""), prefix=3)

    def test_a_name_twice_is_a_conflict(self, config, crontab):
        config.add_crontab(crontab("# name: a\n@daily a\n"))
        config.add_cron_command(["a"])
        with pytest.raises(ConfigurationConflictError):
            config.commit()
