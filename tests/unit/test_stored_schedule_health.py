"""How stored schedules are: a state of health for each, as a task has one."""

from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from tests.apps import NOON, configure, cron_of

MINUTE = timedelta(minutes=1)
LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html"}


class Customers:
    """An application whose task fails for those with a bad payload."""

    def __init__(self, **policies):
        def report(system):
            if system["payload"] == "bad":
                raise OSError("no such customer")

        config = configure()
        config.add_cron_task(report, name="report", on_demand=True, **policies)
        self.app = config.make_wsgi_app()
        self.cron = cron_of(config)
        self.cron.tick(NOON)
        self.control = scheduler(self.cron.registry)
        self.control.schedule("ann", "report", "good", every="10m")
        self.control.schedule("bad *one", "report", "bad", every="10m")

    def state(self, name):
        return self.control.get_schedule(name).state

    def get(self, path, **options):
        return TestApp(self.app, extra_environ=LOCAL).get(path, **options)


def test_one_that_failed_is_failing_and_the_application_unhealthy():
    customers = Customers()
    assert customers.state("bad *one") == "ok"
    assert customers.control.health().is_healthy
    customers.cron.tick(NOON + 10 * MINUTE)
    status = customers.control.get_schedule("bad *one")
    assert (status.state, status.last.error) == ("failing", "OSError: no such customer")
    assert status.detail.endswith("OSError: no such customer")
    assert customers.state("ann") == "ok"
    health = customers.control.health()
    assert not health.is_healthy
    [one] = health.schedules
    assert (one.name, one.schedule, one.state) == ("report", "bad *one", "failing")
    assert any("report, schedule bad *one: failing" in line for line in health.describe_problems())


def test_one_that_gave_up_says_so_until_it_is_resumed():
    customers = Customers(pause_after=2)
    for number in (1, 2):
        customers.cron.tick(NOON + number * 10 * MINUTE)
    status = customers.control.get_schedule("bad *one")
    assert (status.state, status.next) == ("gave_up", None)
    assert customers.state("ann") == "ok"
    [one] = customers.control.health().schedules
    assert (one.schedule, one.state) == ("bad *one", "gave_up")
    [data] = customers.get("/cron/health", headers=JSON, status=503).json["schedules"]
    assert (data["schedule"], data["task"], data["state"]) == ("bad *one", "report", "gave_up")
    [data] = customers.get("/cron/overview", headers=JSON).json["schedules"]
    assert data["url"] == "/cron/schedules/bad%20%2Aone"
    page = customers.get("/cron/overview", headers=HTML)
    assert "Stored schedules that need a look" in page.text
    assert "gave up" in customers.get(data["url"], headers=HTML).text
    customers.control.resume("bad *one")
    assert customers.state("bad *one") == "failing"
    customers.control.pause("bad *one")
    assert customers.control.health().schedules == ()


def test_one_that_is_removed_or_disabled_is_unhealthy_no_more():
    customers = Customers()
    customers.cron.tick(NOON + 10 * MINUTE)
    assert len(customers.control.health().schedules) == 1
    customers.control.schedule("bad *one", "report", "bad", enabled=False, every="10m")
    assert customers.control.health().schedules == ()
    assert customers.state("bad *one") == "disabled"
    customers.control.unschedule("bad *one")
    assert customers.control.health().schedules == ()


def test_a_success_makes_it_well():
    customers = Customers()
    customers.cron.tick(NOON + 10 * MINUTE)
    customers.control.schedule("bad *one", "report", "good", every="10m")
    customers.cron.tick(NOON + 20 * MINUTE)
    assert customers.state("bad *one") == "ok"
    assert customers.control.health().schedules == ()


def test_one_that_no_tick_came_for_is_late_then_missed():
    customers = Customers(grace="5m")
    customers.control.unschedule("bad *one")
    customers.cron.tick(NOON + 10 * MINUTE)
    customers.cron._set_clock(NOON + 24 * MINUTE)
    late = customers.control.get_schedule("ann")
    assert (late.state, late.next) == ("late", NOON + 30 * MINUTE)
    customers.cron.tick(NOON + 26 * MINUTE)
    assert customers.state("ann") == "missed"
    [one] = customers.control.health().schedules
    assert (one.schedule, one.state) == ("ann", "missed")


def test_one_that_waits_for_another_attempt_is_waiting():
    customers = Customers(retry=2)
    customers.cron.tick(NOON + 10 * MINUTE)
    status = customers.control.get_schedule("bad *one")
    assert status.state == "waiting"
    assert "for another attempt" in status.detail
    assert customers.control.health().schedules == ()


@pytest.mark.parametrize("count", [1, 3])
def test_schedules_of_a_task_that_is_away_are_orphaned(count):
    customers = Customers()
    for number in range(count):
        customers.control.schedule(f"c{number}", "report", every="10m")
    without = cron_of(configure())
    assert without.registry is not customers.cron.registry
    store = customers.control._cron.store
    away = scheduler(without.registry)
    away._cron.store.use(store.database)
    states = {one.name: one.state for one in away.schedules()}
    assert set(states.values()) == {"orphaned"}
    assert len(states) == count + 2
