"""Scripts that run when the names of their folders say so."""

import logging
import os
from datetime import timedelta

import pytest
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from tests.apps import NOON, configure, cron_of

MINUTE = timedelta(minutes=1)


@pytest.fixture
def config():
    return configure()


def script(path, text="#!/bin/sh\necho $CRON_TASK\n", mode=0o755):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def names(config):
    return sorted(task.name for task in scheduler(config.registry).tasks())


def problems(config):
    return get_cron(config.registry).problems


def ran(report):
    return sorted(run.task for run in report.runs)


def test_scripts_are_tasks_called_like_their_paths(config, tmp_path):
    script(tmp_path / "15min" / "poll")
    script(tmp_path / "1day" / "at1200" / "back up.sh")
    script(tmp_path / "2week" / "at1733" / "report")
    config.add_cron_folder(tmp_path, timeout="5m")
    cron = cron_of(config)
    report = cron.tick(NOON)
    assert names(config) == ["15min/poll", "1day/at1200/back up.sh", "2week/at1733/report"]
    assert [(run.task, run.state, run.stdout) for run in report.runs] == [
        ("15min/poll", "succeeded", "15min/poll\n"),
        ("1day/at1200/back up.sh", "succeeded", "1day/at1200/back up.sh\n"),
    ]
    [task] = [each for each in scheduler(config.registry).tasks() if "report" in each.name]
    assert task.describe() == "at 17:33 on Monday, every 2 weeks (UTC)"
    assert task.timeout == 5 * MINUTE
    assert problems(config) == []


def test_times_are_those_of_the_zone(config, tmp_path):
    script(tmp_path / "1day" / "at1400" / "it")
    config.add_cron_folder(tmp_path, timezone="Europe/Berlin")
    assert ran(cron_of(config).tick(NOON)) == ["1day/at1400/it"]


def test_only_executable_regular_files_that_are_not_hidden_are_scripts(config, tmp_path):
    script(tmp_path / "1day" / "it")
    (tmp_path / "1day" / "link").symlink_to(tmp_path / "1day" / "it")
    script(tmp_path / "1day" / ".hidden")
    script(tmp_path / "1day" / "it~")
    script(tmp_path / ".git" / "hooks" / "it")
    script(tmp_path / "1day" / "README", "How to", 0o644)
    script(tmp_path / "README", "How to", 0o644)
    os.mkfifo(tmp_path / "1day" / "pipe", 0o755)
    config.add_cron_folder(tmp_path)
    config.commit()
    assert names(config) == ["1day/it", "1day/link"]
    assert problems(config) == []


def test_what_is_wrong_is_logged_once_and_listed_and_stops_nothing(config, tmp_path, caplog):
    script(tmp_path / "1day" / "fine")
    script(tmp_path / "1day" / "at2500" / "it")
    script(tmp_path / "2week" / "at0069" / "it")
    script(tmp_path / "0min" / "it")
    script(tmp_path / "2weeks" / "it")
    script(tmp_path / "1day" / "at0100" / "deeper" / "it")
    script(tmp_path / "root")
    script(tmp_path / "1day" / "forgotten", mode=0o644)
    (tmp_path / "1day" / "broken").symlink_to(tmp_path / "nowhere")
    config.add_cron_folder(tmp_path)
    cron = cron_of(config)
    for minute in range(3):
        cron.tick(NOON + minute * MINUTE)
    assert names(config) == ["1day/fine"]
    expected = [
        ("0min", "0min must be 1min or more"),
        ("1day/at0100/deeper", "is too deep"),
        ("1day/at2500", "there is no such time"),
        ("1day/broken", "leads nowhere"),
        ("1day/forgotten", "is a script but not executable: chmod +x"),
        ("2week/at0069", "there is no such time"),
        ("2weeks", "must be a number and min, hour, day or week"),
        ("root", "a script must be in a folder"),
    ]
    assert len(problems(config)) == len(expected)
    for problem, (path, text) in zip(problems(config), expected, strict=True):
        assert problem.startswith(f"{tmp_path}/{path}: ")
        assert text in problem
    warned = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warned == [f"cron folder: {problem}" for problem in problems(config)]


def test_links_that_lead_to_themselves_stop_nothing(config, tmp_path):
    fine = script(tmp_path / "1min" / "fine")
    script(tmp_path / "1day" / "at1200" / "it")
    config.add_cron_folder(tmp_path)
    cron = cron_of(config)
    assert ran(cron.tick(NOON - MINUTE)) == ["1min/fine"]
    links = [tmp_path / "1day" / "at1200" / "loop", fine.parent / "loop", tmp_path / "loop"]
    for link in links:
        link.symlink_to("loop")
    assert ran(cron.tick(NOON)) == ["1day/at1200/it", "1min/fine"]
    assert problems(config) == [
        f"{link}: can't be read: Too many levels of symbolic links" for link in links
    ]
    again = configure()
    again.add_cron_folder(tmp_path)
    again.commit()
    assert names(again) == names(config)


class TestWhileTheApplicationRuns:
    def test_a_new_script_runs_from_its_first_minute_on(self, config, tmp_path):
        (tmp_path / "1min").mkdir()
        config.add_cron_folder(tmp_path)
        cron = cron_of(config)
        cron.tick(NOON)
        script(tmp_path / "1min" / "new")
        report = cron.tick(NOON + 30 * MINUTE)
        assert [(run.task, run.slot) for run in report.runs] == [("1min/new", NOON + 30 * MINUTE)]
        assert report.skipped == ()
        assert ran(cron.tick(NOON + 31 * MINUTE)) == ["1min/new"]

    def test_others_keep_the_slots_that_no_tick_came_for(self, config, tmp_path):
        script(tmp_path / "15min" / "old")
        config.add_cron_folder(tmp_path, catch_up="all")
        cron = cron_of(config)
        cron.tick(NOON)
        script(tmp_path / "1min" / "new")
        report = cron.tick(NOON + 31 * MINUTE)
        assert [run.slot for run in report.runs if run.task == "15min/old"] == [
            NOON + 15 * MINUTE,
            NOON + 30 * MINUTE,
        ]

    def test_one_that_has_gone_runs_no_more(self, config, tmp_path):
        path = script(tmp_path / "1min" / "it")
        config.add_cron_folder(tmp_path)
        cron = cron_of(config)
        assert ran(cron.tick(NOON)) == ["1min/it"]
        path.unlink()
        assert ran(cron.tick(NOON + MINUTE)) == []
        assert names(config) == []
        assert config.introspector.get_category("cron tasks") == []

    def test_one_that_comes_back_makes_up_for_the_time_it_was_away(self, config, tmp_path):
        path = script(tmp_path / "1min" / "it")
        config.add_cron_folder(tmp_path, catch_up="all", grace="2m")
        cron = cron_of(config)
        cron.tick(NOON)
        path.unlink()
        for minute in (1, 2, 3):
            assert ran(cron.tick(NOON + minute * MINUTE)) == []
        script(path)
        report = cron.tick(NOON + 4 * MINUTE)
        assert [run.slot for run in report.runs] == [NOON + minute * MINUTE for minute in (2, 3, 4)]
        assert [run.reason for run in report.skipped] == ["missed"]

    def test_one_that_is_made_executable_is_noticed(self, config, tmp_path):
        path = script(tmp_path / "1min" / "it", mode=0o644)
        config.add_cron_folder(tmp_path)
        cron = cron_of(config)
        assert ran(cron.tick(NOON)) == []
        path.chmod(0o755)
        assert ran(cron.tick(NOON + MINUTE)) == ["1min/it"]
        assert problems(config) == []

    def test_one_that_moves_runs_by_its_new_name(self, config, tmp_path):
        path = script(tmp_path / "1min" / "it")
        config.add_cron_folder(tmp_path)
        cron = cron_of(config)
        cron.tick(NOON)
        (tmp_path / "2min").mkdir()
        path.rename(tmp_path / "2min" / "it")
        assert ran(cron.tick(NOON + 2 * MINUTE)) == ["2min/it"]

    def test_it_looks_once_a_minute(self, config, tmp_path):
        (tmp_path / "1min").mkdir()
        config.add_cron_folder(tmp_path)
        cron = cron_of(config)
        cron.tick(NOON)
        script(tmp_path / "1min" / "it")
        cron.tick(NOON + timedelta(seconds=30))
        assert names(config) == []
        cron.tick(NOON + timedelta(seconds=61))
        assert names(config) == ["1min/it"]

    def test_a_process_that_no_tick_reaches_notices_as_well(self, tmp_path):
        there, here = (configure(**{"cron.url": f"sqlite:///{tmp_path}/cron"}) for _ in range(2))
        old = script(tmp_path / "jobs" / "1min" / "old")
        for each in there, here:
            each.add_cron_folder(tmp_path / "jobs")
        cron, pages = cron_of(there), TestApp(here.make_wsgi_app())
        cron.tick(NOON)
        old.unlink()
        script(tmp_path / "jobs" / "1min" / "new")
        assert ran(cron.tick(NOON + 5 * MINUTE)) == ["1min/new"]
        get_cron(there.registry).supervisor.flush()
        get_cron(here.registry).clock = lambda: NOON + 6 * MINUTE
        asked = pages.get("/cron/health", extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        assert asked.text == "ok"
        listed = pages.get("/cron/tasks", extra_environ={"REMOTE_ADDR": "127.0.0.1"}).json["tasks"]
        assert [task["task"] for task in listed if task["state"] != "orphaned"] == ["1min/new"]
        script(tmp_path / "jobs" / "1min" / "newer")
        get_cron(here.registry).clock = lambda: NOON + 7 * MINUTE
        assert scheduler(here.registry).run("1min/newer").state == "succeeded"

    def test_a_folder_that_has_gone_is_a_problem_until_it_is_back(self, config, tmp_path):
        script(tmp_path / "jobs" / "1min" / "it")
        config.add_cron_folder(tmp_path / "jobs")
        cron = cron_of(config)
        cron.tick(NOON)
        (tmp_path / "jobs").rename(tmp_path / "away")
        assert ran(cron.tick(NOON + MINUTE)) == []
        assert problems(config) == [f"{tmp_path}/jobs: can't be read: No such file or directory"]
        (tmp_path / "away").rename(tmp_path / "jobs")
        assert ran(cron.tick(NOON + 2 * MINUTE)) == ["1min/it"]
        assert problems(config) == []

    def test_one_that_cannot_be_registered_is_a_problem_and_ends_no_tick(
        self, config, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("tests.apps.allowed", lambda system: True, raising=False)
        config.add_cron_folder(tmp_path, when="tests.apps.allowed")
        config.add_cron_task(lambda system: None, name="other")
        cron = cron_of(config)
        with monkeypatch.context() as patched:
            patched.delattr("tests.apps.allowed")
            path = script(tmp_path / "1min" / "it")
            assert ran(cron.tick(NOON)) == ["other"]
        [problem] = problems(config)
        assert problem.startswith(f"{path}: cron task '1min/it': when='tests.apps.allowed' can't")
        assert ran(cron.tick(NOON + MINUTE)) == ["1min/it", "other"]
        assert problems(config) == []


class TestRegistering:
    def test_a_missing_folder_is_an_error(self, config, tmp_path):
        with pytest.raises(ConfigurationError, match=f"there is no folder '{tmp_path}/jobs'"):
            config.add_cron_folder(tmp_path / "jobs")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"timeout": "soon"}, "timeout='soon': use '90s'"),
            ({"hour": 2}, "hour=2: add_cron_folder has no such argument"),
            ({"overlap": "queue"}, "overlap='queue': must be one of"),
            ({"env": "all"}, "env='all': use 'inherit'"),
            ({"cwd": ""}, "cwd='': must be the path of a directory"),
            ({"cwd": b"/tmp"}, "cwd=b'/tmp': must be the path of a directory"),
            ({"cwd": "a\0b"}, "cwd='a\\x00b': must be the path of a directory"),
            ({"cwd": 3}, "cwd=3: must be the path of a directory"),
            ({"prefix": 3}, "prefix=3: must be text"),
            ({"when": "nowhere.at_all"}, "when='nowhere.at_all' can't be imported"),
        ],
    )
    def test_policies_are_checked_before_there_is_a_script(
        self, config, tmp_path, arguments, message
    ):
        with pytest.raises(ConfigurationError) as caught:
            config.add_cron_folder(tmp_path, **arguments)
        assert str(tmp_path) in str(caught.value)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"executor": "line"},
                "executor='line': must be one of 'request', 'thread', 'process', 'worker',",
            ),
            ({"executor": "thread", "weight": 9}, "weight=9: it would never run"),
            ({"executor": "celery"}, "needs the setting cron.celery.broker_url"),
        ],
    )
    def test_what_the_application_tells_is_checked_before_there_is_a_script(
        self, config, tmp_path, arguments, message
    ):
        config.add_cron_folder(tmp_path, **arguments)
        with pytest.raises(ConfigurationError) as caught:
            config.commit()
        assert f"cron folder '{tmp_path}': " in str(caught.value)
        assert message in str(caught.value)

    def test_a_queue_may_be_added_after_the_folder(self, config, tmp_path):
        config.add_cron_folder(tmp_path, executor="line", weight=3)
        config.add_cron_queue("line", lambda run: None)
        config.commit()
        assert problems(config) == []

    def test_a_name_that_is_taken_is_a_problem(self, config, tmp_path):
        script(tmp_path / "1day" / "it")
        config.add_cron_folder(tmp_path)
        config.add_cron_task(lambda system: None, name="1day/it", hour=5)
        config.commit()
        [task] = scheduler(config.registry).tasks()
        assert task.describe() == "at 05:00 every day (UTC)"
        assert problems(config) == [
            f"{tmp_path}/1day/it: there is another task named '1day/it'; give the folder a prefix"
        ]

    def test_a_prefix_tells_two_folders_apart(self, config, tmp_path):
        for folder in "a", "b":
            script(tmp_path / folder / "1day" / "it")
            config.add_cron_folder(tmp_path / folder, prefix=f"{folder}:")
        config.commit()
        assert names(config) == ["a:1day/it", "b:1day/it"]

    def test_the_same_folder_twice_is_a_conflict(self, config, tmp_path):
        config.add_cron_folder(tmp_path)
        config.add_cron_folder(f"{tmp_path}/", retry=2)
        with pytest.raises(ConfigurationConflictError):
            config.commit()

    @pytest.mark.parametrize("said", [{}, {"description": None}, {"description": "Ours."}])
    def test_scripts_are_described_by_their_paths(self, config, tmp_path, said):
        path = script(tmp_path / "1day" / "it")
        config.add_cron_folder(tmp_path, **said)
        config.commit()
        [task] = scheduler(config.registry).tasks()
        assert task.description == (said.get("description") or str(path))

    def test_it_may_be_an_asset_specification(self, config):
        config.add_cron_folder("pyramid_cron:web")
        config.commit()
        [folder] = config.introspector.get_category("cron folders")
        assert folder["introspectable"]["path"].endswith("/pyramid_cron/web")

    def test_an_unknown_package_is_an_error(self, config):
        with pytest.raises(ConfigurationError, match="the package 'nowhere' can't be imported"):
            config.add_cron_folder("nowhere:jobs")

    def test_scripts_get_their_environment_and_directory(self, config, tmp_path):
        script(tmp_path / "jobs" / "1min" / "it", "#!/bin/sh\npwd; echo $SHOP\n")
        config.add_cron_folder(tmp_path / "jobs", env=("none", {"SHOP": "north"}), cwd=tmp_path)
        [run] = cron_of(config).tick(NOON).runs
        assert run.stdout == f"{tmp_path}\nnorth\n"
