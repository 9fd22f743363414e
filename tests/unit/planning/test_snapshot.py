"""What the store knows at the moment of a tick, as values."""

from __future__ import annotations

from datetime import datetime

from pyramid_cron.planning.snapshot import Snapshot

from .builders import active, at, show, snapshot, waiting


def test_a_slot_is_overdue_since_its_moment() -> None:
    assert waiting("a", "12:00").due_since == at("12:00")


def test_a_retry_is_overdue_since_the_moment_of_its_slot() -> None:
    assert waiting("a", "12:00", since="12:05", attempt=2).due_since == at("12:00")


def test_a_slot_that_superseded_another_is_overdue_since_that_one() -> None:
    assert waiting("a", "12:05", since="12:01").due_since == at("12:01")


def test_a_payload_makes_no_other_run() -> None:
    assert waiting(payload="x") == waiting(payload="y")
    assert len({waiting(payload="x"), waiting(payload="y")}) == 1


def test_another_attempt_or_nonce_is_another_run() -> None:
    assert waiting(attempt=2) != waiting()
    assert waiting(nonce=1) != waiting()


def test_the_load_is_the_weight_of_all_runs_of_all_tasks() -> None:
    running = [active("a", weight=2), active("a", "11:59", weight=1), active("b", weight=4)]
    assert snapshot(running=running).background_weight == 7


def test_runs_in_requests_are_no_load() -> None:
    assert snapshot(running=[active("a"), active("b")]).background_weight == 0


def test_a_store_that_knows_nothing_has_no_load() -> None:
    assert Snapshot().background_weight == 0


def test_an_active_run_says_where_and_until_when() -> None:
    ongoing = active(lease="12:10")
    line = f"run {ongoing.run.id} on web1 (pid 4711), lease until "
    assert str(ongoing) == f"{line}2026-06-15T12:10:00+00:00"
    assert ongoing.describe(show) == f"{line}12:10"
    assert ongoing.describe(datetime.isoformat) == str(ongoing)
