"""The pages in a real browser: accessible in light and dark, on a phone, and live."""

import os
from dataclasses import replace
from importlib.resources import files

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from sqlalchemy import make_url

from pyramid_cron.run import Progress, RunState
from pyramid_cron.store.store import Store
from tests.browser.chromium import browser, lacking, set_viewport
from tests.browser.shop import NOW, served
from tests.records import claim, ended, slot, write

pytestmark = pytest.mark.xdist_group("browser")

PAGES = (
    "/cron/overview",
    "/cron/tasks",
    "/cron/tasks/charge-orders",
    "/cron/tasks/charge-orders?confirm=run",
    "/cron/tasks/charge-orders?confirm=pause",
    "/cron/runs",
    "/cron/timeline",
    "/cron/upcoming",
    "/cron/actions",
    "/cron/actions?action=pause&task=delete-old-orders",
    "/cron/runs/none",
    "a run",
    "/cron/schedules",
    "/cron/schedules?confirm=add",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def site(folder):
    with served(folder, 20) as url:
        yield url


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if problem := lacking():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(problem)
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        driver.set_script_timeout(20)
        yield driver


def visit(driver, site, page):
    if page == "a run":
        driver.get(f"{site}/cron/runs?task=charge-orders")
        driver.find_element(By.CSS_SELECTOR, "tbody th a").click()
    else:
        driver.get(site + page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_no_violation(driver, site, page, scheme):
    set_viewport(driver, scheme)
    visit(driver, site, page)
    driver.execute_script((files("axe_core_python") / "axe.min.js").read_text())
    report = driver.execute_async_script(
        "axe.run().then(arguments[0], error => arguments[0]({violations: [String(error)]}))"
    )
    assert report["violations"] == []
    assert report["passes"]


@pytest.mark.parametrize("page", PAGES)
def test_a_phone_does_not_scroll_sideways(driver, site, page):
    set_viewport(driver, "light", 360, 700)
    visit(driver, site, page)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 360


def test_the_script_and_the_style_are_allowed(driver, site):
    set_viewport(driver, "light")
    driver.get_log("browser")
    visit(driver, site, "/cron/tasks")
    assert driver.get_log("browser") == []


def test_a_task_is_run_by_its_form(driver, site):
    set_viewport(driver, "light")
    visit(driver, site, "/cron/tasks/report-sales")
    driver.find_element(By.LINK_TEXT, "Run now…").click()
    driver.find_element(By.CSS_SELECTOR, "main form button").click()
    state = (By.CSS_SELECTOR, "[role=status]")
    wait = WebDriverWait(driver, 10, 0.1, ignored_exceptions=[StaleElementReferenceException])
    wait.until(lambda _: "succeeded" in driver.find_element(*state).text)


def test_the_first_tab_skips_to_the_content(driver, site):
    set_viewport(driver, "light")
    visit(driver, site, "/cron/tasks")
    driver.switch_to.active_element.send_keys("\ue004")
    assert driver.switch_to.active_element.text == "Skip to the content"


def test_actions_are_filtered_with_the_keyboard(driver, site):
    set_viewport(driver, "light")
    visit(driver, site, "/cron/actions")
    for _ in range(30):
        driver.switch_to.active_element.send_keys("\ue004")
        if driver.switch_to.active_element.get_attribute("name") == "task":
            break
    driver.switch_to.active_element.send_keys("delete-old-orders\ue007")
    wait = WebDriverWait(driver, 10, ignored_exceptions=[StaleElementReferenceException])
    wait.until(lambda driver: "task=delete-old-orders" in driver.current_url)
    tasks = driver.find_elements(By.CSS_SELECTOR, "td[data-label=On]")
    assert {task.text for task in tasks} == {"delete-old-orders"}


def test_the_progress_of_a_running_run_is_shown(driver, site, folder):
    set_viewport(driver, "light")
    store = Store(make_url(f"sqlite:///{folder}/cron.sqlite"), "cron_")
    [run] = claim(store, slot("refund-order", NOW, origin="adhoc:7"), now=NOW)
    driver.get(f"{site}/cron/runs/{run.id}")
    driver.execute_script("window.loaded = 'once'")
    # A part that is exchanged for a newer one takes its elements with it.
    wait = WebDriverWait(driver, 10, 0.1, ignored_exceptions=[StaleElementReferenceException])

    def shows(text):
        wait.until(lambda _: text in driver.find_element(By.TAG_NAME, "main").text)

    running = replace(run, state=RunState.RUNNING, started=NOW, progress=Progress(3, 4, "mail"))
    write(store, running)
    shows("3 of 4 mail")
    assert "running" in driver.find_element(By.CSS_SELECTOR, "[role=status]").text
    assert "14:00:00" in driver.find_element(By.XPATH, "//dt[.='Started']/..").text
    lines = [f"line {number}\n" for number in range(200)]
    for text in ("".join(lines[:100]), "".join(lines)):
        store.write_live_outputs([live_output(run, text)])
        shows(text.split("\n")[-2])
        scrolled = "const pre = document.querySelector('[data-part=log] pre');"
        scrolled += "return pre.scrollHeight - pre.clientHeight - pre.scrollTop"
        assert driver.execute_script(scrolled) < 8 or text == "".join(lines[:100])
    driver.find_element(By.LINK_TEXT, "Cancel…").send_keys("")  # has the focus
    write(store, ended(run, log="all of it\n"))
    shows("all of it")
    assert "succeeded" in driver.find_element(By.CSS_SELECTOR, "[role=status]").text
    assert driver.find_elements(By.LINK_TEXT, "Cancel…") == []
    assert driver.execute_script("return window.loaded") == "once"
    store.database.dispose()


def live_output(run, text):
    return {"run_id": run.id, "log": text, "stdout": None, "stderr": None}


BROKEN_WORDS = """
const broken = [];
const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (node.parentElement.closest("pre, code, .error, .notice")) continue;
  for (const word of node.data.matchAll(/[^\\s-]{2,40}/g)) {
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
    if (lines.size > 1) broken.push(word[0]);
  }
}
return broken;
"""


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_no_word_is_broken_and_no_page_is_wider_than_the_window(driver, site, width):
    set_viewport(driver, "light", width, 900)
    for page in ("/cron/overview", *PAGES[1:3], "/cron/runs", "/cron/timeline", "a run"):
        visit(driver, site, page)
        assert driver.execute_script(BROKEN_WORDS) == [], page
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width, page


def test_tasks_are_found_and_opened_by_keys_alone(driver, site):
    set_viewport(driver, "light")
    visit(driver, site, "/cron/tasks")
    keys = driver.switch_to.active_element
    for _ in range(20):
        keys.send_keys("\ue004")  # tab
        keys = driver.switch_to.active_element
        if keys.get_attribute("id") == "q":
            break
    keys.send_keys("charge\ue007")  # enter
    WebDriverWait(driver, 10).until(lambda _: "q=charge" in driver.current_url)
    [task] = driver.find_elements(By.CSS_SELECTOR, "tbody th a")
    task.send_keys("\ue007")
    WebDriverWait(driver, 10).until(lambda _: "/tasks/charge-orders" in driver.current_url)


def test_without_javascript_a_run_that_goes_on_has_its_log_and_a_way_to_see_more(
    driver, site, folder
):
    store = Store(make_url(f"sqlite:///{folder}/cron.sqlite"), "cron_")
    [run] = claim(store, slot("refund-order", NOW, origin="adhoc:8"), now=NOW)
    write(store, replace(run, state=RunState.RUNNING, started=NOW))
    store.write_live_outputs([live_output(run, "so far\n")])
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(f"{site}/cron/runs/{run.id}")
        main = driver.find_element(By.TAG_NAME, "main").text
        assert "so far" in main
        driver.find_element(By.LINK_TEXT, "Reload").click()
        assert "so far" in driver.find_element(By.TAG_NAME, "main").text
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        write(store, ended(run))
        store.database.dispose()


def test_a_schedule_is_added_by_keyboard_and_explained_as_one_types(driver, site):
    set_viewport(driver, "light")
    visit(driver, site, "/cron/schedules?confirm=add")
    driver.find_element(By.ID, "name").send_keys("by keyboard", "\ue004", "\ue004", "30 7 * * mon")
    wait = WebDriverWait(driver, 10, ignored_exceptions=[StaleElementReferenceException])
    meaning = "[data-meaning=description]"
    wait.until(lambda _: "at 07:30 on Monday" in driver.find_element(By.CSS_SELECTOR, meaning).text)
    assert len(driver.find_elements(By.CSS_SELECTOR, "[data-meaning=next] li")) == 5
    driver.find_element(By.ID, "name").send_keys("\ue007")
    wait.until(lambda _: driver.find_element(By.TAG_NAME, "h1").text == "by keyboard")
