"""Folders and crontabs that settings name."""

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationExecutionError

from pyramid_cron import scheduler
from tests.apps import NOON, configure, cron_of


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "jobs" / "1day" / "it"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\necho it\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def crontab(tmp_path):
    path = tmp_path / "shop.cron"
    path.write_text("# name: sync\n0 12 * * * echo sync\n")
    return path


def names(config):
    config.commit()
    return {task.name for task in scheduler(config.registry).tasks()}


def test_they_are_as_with_the_directives(tmp_path, script, crontab):
    settings = {"cron.folders": f"\n  {tmp_path / 'jobs'}\n", "cron.crontabs": str(crontab)}
    config = configure(**settings)
    [run] = cron_of(config).tick(NOON).runs
    assert (run.task, run.stdout) == ("sync", "sync\n")
    assert names(config) == {"1day/it", "sync"}


def test_several_are_separated_by_whitespace(tmp_path, crontab):
    other = tmp_path / "other.cron"
    other.write_text("# name: other\n@daily true\n")
    assert names(configure(**{"cron.crontabs": f"{crontab}  {other}"})) == {"sync", "other"}


def test_a_list_may_have_paths_with_spaces(tmp_path):
    spaced = tmp_path / "the shop.cron"
    spaced.write_text("# name: spaced\n@daily true\n")
    assert names(configure(**{"cron.crontabs": [spaced]})) == {"spaced"}


def test_they_may_be_set_after_the_include(crontab):
    config = configure()
    config.add_settings({"cron.crontabs": str(crontab)})
    assert names(config) == {"sync"}


def test_with_autocommit_they_work_as_well(crontab, script, tmp_path):
    settings = {"cron.url": "sqlite://", "cron.crontabs": str(crontab)}
    settings["cron.folders"] = str(tmp_path / "jobs")
    config = Configurator(settings=settings, autocommit=True)
    config.include("pyramid_cron")
    assert names(config) == {"1day/it", "sync"}


def test_the_application_may_override_what_they_bring(crontab):
    config = configure(**{"cron.crontabs": str(crontab)})
    config.add_cron_command(["echo", "mine"], name="sync", hour=12)
    [run] = cron_of(config).tick(NOON).runs
    assert run.stdout == "mine\n"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cron.folders", "cron.folders: cron folder: path='/no/such': there is no folder"),
        ("cron.crontabs", "cron.crontabs: crontab '/no/such' can't be read"),
    ],
)
def test_what_is_wrong_names_the_setting(setting, message):
    config = configure(**{setting: "/no/such"})
    with pytest.raises(ConfigurationExecutionError) as caught:
        config.commit()
    assert message in str(caught.value)


@pytest.fixture
def with_users(tmp_path):
    path = tmp_path / "system.cron"
    path.write_text("# name: system\n0 12 * * * root echo as root\n")
    return path


def test_the_word_user_after_a_crontab_has_its_column_read(with_users, crontab):
    config = configure(**{"cron.crontabs": f"\n {with_users} user\n {crontab}\n"})
    assert names(config) == {"system", "sync"}
    commands = {task.name: task.function for task in scheduler(config.registry).tasks()}
    assert (commands["system"].user, commands["system"].line) == ("root", "echo as root")
    assert commands["sync"].user is None


@pytest.mark.parametrize("as_list", [lambda path: [path, "user"], lambda path: [(path, "user")]])
def test_so_it_is_in_a_list(with_users, as_list):
    assert names(configure(**{"cron.crontabs": as_list(with_users)})) == {"system"}


def test_a_column_that_is_not_read_is_an_error_that_names_the_setting(with_users):
    config = configure(**{"cron.crontabs": str(with_users)})
    with pytest.raises(ConfigurationExecutionError, match=r"cron\.crontabs: .*line 2.*'root'"):
        config.commit()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("user", "'user' follows no path; a file of that name is './user'"),
        ("/a user user", "'user' follows no path"),
        ([("/a", "root")], "('/a', 'root') is no pair of a path and 'user'"),
        ([("/a",)], "('/a',) is no pair of a path and 'user'"),
        ([3], "3 is not text"),
    ],
)
def test_a_crontab_that_is_none_is_refused(value, fault):
    with pytest.raises(ConfigurationExecutionError) as caught:
        configure(**{"cron.crontabs": value}).commit()
    assert f"cron.crontabs: {fault}" in str(caught.value)


@pytest.mark.parametrize("setting", ["cron.folders", "cron.crontabs"])
@pytest.mark.parametrize("empty", ["", " \n ", None, []])
def test_without_any_path_there_are_none(setting, empty):
    assert names(configure(**{setting: empty})) == set()


@pytest.mark.parametrize("value", [3, [3]])
def test_what_is_no_path_is_told(value):
    with pytest.raises(ConfigurationExecutionError, match=r"cron\.folders: 3 is n"):
        configure(**{"cron.folders": value}).commit()
