"""A task finds the same in its request wherever it runs."""

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure


class Root:
    def __init__(self, request):
        self.request = request


def shop(executor="request"):
    config = configure()
    config.set_root_factory(Root)
    found = []

    def look(system):
        request = system["request"]
        assert request.root is request.context is request.virtual_root
        assert isinstance(request.root, Root)
        assert request.root.request is request
        found.append(
            {
                "client": request.client_addr,
                "view": request.view_name,
                "path": (request.subpath, request.traversed, request.virtual_root_path),
                "route": request.matchdict or {},
            }
        )

    config.add_cron_task(look, name="look", executor=executor)
    return config.make_wsgi_app(), found


def by_a_hit(app):
    TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"}).get("/cron")
    cron = get_cron(app.registry)
    cron.background_threads.join([run.id for run in scheduler(app.registry).history()])


WAYS = {
    "a hit": by_a_hit,
    "a tick of a test": lambda app: CronTester(app).tick(at=NOON),
    "a run of a test": lambda app: CronTester(app).run("look"),
    "by hand": lambda app: scheduler(app.registry).run("look"),
}


@pytest.mark.parametrize("executor", ["request", "thread"])
@pytest.mark.parametrize("way", WAYS)
def test_a_task_finds_its_root_and_who_asked_however_it_runs(way, executor):
    app, found = shop(executor)
    WAYS[way](app)
    empty = ((), (), ())
    assert found == [{"client": "127.0.0.1", "view": "", "path": empty, "route": {}}]


def test_in_a_thread_the_client_is_who_hit_the_trigger():
    config = configure(**{"cron.allow": "10.0.0.7"})
    found = []
    config.add_cron_task(
        lambda system: found.append(system["request"].client_addr), name="look", executor="thread"
    )
    app = config.make_wsgi_app()
    TestApp(app, extra_environ={"REMOTE_ADDR": "10.0.0.7"}).get("/cron")
    get_cron(app.registry).background_threads.join(
        [run.id for run in scheduler(app.registry).history()]
    )
    assert found == ["10.0.0.7"]
