"""What the store knows at the moment of a tick, as values."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from pyramid_cron.planning.snapshot import Snapshot, WaitingRun, as_run, as_waiting_run
from pyramid_cron.run import BACKFILL_ORIGINS, RunState, Trigger, WaitReason

from .builders import BY_HAND, active, at, show, snapshot, waiting


def test_a_slot_is_overdue_since_its_moment() -> None:
    assert waiting("a", "12:00").due_since == at("12:00")


def test_a_retry_is_overdue_since_the_moment_of_its_slot() -> None:
    assert waiting("a", "12:00", since="12:05", attempt=2).due_since == at("12:00")


def test_a_slot_that_superseded_another_is_overdue_since_that_one() -> None:
    assert waiting("a", "12:05", since="12:01").due_since == at("12:01")


def test_a_payload_makes_no_other_run() -> None:
    assert waiting(payload="x") == waiting(payload="y")
    assert len({waiting(payload="x"), waiting(payload="y")}) == 1


def test_another_attempt_or_origin_is_another_run() -> None:
    assert waiting(attempt=2) != waiting()
    assert waiting(origin="adhoc:1") != waiting()


def test_its_id_and_its_key_make_no_other_run() -> None:
    assert replace(waiting(), id=None, key="order 7") == waiting()


@pytest.mark.parametrize("origin", BACKFILL_ORIGINS)
def test_a_run_of_a_backfill_says_so(origin: str) -> None:
    assert waiting(origin=origin).is_backfill
    assert not waiting().is_backfill
    assert not waiting(origin=BY_HAND).is_backfill


class TestOnRecord:
    WAITS = replace(
        waiting("a", "12:00", Trigger.RETRY, since="12:05", attempt=2, origin=BY_HAND, payload="x"),
        why=WaitReason.RETRY,
        key="order 7",
    )

    def test_it_is_a_run_of_no_process_that_waits(self) -> None:
        run = as_run(self.WAITS)
        assert (run.state, run.host, run.pid) == (RunState.WAITING, "", 0)
        assert (run.claimed, run.started, run.finished) == (None, None, None)

    def test_it_says_when_it_may_begin_and_why_it_waits(self) -> None:
        run = as_run(self.WAITS)
        assert (run.not_before, run.why) == (at("12:05"), WaitReason.RETRY)

    def test_nothing_of_it_is_lost_there_and_back(self) -> None:
        back = as_waiting_run(as_run(self.WAITS))
        names = WaitingRun.__slots__
        assert {name: getattr(back, name) for name in names} == {
            name: getattr(self.WAITS, name) for name in names
        }

    def test_a_run_that_does_not_wait_any_more_could_begin_at_its_slot(self) -> None:
        claimed = active("a", "12:00", RunState.CLAIMED).run
        back = as_waiting_run(claimed)
        assert (back.not_before, back.why) == (at("12:00"), WaitReason.LATER)
        assert back.id == claimed.id


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
