"""Missed slots, overlapping runs, retries, timeouts, pauses, cancelling, lost runs."""

import asyncio
import logging
import re
import sqlite3
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from pyramid_cron import GiveUp, Retry, RetryLater, TaskCancelled, TaskTimeout, events, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.clock import Stopwatch
from pyramid_cron.store import waiting
from tests.apps import NOON, configure, cron_of
from tests.records import claim, ended, slot, write

MINUTE = timedelta(minutes=1)
TEN = timedelta(minutes=10)
HOUR = timedelta(hours=1)


@pytest.fixture
def config(tmp_path):
    return configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.lease": "2"})


def slots(report):
    return [run.slot for run in report.runs]


def skipped(report):
    return [(run.slot, str(run.reason), run.count) for run in report.skipped]


def fail(system):
    raise ValueError("broken")


class TestCatchUp:
    def three_hours_later(self, config, **policy):
        config.add_cron_task(lambda system: None, name="a", min=[0, 30], **policy)
        cron = cron_of(config)
        cron.tick(NOON)
        return cron.tick(NOON + 3 * HOUR + 10 * MINUTE)

    def test_what_is_older_than_the_grace_is_missed(self, config):
        report = self.three_hours_later(config)
        assert slots(report) == [NOON + 3 * HOUR]
        assert skipped(report) == [
            (NOON + 2 * HOUR, "missed", 4),
            (NOON + 2.5 * HOUR, "superseded", 1),
        ]

    def test_none_runs_nothing_late(self, config):
        report = self.three_hours_later(config, catch_up="none")
        assert slots(report) == []
        assert skipped(report) == [(NOON + 3 * HOUR, "missed", 6)]

    def test_all_goes_on_at_later_ticks_when_the_budget_is_spent(self, tmp_path):
        def app(budget):
            config = configure(
                **{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.budget": budget}
            )
            config.add_cron_task(lambda system: None, name="a", min="*", catch_up="all")
            return cron_of(config)

        cron = app("0.000001")
        cron.tick(NOON)
        assert slots(cron.tick(NOON + 3 * MINUTE)) == [NOON + MINUTE]
        roomy = app("60")
        report = roomy.tick(NOON + 4 * MINUTE)
        assert slots(report) == [NOON + n * MINUTE for n in range(2, 5)]

    def test_a_task_is_never_run_for_slots_from_before_it_was_known(self, config, tmp_path):
        config.add_cron_task(lambda system: None, name="old", min="*")
        cron_of(config).tick(NOON)
        new = configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"})
        new.add_cron_task(lambda system: None, name="old", min="*")
        new.add_cron_task(lambda system: None, name="new", min="*", catch_up="all")
        report = cron_of(new).tick(NOON + 10 * MINUTE)
        assert [run.slot for run in report.runs if run.task == "new"] == [NOON + 10 * MINUTE]

    def test_a_tick_with_nothing_due_counts_at_once(self, config):
        config.add_cron_task(lambda system: None, hour=12)
        cron = cron_of(config)
        cron.tick(NOON - MINUTE)
        assert slots(cron.tick(NOON + 29 * MINUTE)) == [NOON]

    def test_a_clock_that_jumps_ahead_and_back_strands_nothing(self, config):
        config.add_cron_task(lambda system: None, min="*")
        cron = cron_of(config)
        cron.tick(NOON)
        cron.tick(NOON + timedelta(days=365))
        assert slots(cron.tick(NOON + MINUTE)) == [NOON + MINUTE]
        assert slots(cron.tick(NOON + 2 * MINUTE)) == [NOON + 2 * MINUTE]


@contextmanager
def running(config, cron, at, **policy):
    """A tick at a moment in another thread, whose task goes on until the block is left."""
    started, release = threading.Event(), threading.Event()
    seen = []

    def task(system):
        seen.append(system["run"])
        started.set()
        if len(seen) == 1:
            while not release.is_set():
                time.sleep(0.01)

    config.add_cron_task(task, name="long", min="*", **policy)
    config.commit()
    reports = []
    thread = threading.Thread(target=lambda: reports.append(cron.tick(at)))
    thread.start()
    assert started.wait(10)
    try:
        yield seen, release, thread, reports
    finally:
        release.set()
        thread.join(20)
        assert not thread.is_alive()


class TestOverlap:
    def test_skip_records_who_still_runs_and_goes_on(self, config, caplog):
        cron = cron_of(config)
        with running(config, cron, NOON) as (seen, *_):
            report = cron.tick(NOON + MINUTE)
        assert slots(report) == []
        assert skipped(report) == [(NOON + MINUTE, "overlap", 1)]
        detail = report.skipped[0].error
        assert f"run {seen[0].id} on {seen[0].host} (pid {seen[0].pid}), lease until 20" in detail
        assert slots(cron.tick(NOON + 2 * MINUTE)) == [NOON + 2 * MINUTE]

    def test_allow_runs_side_by_side(self, config):
        cron = cron_of(config)
        with running(config, cron, NOON, overlap="allow"):
            report = cron.tick(NOON + MINUTE)
        assert slots(report) == [NOON + MINUTE]

    def test_delay_runs_once_after_the_current_one(self, config):
        cron = cron_of(config)
        with running(config, cron, NOON, overlap="delay"):
            assert slots(cron.tick(NOON + MINUTE)) == []
            report = cron.tick(NOON + 2 * MINUTE)
            assert slots(report) == []
            assert skipped(report) == [(NOON + MINUTE, "superseded", 1)]
        report = cron.tick(NOON + 2 * MINUTE + timedelta(seconds=30))
        assert slots(report) == [NOON + 2 * MINUTE]
        assert slots(cron.tick(NOON + 2 * MINUTE + timedelta(seconds=40))) == []

    def test_restart_cancels_the_current_one_first(self, config):
        cron = cron_of(config)
        with running(config, cron, NOON, overlap="restart") as (seen, _, thread, reports):
            report = cron.tick(NOON + MINUTE)
            thread.join(10)
            assert [run.state for run in reports[0].runs] == ["cancelled"]
        assert slots(report) == [NOON + MINUTE]
        assert len(seen) == 2

    def test_ticks_at_once_restart_it_once_and_wait_for_no_run_of_the_same_slot(self, config):
        release, reports = threading.Event(), []

        def task(system):
            while system["run"].slot == NOON or not release.is_set():
                time.sleep(0.01)

        config.add_cron_task(task, name="long", min="*", overlap="restart")
        cron = cron_of(config)
        first = threading.Thread(target=cron.tick, args=[NOON])
        first.start()
        wait_until(lambda: scheduler(config.registry).history(state="running"))
        ticks = [
            threading.Thread(target=lambda: reports.append(cron.tick(NOON + MINUTE)))
            for _ in range(3)
        ]
        for thread in ticks:
            thread.start()
        try:
            wait_until(lambda: len(reports) == 2)
            assert [(slots(report), report.waiting) for report in reports] == [([], ()), ([], ())]
        finally:
            release.set()
            for thread in (first, *ticks):
                thread.join(20)
        assert slots(reports[2]) == [NOON + MINUTE]

    @pytest.mark.parametrize(
        ("budget", "ran", "waits", "first"),
        [("60", ["long"], [], "cancelled"), ("0.000001", [], ["long"], "succeeded")],
    )
    def test_an_idle_one_restarts_if_there_is_time(self, tmp_path, budget, ran, waits, first):
        config = configure(
            **{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.budget": budget}
        )
        started, release = threading.Event(), threading.Event()

        def task(system):
            if system["run"].trigger == "manual":
                started.set()
                while not release.is_set():
                    time.sleep(0.01)

        config.add_cron_task(task, name="long", min="*", overlap="restart", idle=True)
        cron = cron_of(config)
        runs = []
        thread = threading.Thread(target=lambda: runs.append(cron.run("long", at=NOON)))
        thread.start()
        assert started.wait(10)
        report = cron.tick(NOON + MINUTE)
        release.set()
        thread.join(20)
        assert [run.task for run in report.runs] == ran
        assert [waiting_run.task for waiting_run in report.waiting] == waits
        assert str(runs[0].state) == first

    def test_a_run_by_hand_does_not_overlap_either(self, config):
        cron = cron_of(config)
        with running(config, cron, NOON):
            run = cron.run("long", at=NOON + MINUTE)
        assert (run.state, run.reason, run.trigger) == ("skipped", "overlap", "manual")

    def test_every_with_delay_counts_from_the_end_of_the_run_before(self, config):
        config.add_cron_task(lambda system: None, name="paced", every="5m", overlap="delay")
        cron = cron_of(config)
        ran = [run.slot for n in range(12) for run in cron.tick(NOON + n * MINUTE).runs]
        assert ran == [NOON, NOON + 5 * MINUTE, NOON + 10 * MINUTE]
        late = cron.tick(NOON + 18 * MINUTE)
        assert slots(late) == [NOON + 15 * MINUTE]
        ran = [run.slot for n in range(19, 30) for run in cron.tick(NOON + n * MINUTE).runs]
        assert ran == [NOON + 23 * MINUTE, NOON + 28 * MINUTE]

    def test_what_follows_a_run_and_is_put_off_is_not_missed(self, config):
        config.add_cron_task(
            lambda system: None, name="a", every="5m", overlap="delay", catch_up="none"
        )
        cron = cron_of(config)
        cron.tick(NOON)
        store = get_cron(config.registry).store
        by_hand = slot(moment=NOON + 4 * MINUTE, origin="adhoc:7")
        [run] = claim(store, by_hand, now=by_hand.slot, lease=TEN)
        assert slots(cron.tick(NOON + 5 * MINUTE)) == []
        assert slots(cron.tick(NOON + 8 * MINUTE)) == []
        write(store, ended(run))
        assert slots(cron.tick(NOON + 9 * MINUTE)) == [NOON + 5 * MINUTE]

    def test_an_ended_run_is_over_for_everybody(self, config, tmp_path):
        config.add_cron_task(lambda system: None, name="a", min="*")
        cron = cron_of(config)
        for n in range(3):
            assert slots(cron.tick(NOON + n * MINUTE)) == [NOON + n * MINUTE]


class TestRetry:
    def test_a_slot_is_tried_again_after_the_delay(self, config):
        attempts = []

        def task(system):
            attempts.append(system["run"].attempt)
            if len(attempts) < 3:
                raise ValueError("not yet")

        config.add_cron_task(task, name="a", hour=12, retry=Retry(attempts=5, delay=90, factor=2))
        cron = cron_of(config)
        reports = [cron.tick(NOON + n * MINUTE) for n in range(10)]
        runs = [(n, run) for n, report in enumerate(reports) for run in report.runs]
        assert [
            (n, run.attempt, str(run.trigger), run.slot, str(run.state)) for n, run in runs
        ] == [
            (0, 1, "schedule", NOON, "failed"),
            (2, 2, "retry", NOON, "failed"),
            (5, 3, "retry", NOON, "succeeded"),
        ]

    def test_a_task_says_when_to_try_again_and_when_not(self, config):
        errors = iter([RetryLater("10m", "closed"), RetryLater(60), GiveUp("no such order")])

        def task(system):
            raise next(errors)

        config.add_cron_task(task, name="a", hour=12, retry=Retry(attempts=9, max_delay=30))
        cron = cron_of(config)
        runs = [(n, run) for n in range(30) for run in cron.tick(NOON + n * MINUTE).runs]
        assert [(n, run.attempt) for n, run in runs] == [(0, 1), (10, 2), (11, 3)]
        assert runs[-1][1].error == "pyramid_cron.errors.GiveUp: no such order"

    def test_a_wait_that_a_task_asks_for_counts_as_an_attempt(self, config):
        def task(system):
            raise RetryLater(0)

        config.add_cron_task(task, name="a", hour=12, retry=2)
        cron = cron_of(config)
        runs = [run for n in range(5) for run in cron.tick(NOON + n * MINUTE).runs]
        assert [run.attempt for run in runs] == [1, 2]

    def test_only_some_errors_are_tried_again(self, config):
        errors = iter([ConnectionResetError(), ValueError()])

        def task(system):
            raise next(errors)

        retry = Retry(attempts=9, delay=0, on=ConnectionError)
        config.add_cron_task(task, name="a", hour=12, retry=retry)
        cron = cron_of(config)
        runs = [run for n in range(5) for run in cron.tick(NOON + n * MINUTE).runs]
        assert [run.attempt for run in runs] == [1, 2]

    def test_one_that_is_asked_for_is_made_by_a_tick_at_the_same_moment(self, config):
        config.add_cron_task(fail, name="a", hour=12)
        cron = cron_of(config)
        [run] = cron.tick(NOON).runs
        scheduler(config.registry).retry(run.id)
        assert [run.attempt for run in cron.tick(NOON).runs] == [2]

    def test_one_that_waits_is_made_at_once_when_it_is_asked_for_by_hand(self, config):
        config.add_cron_task(fail, name="a", hour=12, retry=Retry(attempts=2, delay="1h"))
        cron = cron_of(config)
        [run] = cron.tick(NOON).runs
        scheduler(config.registry).retry(run.id)
        assert [(run.slot, run.attempt) for run in cron.tick(NOON + MINUTE).runs] == [(NOON, 2)]
        assert slots(cron.tick(NOON + 2 * HOUR)) == []

    def test_an_integer_is_the_number_of_attempts(self, config):
        config.add_cron_task(fail, name="a", hour=12, retry=2)
        cron = cron_of(config)
        runs = [run for n in range(10) for run in cron.tick(NOON + n * MINUTE).runs]
        assert [run.attempt for run in runs] == [1, 2]

    def test_a_run_by_hand_is_tried_again_too_with_its_payload(self, config):
        payloads = []

        def task(system):
            payloads.append(system["payload"])
            fail(system)

        config.add_cron_task(task, name="a", on_demand=True, retry=Retry(attempts=2, delay=0))
        cron = cron_of(config)
        cron.run("a", payload={"x": 1}, at=NOON)
        cron.tick(NOON + MINUTE)
        cron.tick(NOON + 2 * MINUTE)
        assert payloads == [{"x": 1}, {"x": 1}]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"attempts": 0}, "attempts=0"),
            ({"attempts": True}, "attempts=True"),
            ({"delay": "soon"}, "delay='soon'"),
            ({"delay": -1}, "delay=-1"),
            ({"factor": 0.5}, "factor=0.5"),
            ({"factor": "2"}, "factor='2'"),
            ({"factor": float("nan")}, "factor=nan"),
            ({"max_delay": None}, "max_delay=None"),
            (
                {"delay": "3h"},
                "delay='3h': must not be more than max_delay=3600; give a longer max_delay",
            ),
            ({"max_delay": 10}, "delay=30: must not be more than max_delay=10"),
        ],
    )
    def test_a_wrong_retry_names_what_is_wrong(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Retry(**arguments)

    def test_a_first_wait_of_more_than_an_hour_takes_a_limit_that_is_as_long(self):
        retry = Retry(attempts=3, delay="3h", max_delay="3h")
        assert [retry.delay_after(attempt).total_seconds() for attempt in (1, 2)] == [10800, 10800]

    def test_waits_grow_up_to_a_limit(self):
        retry = Retry(attempts=5000, delay="30s", factor=2, max_delay="1h")
        waits = [retry.delay_after(attempt).total_seconds() for attempt in (1, 2, 3, 8, 4000)]
        assert waits == [30, 60, 120, 3600, 3600]


def spin(system):
    while True:
        time.sleep(0.001)


class TestTimeout:
    def test_a_task_that_runs_longer_than_its_timeout_is_interrupted(self, config):
        cleaned = []

        def task(system):
            try:
                spin(system)
            except TaskTimeout:
                cleaned.append(True)
                raise

        config.add_cron_task(task, name="a", min="*", timeout=0.3)
        config.add_cron_task(lambda system: None, name="b", min="*")
        a, b = cron_of(config).tick(NOON).runs
        assert (a.state, b.state) == ("timed_out", "succeeded")
        assert a.error.endswith("TaskTimeout: ran longer than its timeout")
        assert cleaned == [True]
        assert 0.2 < a.duration < 5

    def test_one_that_swallows_it_has_timed_out_all_the_same(self, config):
        def task(system):
            try:
                spin(system)
            except BaseException:
                return

        config.add_cron_task(task, name="a", timeout=0.2)
        [run] = cron_of(config).tick(NOON).runs
        assert run.state == "timed_out"

    def test_a_coroutine_is_stopped_where_it_waits(self, config):
        seen = []

        async def task(system):
            try:
                await asyncio.sleep(60)
            except TaskTimeout:
                await asyncio.sleep(0)
                seen.append("stopped")
                raise

        config.add_cron_task(task, name="a", timeout=0.2)
        [run] = cron_of(config).tick(NOON).runs
        assert run.state == "timed_out"
        assert seen == ["stopped"]

    def test_a_task_within_its_time_is_left_alone(self, config):
        config.add_cron_task(lambda system: time.sleep(0.01), name="a", timeout="10m")
        [run] = cron_of(config).tick(NOON).runs
        assert run.state == "succeeded"

    def test_a_task_that_cannot_be_interrupted_is_abandoned(self, config, monkeypatch, caplog):
        monkeypatch.setattr("pyramid_cron.runtime.supervisor.CANCEL_GRACE", timedelta(seconds=0.3))
        stuck, release = threading.Event(), threading.Event()

        def task(system):
            logging.getLogger("shop").warning("this is the last that is heard of it")
            stuck.set()
            while not release.wait(20):  # one long call of C code
                pass

        config.add_cron_task(task, name="a", min="*", timeout=0.2)
        cron = cron_of(config)
        thread = threading.Thread(target=cron.tick, args=(NOON,))
        thread.start()
        assert stuck.wait(10)
        history = scheduler(config.registry).history
        wait_until(lambda: history("a", state="timed_out"))
        [run] = history("a")
        assert "did not stop" in run.error
        assert "the last that is heard" in history("a", limit=1)[0].output
        config.add_cron_task(lambda system: None, name="b", min="*")
        assert scheduler(config.registry).status("a").running == ()
        # No slot gets a thread that may never end while the first one is there.
        report = cron.tick(NOON + MINUTE)
        assert report.runs == ()
        assert [(run.task, run.reason) for run in report.skipped] == [("a", "overlap")]
        assert cron.run("a").reason == "overlap"
        [health] = scheduler(config.registry).health().tasks
        assert (health.name, health.state) == ("a", "stuck")
        release.set()
        thread.join(10)
        assert history("a")[-1] == run  # what it did afterwards changes nothing
        assert [run.task for run in cron.tick(NOON + 2 * MINUTE).runs] == ["a"]


def wait_until(condition, seconds=15):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.02)


class TestCancel:
    def test_a_run_is_told_to_stop(self, config):
        cron = cron_of(config)
        with running(config, cron, NOON) as (seen, _, thread, reports):
            scheduler(config.registry).cancel(seen[0].id)
            thread.join(10)
        [run] = reports[0].runs
        assert (run.state, run.error.rpartition(".")[2]) == (
            "cancelled",
            "TaskCancelled: was cancelled",
        )
        with pytest.raises(ValueError, match="is over: it has cancelled"):
            scheduler(config.registry).cancel(run.id)

    def test_an_unstarted_run_is_cancelled_before_it_starts(self, config):
        called = []

        def first(system):
            [claimed] = scheduler(config.registry).history("second")
            assert claimed.state == "claimed"
            scheduler(config.registry).cancel(claimed.id)

        config.add_cron_task(first, name="first", min="*")
        config.add_cron_task(lambda system: called.append(1), name="second", min="*")
        _, second = cron_of(config).tick(NOON).runs
        assert (second.state, second.started) == ("cancelled", None)
        assert second.error == "was cancelled before it began"
        assert scheduler(config.registry).history("second") == [second]
        assert called == []

    def test_an_unstarted_run_is_cancelled_while_another_runs(self, config, monkeypatch, caplog):
        monkeypatch.setattr("pyramid_cron.runtime.supervisor.CANCEL_GRACE", timedelta(0))
        control = scheduler(config.registry)
        called = []

        def first(system):
            control.cancel(control.history("second")[0].id)
            wait_until(lambda: not control.status("second").running)

        config.add_cron_task(first, name="first", min="*")
        config.add_cron_task(lambda system: called.append(1), name="second", min="*")
        assert [run.task for run in cron_of(config).tick(NOON).runs] == ["first"]
        [second] = control.history("second")
        assert (str(second.state), second.error) == ("cancelled", "was cancelled before it began")
        assert called == []
        assert "did not stop" not in caplog.text

    @pytest.mark.parametrize("unknown", ["x", "0" * 26, "a\0b", 5, None])
    def test_an_unknown_run_is_a_lookup_error(self, config, unknown):
        config.commit()
        for ask in (scheduler(config.registry).cancel, scheduler(config.registry).retry):
            with pytest.raises(LookupError, match=re.escape(f"there is no run {unknown!r}")):
                ask(unknown)

    def test_a_cancelled_run_may_be_tried_again_by_hand(self, config):
        tries = []

        def task(system):
            tries.append(system["run"].attempt)
            if len(tries) == 1:
                raise TaskCancelled

        config.add_cron_task(task, name="a", hour=12)
        cron = cron_of(config)
        [run] = cron.tick(NOON).runs
        scheduler(config.registry).retry(run.id)
        [retried] = cron.tick(NOON + 2 * MINUTE).runs
        assert (retried.attempt, str(retried.trigger), str(retried.state)) == (
            2,
            "retry",
            "succeeded",
        )
        assert tries == [1, 2]
        with pytest.raises(ValueError, match="can't be tried again: it is succeeded"):
            scheduler(config.registry).retry(retried.id)


class TestPause:
    @pytest.fixture
    def cron(self, config):
        config.add_cron_task(lambda system: None, name="shop.a", min="*")
        config.add_cron_task(lambda system: None, name="shop.b", min="*")
        cron = cron_of(config)
        cron.tick(NOON)
        return cron

    def test_a_paused_task_is_skipped_and_nothing_is_made_up(self, config, cron):
        control = scheduler(config.registry)
        assert control.pause("*.a", reason="broken supplier") == ["shop.a"]
        report = cron.tick(NOON + MINUTE)
        assert [run.task for run in report.runs] == ["shop.b"]
        assert skipped(report) == [(NOON + MINUTE, "paused", 1)]
        assert report.skipped[0].error == "broken supplier"
        assert control.status("shop.a").paused.reason == "broken supplier"
        get_cron(config.registry).clock = lambda: NOON + 90 * MINUTE
        control.resume("shop.*")
        report = cron.tick(NOON + 91 * MINUTE)
        assert [(run.task, run.trigger) for run in report.runs if run.task == "shop.a"] == [
            ("shop.a", "schedule")
        ]
        paused = [run for run in report.skipped if run.reason == "paused"]
        assert [(run.task, run.count) for run in paused] == [("shop.a", 88)]

    def test_wrong_words_are_refused(self, config, cron):
        control = scheduler(config.registry)
        with pytest.raises(ValueError, match="no regular expression"):
            control.pause("re:(")
        with pytest.raises(LookupError, match="no cron task matches 'x'"):
            control.pause("x")
        for until in (NOON, NOON.replace(tzinfo=None)):
            with pytest.raises(ValueError, match=r"until=.*(in the future|an aware datetime)"):
                control.pause(until=until)

    def test_failures_in_a_row_pause_a_task(self, config):
        config.add_cron_task(fail, name="a[1]", min="*", pause_after=3)
        cron = cron_of(config)
        for n in range(5):
            report = cron.tick(NOON + n * MINUTE)
        assert [str(run.reason) for run in report.skipped] == ["paused"]
        history = scheduler(config.registry).history("a[1]", state="failed")
        assert len(history) == 3
        status = scheduler(config.registry).status("a[1]")
        assert status.paused.reason == "3 failures in a row"
        scheduler(config.registry).resume("*")
        assert len(cron.tick(NOON + 6 * MINUTE).runs) == 1
        assert len(cron.tick(NOON + 7 * MINUTE).runs) == 1  # it has failed once since

    def test_they_do_so_within_a_tick_too_and_what_is_left_waits(self, config):
        config.add_cron_task(fail, name="a", min="*", catch_up="all", pause_after=3)
        cron = cron_of(config)
        cron.tick(NOON - MINUTE)
        scheduler(config.registry).resume()
        report = cron.tick(NOON + 30 * MINUTE)
        assert slots(report) == [NOON + n * MINUTE for n in range(3)]
        assert len(report.waiting) == 28
        report = cron.tick(NOON + 31 * MINUTE)
        assert (slots(report), skipped(report)) == ([], [(NOON + 31 * MINUTE, "paused", 1)])
        assert scheduler(config.registry).status("a").waiting == 28

    def test_slots_that_have_attempts_left_have_not_failed_yet(self, config):
        # Between two ticks, so that it does not matter how long one takes to decide.
        retry = Retry(attempts=2, delay=10.5 * MINUTE, factor=1)
        config.add_cron_task(fail, name="a", min="*", pause_after=3, retry=retry)
        cron = cron_of(config)
        for n in range(20):
            cron.tick(NOON + n * MINUTE)
        failed = scheduler(config.registry).history("a", state="failed")
        assert [run.slot for run in failed if run.attempt == 2] == [
            NOON + n * MINUTE for n in (2, 1, 0)
        ]
        assert scheduler(config.registry).status("a").paused.reason == "3 failures in a row"

    def test_a_slot_that_gave_up_has_failed_whatever_attempts_it_had(self, config):
        errors = iter([GiveUp("closed"), ValueError("no"), RetryLater("10m"), GiveUp("closed")])

        def task(system):
            raise next(errors)

        retry = Retry(attempts=3, on=ConnectionError)
        config.add_cron_task(task, name="a", min="*", pause_after=3, retry=retry)
        cron = cron_of(config)
        runs = [run for n in range(5) for run in cron.tick(NOON + n * MINUTE).runs]
        assert [run.attempt for run in runs] == [1, 1, 1, 1]
        assert scheduler(config.registry).status("a").paused.reason == "3 failures in a row"

    def test_a_success_in_between_starts_the_count_again(self, config):
        states = iter([fail, fail, lambda system: None, fail, fail, fail, fail])
        config.add_cron_task(lambda system: next(states)(system), name="a", pause_after=3)
        cron = cron_of(config)
        runs = [run for n in range(8) for run in cron.tick(NOON + n * MINUTE).runs]
        assert len(runs) == 6


@contextmanager
def filling_in(config, cron, own, overlap="delay"):
    """Two slots are filled in; the run of the first goes on until the block is left."""
    started, release = threading.Event(), threading.Event()

    def task(system):
        if system["run"].slot == NOON - 2 * MINUTE:
            started.set()
            release.wait(20)

    config.add_cron_task(task, name="long", min="*", overlap=own)
    config.commit()
    cron.tick(NOON)
    control = scheduler(config.registry)
    assert control.backfill("long", NOON - 3 * MINUTE, NOON - MINUTE, overlap=overlap) == 2
    thread = threading.Thread(target=cron.tick, args=[NOON + timedelta(seconds=30)])
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        release.set()
        thread.join(20)
        assert not thread.is_alive()


class TestBackfill:
    def test_slots_that_have_not_run_do_and_in_order(self, config):
        config.add_cron_task(lambda system: None, name="a", min=0)
        cron = cron_of(config)
        cron.tick(NOON)
        control = scheduler(config.registry)
        assert control.backfill("a", NOON - 3 * HOUR, NOON) == 2
        assert control.backfill("a", NOON - 3 * HOUR, NOON) == 0
        report = cron.tick(NOON + 11 * MINUTE)
        assert [(run.slot, str(run.trigger)) for run in report.runs] == [
            (NOON - 2 * HOUR, "backfill"),
            (NOON - HOUR, "backfill"),
        ]

    def test_slots_that_were_skipped_are_filled_in(self, config):
        config.add_cron_task(lambda system: None, name="a", min=0, catch_up="none")
        cron = cron_of(config)
        cron.tick(NOON)
        cron.tick(NOON + 3 * HOUR + MINUTE)
        control = scheduler(config.registry)
        assert control.backfill("a", NOON, NOON + 3 * HOUR) == 3
        report = cron.tick(NOON + 3 * HOUR + 2 * MINUTE)
        assert [run.slot for run in report.runs] == [NOON + n * HOUR for n in (1, 2, 3)]

    @pytest.mark.parametrize("overlap", ["delay", "allow"])
    def test_slots_that_were_skipped_while_they_were_filled_in_can_be_again(self, config, overlap):
        attempts, willing = [], iter([False, False, True, True])

        def task(system):
            attempts.append(system["run"].attempt)
            raise ValueError

        config.add_cron_task(task, name="a", hour=12, when=lambda _: next(willing), retry=2)
        cron = cron_of(config)
        cron.tick(NOON + HOUR)
        control = scheduler(config.registry)
        for n in range(1, 4):
            assert control.backfill("a", NOON - MINUTE, NOON, overlap=overlap) == 1
            cron.tick(NOON + HOUR + n * MINUTE)
        cron.tick(NOON + HOUR + 6 * MINUTE)
        assert attempts == [1, 2]
        assert control.status("a").waiting == 0
        states = [str(run.state) for run in control.history("a")]
        assert states == ["failed", "failed", "skipped", "skipped"]

    @pytest.mark.parametrize("overlap", ["delay", "allow"])
    def test_slots_that_no_tick_has_come_for_yet_run_once(self, config, overlap):
        config.add_cron_task(lambda system: None, name="a", min="*", catch_up="all")
        cron = cron_of(config)
        cron.tick(NOON)
        get_cron(config.registry).clock = lambda: NOON + TEN
        control = scheduler(config.registry)
        assert control.backfill("a", NOON + 2 * MINUTE, NOON + TEN, overlap=overlap) == 8
        for n in (10, 11, 12):
            cron.tick(NOON + n * MINUTE)
        ran = [run.slot for run in control.history("a", state="succeeded")]
        assert sorted(ran) == [NOON + n * MINUTE for n in range(13)]
        assert control.backfill("a", NOON + 2 * MINUTE, NOON + TEN, overlap=overlap) == 0

    def test_a_tick_whose_clock_is_a_little_behind_runs_none_a_second_time(self, config):
        config.add_cron_task(lambda system: None, name="a", min=0)
        cron = cron_of(config)
        cron.tick(NOON - MINUTE)
        get_cron(config.registry).clock = lambda: NOON + timedelta(seconds=3)
        control = scheduler(config.registry)
        assert control.backfill("a", NOON - 2 * HOUR, NOON + timedelta(seconds=3)) == 2
        for seconds in (1, 60):
            cron.tick(NOON + timedelta(seconds=seconds))
        assert [run.slot for run in control.history("a")] == [NOON, NOON - HOUR]

    def test_what_a_tick_claims_meanwhile_is_left_out(self, config, monkeypatch):
        config.add_cron_task(lambda system: None, name="a", min=0)
        cron, control = cron_of(config), scheduler(config.registry)
        cron.tick(NOON - MINUTE)
        add_backfill = waiting.add_backfill

        def after_a_tick(*arguments):
            cron.tick(NOON)
            return add_backfill(*arguments)

        monkeypatch.setattr(sys.modules["pyramid_cron.scheduler"], "add_backfill", after_a_tick)
        get_cron(config.registry).clock = lambda: NOON
        assert control.backfill("a", NOON - 2 * HOUR, NOON) == 1

    def test_slots_that_are_still_to_come_are_refused(self, config):
        config.add_cron_task(lambda system: None, name="a", min=0)
        cron_of(config).tick(NOON)
        with pytest.raises(ValueError, match="is in the future"):
            scheduler(config.registry).backfill("a", NOON, NOON + HOUR)

    def test_naive_moments_are_refused(self, config):
        config.add_cron_task(lambda system: None, name="a", min=0)
        config.commit()
        with pytest.raises(ValueError, match=r"since=.*: use an aware datetime"):
            scheduler(config.registry).backfill("a", NOON.replace(tzinfo=None), NOON)

    def test_another_word_for_overlap_is_refused(self, config):
        config.add_cron_task(lambda system: None, name="a", min=0)
        config.commit()
        with pytest.raises(ValueError, match="overlap='skip': must be one of 'delay', 'allow'"):
            scheduler(config.registry).backfill("a", NOON, NOON, overlap="skip")

    def test_a_scheduled_slot_waits_while_others_are_filled_in(self, config):
        cron = cron_of(config)
        with filling_in(config, cron, "skip"):
            report = cron.tick(NOON + MINUTE)
            assert (slots(report), skipped(report)) == ([], [])
        report = cron.tick(NOON + MINUTE + timedelta(seconds=30))
        assert (slots(report), skipped(report)) == ([NOON + MINUTE], [])

    def test_side_by_side_neither_waits_for_the_other(self, config):
        cron = cron_of(config)
        with filling_in(config, cron, "skip", "allow"):
            report = cron.tick(NOON + MINUTE)
            assert slots(report) == [NOON + MINUTE, NOON - MINUTE]

    def test_side_by_side_one_by_hand_runs_too(self, config):
        cron = cron_of(config)
        with filling_in(config, cron, "skip", "allow"):
            assert cron.run("long").state == "succeeded"


class TestLeases:
    def forget(self, config, seconds):
        """Move the leases of what runs into the past, as if its process had died."""
        wait_until(lambda: scheduler(config.registry).history(state="running"))
        path = get_cron(config.registry).settings.url.database
        with sqlite3.connect(path) as connection:
            connection.execute(
                "UPDATE cron_runs SET lease_until = lease_until - ?, owner = 'dead'"
                " WHERE lease_until IS NOT NULL",
                (seconds * 1_000_000,),
            )

    def test_a_run_of_a_dead_process_is_lost_and_frees_its_task(self, config):
        cron = cron_of(config)
        with running(config, cron, NOON):
            self.forget(config, 60)
            report = cron.tick(NOON + MINUTE)
            assert slots(report) == [NOON + MINUTE]
            [lost] = scheduler(config.registry).history(state="lost")
            assert lost.slot == NOON
            assert "gave no sign of life" in lost.error
        # What the one that was taken for dead did afterwards changes nothing.
        [lost] = scheduler(config.registry).history(state="lost")
        assert lost.slot == NOON

    def test_a_lost_run_is_tried_again_if_there_are_attempts_left(self, config):
        cron = cron_of(config)
        retry = Retry(attempts=2, delay=0)
        with running(config, cron, NOON, retry=retry):
            self.forget(config, 60)
            report = cron.tick(NOON + MINUTE)
            assert [(run.slot, run.attempt) for run in report.runs] == [
                (NOON, 2),
                (NOON + MINUTE, 1),
            ]

    def test_a_lost_run_whose_end_was_asked_for_is_not_tried_again(self, config):
        cron = cron_of(config)
        received = []
        config.add_subscriber(received.append, events.RunRetrying)
        with running(config, cron, NOON, retry=Retry(attempts=2, delay=0)):
            self.forget(config, 60)
            [lost] = scheduler(config.registry).history()
            get_cron(config.registry).store.request_cancel(lost.id)
            assert slots(cron.tick(NOON + MINUTE)) == [NOON + MINUTE]
        assert slots(cron.tick(NOON + 2 * MINUTE)) == [NOON + 2 * MINUTE]
        [lost] = scheduler(config.registry).history(state="lost")
        assert (lost.slot, received) == (NOON, [])

    def test_one_that_a_clock_gave_which_was_ahead_blocks_no_longer(self, config):
        cron = cron_of(config)
        cron.tick(NOON)
        with running(config, cron, NOON + timedelta(days=365)):
            self.forget(config, 0)
            reports = [cron.tick(NOON + n * MINUTE) for n in range(1, 5)]
        assert [len(report.skipped) for report in reports] == [1, 1, 0, 0]
        assert [slot for report in reports for slot in slots(report)] == [
            NOON + 3 * MINUTE,
            NOON + 4 * MINUTE,
        ]

    def test_one_tick_by_a_clock_that_is_behind_takes_nobody_s(self, config):
        cron = cron_of(config)
        cron.tick(NOON - MINUTE)
        with running(config, cron, NOON):
            self.forget(config, 0)
            lease = self.lease(config)
            cron.tick(NOON - timedelta(days=365))
            assert self.lease(config) == lease

    def test_leases_are_renewed_while_a_task_runs(self, config):
        cron = cron_of(config)
        with running(config, cron, NOON):
            first = self.lease(config)
            wait_until(lambda: self.lease(config) > first)

    def test_what_is_over_and_written_as_its_lease_is_renewed_is_not_said_to_be_lost(
        self, config, caplog
    ):
        config.add_cron_task(lambda system: None, name="a", min="*")
        [run] = cron_of(config).tick(NOON).runs
        executions, clock = get_cron(config.registry).supervisor.executions, Stopwatch(NOON)
        get_cron(config.registry).clock = lambda: NOON
        executions.add([run], clock)
        get_cron(config.registry).clock = lambda: NOON + MINUTE
        executions.heartbeat()
        assert executions.get(run.id) is None
        assert "lease lost" not in caplog.text

    def test_a_clock_that_is_put_forward_makes_no_living_run_lost(self, config):
        cron, host = cron_of(config), get_cron(config.registry)
        other = configure(**{"cron.url": str(host.settings.url), "cron.lease": "2"})
        other.add_cron_task(lambda system: None, name="long", on_demand=True)
        with running(config, cron, NOON) as (_, _, _, reports):
            first = self.lease(config)
            host.clock = Stopwatch(NOON + HOUR).now
            wait_until(lambda: self.lease(config) - first > 3600 * 1_000_000)
            cron_of(other).tick(NOON + HOUR)
        [report] = reports
        assert [str(run.state) for run in report.runs] == ["succeeded"]
        assert scheduler(config.registry).history(state="lost") == []

    def lease(self, config):
        path = get_cron(config.registry).settings.url.database
        with sqlite3.connect(path) as connection:
            return connection.execute("SELECT max(lease_until) FROM cron_runs").fetchone()[0]


def test_old_runs_are_forgotten_while_another_goes_on(config):
    long_ago = NOON - timedelta(days=40)
    cron = cron_of(config)
    store = get_cron(config.registry).store
    write(store, ended(claim(store, now=long_ago)[0]))
    with running(config, cron, NOON) as (seen, *_):
        wait_until(lambda: [run.id for run in store.history()] == [seen[0].id])


def test_old_runs_are_forgotten_in_idle_ticks(tmp_path):
    config = configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite", "cron.retention": "1d"})
    config.add_cron_task(lambda system: None, name="a", hour=12)
    cron = cron_of(config)
    for day in range(3):
        cron.tick(NOON + timedelta(days=day))
    control = scheduler(config.registry)
    assert len(control.history()) == 3
    cron.tick(NOON + timedelta(days=2, minutes=1))
    wait_until(lambda: len(control.history()) < 3)
    assert [run.slot for run in control.history()] == [
        NOON + timedelta(days=2),
        NOON + timedelta(days=1),
    ][: len(control.history())]
