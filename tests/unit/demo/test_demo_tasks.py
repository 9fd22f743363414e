from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from pyramid_cron.demo.models import PRODUCTS, STOCK_AT_FIRST, Cart, Line, Mail, Sales
from pyramid_cron.state import cronwork

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def said(run):
    """What the run logged, without what stands before it."""
    return run.output.rstrip().partition("] ")[2]


def test_customers_fill_carts_with_what_is_then_off_the_shelf(shop, monday):
    run = shop.cron.run("customers", at=monday)
    with Session(shop.engine) as session:
        carts = session.query(Cart).all()
        assert 1 <= len(carts) <= 3
        assert sum(cart.pieces for cart in carts) == shop.off_the_shelf() > 0
        assert {cart.touched for cart in carts} == {monday}
    plural = "" if len(carts) == 1 else "s"
    assert said(run) == f"{len(carts)} new cart{plural}, 0 orders"


def test_within_some_minutes_customers_order_what_is_in_their_carts(shop, monday):
    for minute in range(10):
        shop.cron.run("customers", at=monday + minute * MINUTE)
    assert {"open", "ordered"} == set(shop.states())


def test_customers_leave_without_a_cart_when_the_shelves_are_empty(shop, monday):
    shop.set_stock(0)
    run = shop.cron.run("customers", at=monday)
    assert shop.states() == []
    assert said(run) == "0 new carts, 0 orders"


def test_a_cart_nobody_touched_for_five_minutes_expires_and_its_pieces_are_for_sale(shop, monday):
    shop.add_cart(monday - 5 * MINUTE, pieces=2)
    shop.add_cart(monday - 4 * MINUTE, pieces=1)
    run = shop.cron.run("expire-carts", at=monday)
    assert shop.states() == ["expired", "open"]
    assert shop.stock() == STOCK_AT_FIRST - 1
    assert said(run) == "1 cart expired, 2 pieces back in stock"
    assert (run.progress.done, run.progress.total) == (1, 1)


def test_the_supplier_fills_the_shelves(shop, monday):
    shop.set_stock(STOCK_AT_FIRST - 3)
    run = shop.cron.run("import-stock", at=monday)
    assert shop.off_the_shelf() == 0
    assert said(run) == f"{3 * len(PRODUCTS)} pieces delivered"


def test_what_the_supplier_has_plenty_of_already_is_not_delivered(shop, monday):
    shop.set_stock(STOCK_AT_FIRST + 1)
    shop.cron.run("import-stock", at=monday)
    assert shop.stock() == STOCK_AT_FIRST + 1


@pytest.mark.parametrize("minute", [10, 14, 25, 59])
def test_a_supplier_who_breaks_off_leaves_the_stock_as_it_was(shop, monday, minute):
    shop.set_stock(1)
    run = shop.cron.run("import-stock", at=monday.replace(minute=minute))
    assert run.state == "failed"
    assert run.error.endswith("SupplierError: no answer about Rug; nothing is taken in")
    assert [shop.stock(name) for name in PRODUCTS] == [1] * len(PRODUCTS)


def test_orders_of_the_hours_that_are_over_are_added_up_once(shop, monday):
    nine = monday.replace(hour=9, minute=0)
    for touched in (nine - HOUR, nine - MINUTE, nine - 2 * HOUR, nine):
        shop.add_cart(touched, state="ordered", product="Chair", pieces=2)
    run = shop.cron.run("roll-up-sales", at=nine)
    assert said(run) == "3 orders worth 534.00"
    assert shop.states() == ["counted", "counted", "counted", "ordered"]
    shop.cron.run("roll-up-sales", at=nine + MINUTE)
    assert {(sales.hour, sales.orders, sales.cents) for sales in shop.all(Sales)} == {
        (nine - 2 * HOUR, 1, 178_00),
        (nine - HOUR, 2, 356_00),
    }


def test_the_digest_tells_of_the_last_day_and_of_orders_not_yet_added_up(shop, monday):
    shop.add_cart(monday - HOUR, state="ordered", product="Chair", pieces=1)
    shop.cron.run("roll-up-sales", at=monday)
    shop.add_cart(monday, state="ordered", product="Table", pieces=5)
    run = shop.cron.run("digest-now", at=monday)
    [mail] = shop.all(Mail)
    assert mail.body == "2 orders worth 1,289.00 in the last 24 hours"
    assert said(run) == f"mailed: {mail.body}"
    shop.cron.run("digest-now", at=monday + 25 * HOUR)
    assert shop.all(Mail)[1].body == "1 order worth 1,200.00 in the last 24 hours"


def test_only_old_carts_that_are_done_with_are_deleted(shop, monday):
    for state in ("open", "ordered", "counted", "expired"):
        shop.add_cart(monday - 31 * MINUTE, state=state)
        shop.add_cart(monday - 29 * MINUTE, state=state)
    run = shop.cron.run("prune-carts", at=monday)
    assert said(run) == "2 of 2 old carts deleted"
    assert sorted(shop.states()) == sorted(["open", "ordered"] * 2 + ["counted", "expired"])
    assert len(shop.all(Line)) == 6


def test_pruning_stops_when_the_time_is_up(shop, monday):
    cron = cronwork(shop.app.registry)
    cron.settings = replace(cron.settings, budget=1e-9)
    shop.add_cart(monday - HOUR, state="expired")
    run = shop.cron.run("prune-carts", at=monday)
    assert said(run) == "0 of 1 old cart deleted"
    assert shop.states() == ["expired"]


def test_the_tasks_of_a_weekday_morning_come_in_their_order(shop, monday):
    report = shop.cron.tick(at=monday)
    assert [run.task for run in report.runs] == [
        "customers",
        "expire-carts",
        "import-stock",
        "digest",
    ]
    assert {run.state for run in report.runs} == {"succeeded"}


def test_an_hour_of_the_shop_sees_every_state_and_sells_nothing_it_has_not(shop, monday):
    reports = [shop.cron.tick(at=monday + minute * MINUTE) for minute in range(61)]
    assert {"open", "ordered", "counted", "expired"} == set(shop.states())
    assert all(shop.stock(name) >= 0 for name in PRODUCTS)
    [sales] = shop.all(Sales)
    assert sales.orders > 10
    failed = {run.task for report in reports for run in report.runs if run.state == "failed"}
    assert failed == {"import-stock"}
    assert "prune-carts" in {run.task for report in reports for run in report.runs}
