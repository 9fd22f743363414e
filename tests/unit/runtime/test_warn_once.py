"""Problems that last are logged once, until they change or the service works again."""

import logging

import pytest

from pyramid_cron import logs
from pyramid_cron.errors import StoreError
from pyramid_cron.logs import StoreWarnings, WarnOnce


def test_a_problem_is_new_once_until_it_is_solved():
    warnings = WarnOnce()
    assert [warnings.add("no route"), warnings.add("no route")] == [True, False]
    assert warnings.add("no answer")
    assert warnings.clear() is not None
    assert warnings.add("no route")


def test_what_works_without_a_problem_before_says_nothing():
    assert WarnOnce().clear() is None


def test_problems_of_a_scope_are_solved_by_that_scope_only():
    warnings = WarnOnce()
    assert warnings.add("not found", "daily")
    assert warnings.add("not found", "hourly")
    assert warnings.clear("daily") is not None
    assert [warnings.add("not found", "daily"), warnings.add("not found", "hourly")] == [
        True,
        False,
    ]


def test_any_scope_solves_problems_of_the_whole_service():
    warnings = WarnOnce()
    warnings.add("no route")
    assert warnings.clear("daily") is not None
    assert warnings.add("no route")


@pytest.fixture
def clock(monkeypatch):
    """The seconds that have passed, which a test may change."""
    seconds = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: seconds[0])
    return seconds


def fail_in_background(warnings, problem="no store", **arguments):
    with warnings.reporting(**arguments):
        raise StoreError(problem)


def test_a_store_error_of_background_writes_is_logged_after_a_minute_without_ticks(clock, caplog):
    warnings = StoreWarnings(lambda: False, lambda: False)
    fail_in_background(warnings)
    clock[0] += 61
    assert not caplog.records
    fail_in_background(warnings)
    fail_in_background(warnings)
    assert caplog.messages == ["results not written yet, will retry: no store"]
    fail_in_background(warnings, "no schema")
    assert len(caplog.records) == 2


def test_a_store_error_that_a_tick_reports_is_not_logged(clock, caplog):
    warnings = StoreWarnings(lambda: False, lambda: False)
    warnings.add_reported(StoreError("no store"))
    clock[0] += 61
    fail_in_background(warnings)
    assert not caplog.records


def test_a_store_error_is_logged_again_once_the_store_has_worked(caplog):
    warnings = StoreWarnings(lambda: False, lambda: True)
    fail_in_background(warnings)
    with warnings.reporting():
        pass
    fail_in_background(warnings)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_a_store_error_is_logged_at_once_where_there_is_no_other_chance(caplog):
    fail_in_background(StoreWarnings(lambda: True, lambda: False), is_last=True)
    assert len(caplog.records) == 1
