import re
from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron.demo.models import Mail
from pyramid_cron.state import cronwork


@pytest.fixture
def page(shop, monday):
    """The shop in a browser, on a Monday at 8:30."""
    cronwork(shop.app.registry).clock = lambda: monday
    return TestApp(shop.app)


def rows(html, caption):
    """Return the cells of the table with this caption, row by row."""
    body = re.search(f"<caption>{caption}</caption>.*?<tbody>(.*?)</tbody>", html, re.DOTALL)
    return [re.findall("<td>(.*?)</td>", row, re.DOTALL) for row in body[1].split("<tr>")[1:]]


def test_the_page_shows_each_task_with_its_schedule_in_words(page):
    tasks = {cells[0]: cells[1:] for cells in rows(page.get("/").text, "Tasks")}
    assert list(tasks) == [
        "customers",
        "expire-carts",
        "import-stock",
        "roll-up-sales",
        "digest",
        "digest-now",
        "prune-carts",
    ]
    does, when, last, following = tasks["expire-carts"]
    assert does == "Empty the carts that nobody came back to."
    assert "2 minutes" in when
    assert (last, following) == ("not yet", "Mon 08:32")
    assert tasks["digest"][3] == "Tue 08:30"
    assert tasks["digest-now"][1:] == ["on demand", "not yet", ""]


def test_the_page_shows_the_latest_runs_and_what_they_did(page, shop, monday):
    shop.cron.run("expire-carts", at=monday)
    shop.cron.run("import-stock", at=monday + timedelta(minutes=10))
    html = page.get("/").text
    failed, expired = rows(html, "Latest runs")
    assert failed[:3] == ["Mon 08:40", "import-stock", "failed"]
    assert failed[4].endswith("SupplierError: no answer about Rug; nothing is taken in")
    assert expired[:3] == ["Mon 08:30", "expire-carts", "succeeded"]
    assert expired[4] == "0 carts expired, 0 pieces back in stock"
    assert "succeeded at Mon 08:30" in html


def test_a_slot_that_was_skipped_has_no_duration(page, shop, monday):
    shop.cron.tick(at=monday)
    assert all(float(cells[3]) >= 0 for cells in rows(page.get("/").text, "Latest runs"))


def test_what_the_page_shows_is_escaped(page, shop, monday, monkeypatch):
    monkeypatch.setattr("pyramid_cron.demo.tasks.PATIENCE", "<b>&")
    shop.cron.run("expire-carts", at=monday)
    html = page.get("/").text
    assert "<b>" not in html
    [run] = rows(html, "Latest runs")
    assert "TypeError" in run[4]


def test_the_page_loads_itself_again_unless_it_is_to_keep_still(page):
    assert '<meta http-equiv="refresh"' in page.get("/").text
    still = page.get("/?still")
    assert '<meta http-equiv="refresh"' not in still.text
    assert still.click("every 3 seconds").request.path_qs == "/"


def test_the_button_mails_a_digest_and_comes_back(page, shop):
    back = page.get("/").forms[0].submit()
    assert back.status_code == 303
    html = back.follow().text
    assert len(shop.all(Mail)) == 1
    assert "Mails sent: 1." in html
    assert rows(html, "Latest runs")[0][1] == "digest-now"


def test_a_form_from_elsewhere_mails_nothing(page, shop):
    page.post("/digest", status=400)
    assert shop.all(Mail) == []


def test_the_trigger_needs_no_form(page):
    assert page.post("/cron", extra_environ={"REMOTE_ADDR": "127.0.0.1"}).text == "ok"
