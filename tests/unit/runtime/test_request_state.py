"""Each task finds the request as the tick began it."""

import pytest

from pyramid_cron import events
from tests.apps import NOON, configure, configure_with_database, cron_of


@pytest.fixture
def config():
    config = configure()
    config.add_request_method(lambda request: object(), "user", reify=True)
    return config


def test_a_reified_attribute_is_made_anew_for_each_task(config):
    users = []
    for name in ("one", "two"):
        config.add_cron_task(lambda system: users.append(system["request"].user), name=name)
    cron_of(config).tick(NOON)
    assert len(set(map(id, users))) == 2


def test_what_a_task_sets_is_gone_for_the_next(config):
    found = []

    def work(system):
        request = system["request"]
        found.append((vars(request).get("note"), getattr(request, "label", None)))
        request.note = "mine"
        request.set_property(lambda request: "mine", "label")

    for name in ("one", "two"):
        config.add_cron_task(work, name=name)
    cron_of(config).tick(NOON)
    assert found == [(None, None)] * 2


def test_what_a_subscriber_sets_is_gone_for_tasks(config):
    found = []
    for event in (events.TickStarted, events.RunStarted):
        config.add_subscriber(lambda event: setattr(event.request, "note", "mine"), event)
    config.add_cron_task(
        lambda system: found.append(vars(system["request"]).get("note")), name="some"
    )
    cron_of(config).tick(NOON)
    assert found == [None]


def test_what_a_task_that_fails_sets_is_gone_as_well(config):
    found = []

    def fail(system):
        system["request"].note = "mine"
        raise ValueError("no")

    config.add_cron_task(fail, name="one")
    config.add_cron_task(
        lambda system: found.append(vars(system["request"]).get("note")), name="two"
    )
    cron_of(config).tick(NOON)
    assert found == [None]


def test_callbacks_that_tasks_add_are_kept(config):
    called = []
    for name in ("one", "two"):
        config.add_cron_task(
            lambda system: system["request"].add_finished_callback(called.append), name=name
        )
    cron_of(config).tick(NOON)
    assert len(called) == 2


@pytest.mark.parametrize("mode", ["explicit", "implicit", "inactive", "none"])
def test_each_task_has_a_database_session_of_its_own(tmp_path, mode):
    sessions = []
    config = configure_with_database(tmp_path, mode=mode)
    for name in ("one", "two"):
        config.add_cron_task(lambda system: sessions.append(system["request"].dbsession), name=name)
    cron_of(config).tick(NOON)
    assert len(set(map(id, sessions))) == 2
