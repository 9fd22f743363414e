from datetime import datetime, timedelta, timezone

import pytest
from webtest import TestApp

from pyramid_cron.app import get_cron
from pyramid_cron.demo import ORDERS_PER_IMPORT, RETAINED_ORDERS, add_stored_schedule, main
from pyramid_cron.testing import CronTester

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 11, 23, 12, 1, tzinfo=timezone.utc)


@pytest.fixture
def app(tmp_path, caplog):
    caplog.set_level("INFO", logger="pyramid_cron")
    settings = {"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.timezone": "UTC"}
    app = main({}, **settings, **{"shop.import_delay": "0"})
    yield app
    get_cron(app.registry).close()


@pytest.fixture
def shop(app):
    return app.registry["shop"]


@pytest.fixture
def cron(app):
    return CronTester(app)


def states(report):
    return {(run.task, run.attempt, run.state) for run in report.runs}


def test_a_charge_that_fails_is_retried_by_the_next_tick(cron, shop):
    assert ("charge-orders", 1, "failed") in states(cron.tick(at=NOON))
    assert ("charge-orders", 2, "succeeded") in states(cron.tick(at=NOON + MINUTE))
    assert len(shop.in_state("paid")) >= ORDERS_PER_IMPORT + 1


def test_an_import_logs_each_order_and_its_progress(cron, shop):
    [run] = [run for run in cron.tick(at=NOON).runs if run.task == "import-orders"]
    assert run.state == "succeeded"
    assert (run.progress.done, run.progress.total) == (ORDERS_PER_IMPORT, ORDERS_PER_IMPORT)
    assert len(run.output.splitlines()) == ORDERS_PER_IMPORT
    assert len(shop.orders) == ORDERS_PER_IMPORT + 1


def test_a_paid_order_is_refunded_once(cron, shop):
    shop.orders[1001].state = "paid"
    run = cron.run("refund-order", payload={"order": 1001}, at=NOON)
    assert (run.state, shop.orders[1001].state) == ("succeeded", "refunded")
    assert cron.run("refund-order", payload={"order": 1001}, at=NOON).state == "failed"


@pytest.mark.parametrize("payload", [None, 1001, {"order": 7}, {"order": [1001]}])
def test_what_names_no_paid_order_is_not_refunded(cron, payload):
    run = cron.run("refund-order", payload=payload, at=NOON)
    assert run.state == "failed"
    assert "names no paid order" in run.error


def test_the_oldest_paid_orders_are_deleted(cron, shop):
    for _ in range(RETAINED_ORDERS + 1):
        shop.add_order().state = "paid"
    assert cron.run("delete-old-orders", at=NOON).state == "succeeded"
    assert (1001 in shop.orders, 1002 in shop.orders, 1003 in shop.orders) == (True, False, True)


def test_the_report_of_the_night_adds_up_orders_by_state(cron, shop):
    shop.orders[1001].state = "paid"
    output = cron.run("report-sales", at=NOON).output
    assert "open: 0 orders, 0.00" in output
    assert "paid: 1 orders, 73.89" in output


def test_a_customer_has_a_statement_by_a_stored_schedule(app, cron, shop):
    for _ in range(20):
        shop.add_order().state = "paid"
    add_stored_schedule(app)
    minute = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    [run] = [run for run in cron.tick(at=minute + 2 * MINUTE).runs if run.schedule]
    assert (run.task, run.schedule, run.state) == (
        "send-statement",
        "statement for Ada",
        "succeeded",
    )
    assert "statement for Ada: " in run.output


def test_open_orders_are_watched_three_times_a_minute(cron):
    slots = [slot for slot, task in cron.simulate(NOON, NOON + MINUTE) if task == "watch-orders"]
    assert len(slots) == 3


def test_the_front_page_leads_to_the_page_of_all_tasks(app):
    browser = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    page = browser.get("/", headers={"Accept": "text/html"}).follow(headers={"Accept": "text/html"})
    assert page.request.path == "/cron/tasks"
    assert "charge-orders" in page.text
