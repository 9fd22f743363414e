"""Tasks as a crontab, and back."""

import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from pyramid.config import Configurator

from pyramid_cron import Cron, scheduler
from pyramid_cron.export import export_crontab
from pyramid_cron.runtime.programs import Command
from pyramid_cron.sources.crontab_syntax import parse_crontab

CRONTAB = r"""
SHOP="north"
ODD=" spaced "
# name: export
0 12 * * mon-fri  echo "$SHOP"; cat%first line%second \% line
@hourly           date -u +\%H:\%M && echo 'it''s'
SHELL=/bin/bash
PATH=/opt/bin:/usr/bin:/bin
HOME=/tmp
CRON_TZ=Europe/Berlin
30 4 1 jan,jul *  true
*/7 2-5 * * 0     cat%
CRON_TZ=America/New_York
30 4 13 * fri     true%%
"""


def tasks_of(register):
    config = Configurator(settings={"cron.url": "sqlite://", "cron.timezone": "UTC"})
    config.include("pyramid_cron")
    register(config)
    return scheduler(config.make_wsgi_app().registry).tasks()


def essence(task):
    command = task.function
    assert isinstance(command, Command)
    own = {key: value for key, value in command.environment.overrides.items() if key != "CRON_TZ"}
    return task.name, task.schedules, task.timezone, command.argv, command.stdin, command.cwd, own


def test_what_add_crontab_reads_comes_back_the_same(tmp_path):
    (tmp_path / "a.cron").write_text(CRONTAB)
    read = tasks_of(lambda config: config.add_crontab(str(tmp_path / "a.cron")))
    (tmp_path / "b.cron").write_text(export_crontab(read, "shop.ini"))
    again = tasks_of(lambda config: config.add_crontab(str(tmp_path / "b.cron")))
    assert [essence(task) for task in again] == [essence(task) for task in read]
    assert export_crontab(again, "shop.ini") == export_crontab(read, "shop.ini")


def nightly(system):
    """Delete old carts."""


def entries(register, uri="shop.ini"):
    return parse_crontab(export_crontab(tasks_of(register), uri).encode())


def test_a_function_is_run_by_pcron_with_everything_quoted():
    [entry] = entries(
        lambda config: config.add_cron_task(nightly, hour=2, name="100% of 'it'"), "my shop.ini"
    )
    assert entry.schedule == "0 2 * * *"
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {entry.command}"], capture_output=True, text=True, check=True
    )
    assert words.stdout.splitlines() == ["pcron", "my shop.ini", "run", "100% of 'it'"]


@pytest.mark.parametrize("argument", ["+%H", r"a\%b", "it's", r"\\%", "$HOME", "a b"])
def test_a_program_gets_the_same_arguments(argument):
    [entry] = entries(
        lambda config: config.add_cron_command(["printf", "%s", argument], name="p", hour=1)
    )
    process = subprocess.run(
        ["sh", "-c", entry.command], capture_output=True, text=True, check=True
    )
    assert process.stdout == argument


@pytest.mark.parametrize(
    "command",
    [
        r"sed 's/\\/x/'",
        r"printf '\\n' a\\%b",
        r"grep '^\s*\(a\)$' \\\\ \%% x \% y",
        "echo a\\",
        r"cat\\%one%two",
    ],
)
def test_backslashes_come_back_the_same(tmp_path, command):
    (tmp_path / "a.cron").write_text(f"@daily {command}\n")
    read = tasks_of(lambda config: config.add_crontab(str(tmp_path / "a.cron")))
    [entry] = parse_crontab(export_crontab(read, "shop.ini").encode())
    assert (entry.command, entry.stdin) == (read[0].function.line, read[0].function.stdin)


def test_directory_environment_and_input_are_kept():
    def register(config):
        config.add_cron_command(
            ["sh", "-c", 'cat; echo "$A"; pwd'],
            name="p",
            hour=1,
            cwd="/",
            env=("none", {"A": "1 2"}),
            stdin="50%\n",
        )

    [entry] = entries(register)
    process = subprocess.run(
        ["sh", "-c", entry.command], input=entry.stdin, capture_output=True, text=True, check=True
    )
    assert process.stdout == "50%\n1 2\n/\n"


def test_what_a_crontab_can_not_say_is_a_comment():
    def register(config):
        config.add_cron_task(nightly, on_demand=True, name="asked")
        config.add_cron_task(nightly, at="2099-01-01T00:00Z", name="once")
        config.add_cron_task(nightly, schedule="0 0 L * *", name="last")
        config.add_cron_task(nightly, every="7m", name="odd", jitter=30, retry=2, overlap="delay")

    text = export_crontab(tasks_of(register), "shop.ini")
    assert parse_crontab(text.encode()) == []
    assert "On demand only" in text
    assert "no way to run something once" in text
    assert "no last day" in text
    assert "a crontab has no such interval" in text
    assert "overlap=delay, retry=2" in text


def test_where_a_task_runs_and_who_is_told_is_in_the_comment_too():
    def register(config):
        config.add_settings({"cron.celery.broker_url": "redis://127.0.0.1:6379/0"})
        apart = {"executor": "celery", "celery": {"queue": "slow"}, "weight": 3}
        config.add_cron_task(nightly, hour=1, name="plain")
        config.add_cron_task(nightly, hour=1, name="apart", monitor="night", **apart)

    plain, apart = export_crontab(tasks_of(register), "shop.ini").split("# apart: ")
    policies = "executor=celery, weight=3, celery={'queue': 'slow'}, monitor=night"
    assert f"# Without its policies: {policies}.\n" in apart
    assert "Without" not in plain


def test_a_command_that_a_crontab_can_not_say_is_run_by_pcron():
    def register(config):
        config.add_cron_command("echo a\necho b", shell=True, name="two", hour=1)
        config.add_cron_command(["cat"], stdin="no end of line", name="input", hour=1)
        config.add_cron_command(["env"], env=["TERM"], name="some", hour=1)
        config.add_cron_command(["env"], env=dict, name="asked", hour=1)

    assert [entry.command for entry in entries(register)] == [
        "pcron shop.ini run two",
        "pcron shop.ini run input",
        "pcron shop.ini run some",
        "pcron shop.ini run asked",
    ]


def test_each_schedule_of_a_task_is_a_line_in_its_zone():
    def register(config):
        several = ["0 1 * * *", "0 2 * * *"]
        config.add_cron_task(nightly, schedule=several, name="twice", timezone="Asia/Tokyo")
        config.add_cron_task(nightly, every="15m", name="often")

    found = entries(register)
    assert [entry.variables["CRON_TZ"] for entry in found] == ["Asia/Tokyo", "Asia/Tokyo", "UTC"]
    assert [entry.name for entry in found] == ["twice", "twice (2)", "often"]


def test_lines_have_names_of_their_own_that_can_be_read_again(tmp_path):
    several, long = ["0 1 * * *", "0 2 * * *"], "n" * 200

    def register(config):
        for name in ("x", long, f"{long[:-1]}m"):
            config.add_cron_task(nightly, schedule=several, name=name)
        config.add_cron_task(nightly, hour=3, name="x (2)")

    (tmp_path / "a.cron").write_text(export_crontab(tasks_of(register), "shop.ini"))
    read = tasks_of(lambda config: config.add_crontab(str(tmp_path / "a.cron")))
    cut = "n" * 196
    assert [task.name for task in read] == [
        *("x", "x (3)", long, f"{cut} (2)", f"{long[:-1]}m", f"{cut} (3)", "x (2)")
    ]


def test_a_command_does_not_see_what_other_lines_have_set(tmp_path):
    (tmp_path / "a.cron").write_text("A=1\n0 1 * * * echo $A\n")
    (tmp_path / "b.cron").write_text("0 1 * * * echo $A\n")

    def register(config):
        config.add_crontab(str(tmp_path / "a.cron"))
        config.add_crontab(str(tmp_path / "b.cron"))

    _, second = entries(register)
    assert second.command == "unset A; echo $A"


def test_the_order_of_variables_is_that_of_the_crontab(tmp_path):
    (tmp_path / "a.cron").write_text("B=1\nA=2\n0 1 * * * true\n")
    [task] = tasks_of(lambda config: config.add_crontab(str(tmp_path / "a.cron")))
    text = export_crontab([replace(task, name="x")], "shop.ini")
    assert text.index("B=1") < text.index("A=2") < text.index("0 1 * * *")


def export_of(folder, text, **arguments):
    """What is exported of a crontab that was read."""
    (folder / "a.cron").write_text(text)
    read = tasks_of(lambda config: config.add_crontab(str(folder / "a.cron"), **arguments))
    return export_crontab(read, "shop.ini")


def test_who_gets_mail_is_kept(tmp_path):
    text = '@daily a\nMAILTO=""\n@daily b\nMAILTO=x@shop.example\nMAILFROM=y\n@daily c\n'
    found = parse_crontab(export_of(tmp_path, text).encode())
    mail = [
        {name: value for name, value in entry.variables.items() if "MAIL" in name}
        for entry in found
    ]
    assert mail == [{}, {"MAILTO": ""}, {"MAILTO": "x@shop.example", "MAILFROM": "y"}]
    assert [entry.command for entry in found] == ["a", "b", "c"]


def test_mail_of_one_crontab_is_not_sent_for_others(tmp_path):
    (tmp_path / "a.cron").write_text("MAILTO=x\n# name: mailed\n@daily a\n")

    def register(config):
        config.add_crontab(str(tmp_path / "a.cron"))
        config.add_cron_task(nightly, hour=2, name="task")

    found = {entry.name: entry.variables.get("MAILTO") for entry in entries(register)}
    assert found == {"task": None, "mailed": "x"}


def test_a_home_that_was_not_set_is_left_to_cron(tmp_path):
    text = "@daily a\nHOME=/tmp\n@daily b\n"
    found = parse_crontab(export_of(tmp_path, text).encode())
    assert [entry.variables.get("HOME") for entry in found] == [None, "/tmp"]


@pytest.mark.parametrize(
    "line",
    [
        "NOTE='  say \"yes\"'",
        'NOTE=say "yes"',
        'NOTE=\'""yes""\'',
        'NOTE=" it\'s"',
        'NOTE=""',
        "A-B=1",
        "'A B'=c",
        "NOTE=a\\\\b",
    ],
)
def test_variables_come_back_the_same(tmp_path, line):
    [before] = parse_crontab(f"{line}\n@daily a\n".encode())
    [after] = parse_crontab(export_of(tmp_path, f"{line}\n@daily a\n").encode())
    default = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "CRON_TZ": "UTC"}
    assert default | dict(after.variables) == default | dict(before.variables)


def test_what_is_too_long_for_cron_is_run_by_pcron(tmp_path):
    [entry] = parse_crontab(export_of(tmp_path, f"@daily echo {'x' * 994}\n").encode())
    assert entry.command == "pcron shop.ini run a.cron:1"
    [entry] = parse_crontab(export_of(tmp_path, f"A={'x' * 997}\n@daily echo\n").encode())
    assert entry.command == "pcron shop.ini run a.cron:2"
    [entry] = parse_crontab(export_of(tmp_path, f"@daily echo {'x' * 993}\n").encode())
    assert entry.command == f"echo {'x' * 993}"


def test_a_name_that_begins_with_a_space_is_kept():
    found = entries(lambda config: config.add_cron_task(nightly, hour=2, name=' a "b" '))
    assert [entry.name for entry in found] == [' a "b" ']


def test_what_is_no_line_is_told_by_its_name():
    def register(config):
        config.add_cron_command(["a"], on_demand=True, name="asked")
        config.add_cron_command(["a"], every="7m", name="odd")

    text = export_crontab(tasks_of(register), "shop.ini")
    assert "# On demand only; a crontab has no such line: asked.\n# a\n" in text
    assert "# Not in a crontab: odd: every 7 minutes.\n" in text


def test_accounts_come_back_the_same(tmp_path):
    text = "MAILTO=root\n0 5 * * *\troot  test -x a || b\n@daily no-such-account true\n"
    exported = export_of(tmp_path, text, user=True)
    found = parse_crontab(exported.encode(), user=True)
    assert [(entry.schedule, entry.user, entry.command) for entry in found] == [
        ("0 5 * * *", "root", "test -x a || b"),
        ("@daily", "no-such-account", "true"),
    ]
    assert "# For /etc/cron.d: it has the column" in exported
    (tmp_path / "a.cron").write_text(exported)
    again = tasks_of(lambda config: config.add_crontab(str(tmp_path / "a.cron"), user=True))
    assert export_crontab(again, "shop.ini") == exported


def test_a_column_for_accounts_can_be_asked_for():
    tasks = tasks_of(lambda config: config.add_cron_task(nightly, hour=2, name="n"))
    [entry] = parse_crontab(export_crontab(tasks, "shop.ini", user="shop").encode(), user=True)
    assert (entry.user, entry.command) == ("shop", "pcron shop.ini run n")


def test_only_a_shell_forgets_variables(tmp_path):
    (tmp_path / "a.cron").write_text("A=1\n0 1 * * * echo $A\n")
    (tmp_path / "b.cron").write_text("SHELL=/usr/bin/python3\n0 1 * * * print()\n")

    def register(config):
        config.add_crontab(str(tmp_path / "a.cron"))
        config.add_crontab(str(tmp_path / "b.cron"))

    _, second = entries(register)
    assert second.command == "pcron shop.ini run b.cron:2"


def test_a_schedule_of_ones_own_and_limits_are_a_comment():
    class Rare(Cron):
        def following(self, after):
            return super().following(after + timedelta(days=1))

    def register(config):
        config.add_cron_task(nightly, name="a", schedule=Rare("@daily"))
        config.add_cron_task(nightly, name="b", schedule=Cron("@daily").ending("2027-01-01T00:00Z"))

    assert entries(register) == []
    text = export_crontab(tasks_of(register), "shop.ini")
    assert "# (Cron('0 0 * * *', timezone='UTC').ending('2027-01-01T00:00:00+00:00'): a" in text


def test_a_description_may_have_anything_in_it():
    told = "a\0b\n61 * * * * c\x1b[31m\x85d"
    found = entries(
        lambda config: config.add_cron_task(nightly, hour=2, name="n", description=told)
    )
    assert [entry.command for entry in found] == ["pcron shop.ini run n"]


@pytest.mark.parametrize(
    ("written", "exported"),
    [
        *((text, text) for text in ("@daily", "@hourly", "09,39 */2 1-7 jan,JUL mon-fri")),
        ("5-55/10 8 * * sun,sat", "5-55/10 8 * * sun,sat"),
        # Debian's cron takes a range that wraps for one without a number, and knows no others.
        ("0 22-2 * * *", "0 0-2,22,23 * * *"),
        ("0 5 * * sat-mon", "0 5 * * 0,1,6"),
        ("0 5 * * fri-sun", "0 5 * * 0,5,6"),
        ("0 5 * * fri-7", "0 5 * * fri-7"),
        ("0/20 5 * * *", "0,20,40 5 * * *"),
        ("0 5 * * ?", "0 5 * * *"),
    ],
)
def test_fields_come_back_as_they_were_written_if_cron_reads_them(tmp_path, written, exported):
    [entry] = parse_crontab(export_of(tmp_path, f"{written} a\n").encode())
    assert entry.schedule == exported
