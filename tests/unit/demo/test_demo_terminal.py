import logging
from zoneinfo import ZoneInfo

import pytest

from pyramid_cron.demo.terminal import RunLines


@pytest.fixture
def shown(caplog):
    """The lines shown while the test runs."""
    lines = []
    handler = RunLines(ZoneInfo("Europe/Berlin"), lines.append)
    caplog.set_level(logging.INFO)
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)


def test_a_run_is_one_line_with_what_its_task_logged(shop, monday, shown):
    shop.cron.run("expire-carts", at=monday)
    [line] = shown
    time, task, state, duration, unit, *did = line.split()
    assert (time, task, state, unit) == ("09:30", "expire-carts", "succeeded", "s")
    assert float(duration) >= 0
    assert " ".join(did) == "0 carts expired, 0 pieces back in stock"


def test_a_failed_run_is_one_line_with_its_error(shop, monday, shown):
    shop.cron.run("import-stock", at=monday.replace(minute=10))
    [line] = shown
    assert " failed " in line
    assert line.endswith("  SupplierError: no answer about Rug; nothing is taken in")


def test_what_an_earlier_run_said_is_not_told_of_the_next(shop, monday, shown):
    shop.cron.run("import-stock", at=monday.replace(minute=10))
    shop.cron.run("import-stock", at=monday)
    assert shown[1].endswith("  0 pieces delivered")


def test_a_skipped_slot_is_shown_with_the_reason(shown):
    extra = {
        "task": "digest",
        "run": "1",
        "slot": "2026-11-23T07:30:00Z",
        "state": "skipped",
        "duration": None,
        "reason": "superseded",
    }
    logging.getLogger("pyramid_cron").info("skipped", extra=extra)
    assert shown[0].split() == ["08:30", "digest", "skipped", "superseded"]


def test_a_warning_of_anybody_is_shown_and_lesser_chatter_is_not(shown):
    logging.getLogger("pyramid_cron").warning("tick refused: %s", "why")
    logging.getLogger("waitress").info("Serving")
    logging.getLogger("pyramid_cron").info("a line about no run")
    assert shown == ["warning: tick refused: why"]


def test_an_unexpected_error_is_shown_with_its_traceback(shown):
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("elsewhere").exception("oops")
    assert shown[0].startswith("error: oops\nTraceback")
    assert shown[0].endswith("ValueError: broken")


def test_a_terminal_that_is_gone_does_not_harm_the_task(shop, monday):
    def gone(line):
        raise BrokenPipeError

    handler = RunLines(ZoneInfo("UTC"), gone)
    logging.getLogger().addHandler(handler)
    run = shop.cron.run("customers", at=monday)
    logging.getLogger().removeHandler(handler)
    assert run.state == "succeeded"
