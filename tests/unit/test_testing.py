"""CronTester, which applications use in their own tests."""

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from pyramid.config import Configurator
from webtest import TestApp

from pyramid_cron import RetryLater, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure

MINUTE = timedelta(minutes=1)


@pytest.fixture
def config():
    config = configure()
    config.add_cron_task(lambda system: None, name="idle", idle=True, min=[0, 30])
    config.add_cron_task(lambda system: None, name="low", hour="*")
    config.add_cron_task(lambda system: None, name="high", priority=5, hour="*")
    return config


@pytest.mark.parametrize("wrap", [lambda app: app, TestApp, lambda app: app.registry])
def test_it_takes_an_app_a_test_app_or_a_registry(config, wrap):
    cron = CronTester(wrap(config.make_wsgi_app()))
    assert len(cron.tick(NOON).runs) == 3


def test_it_refuses_anything_else():
    with pytest.raises(TypeError, match="neither a Pyramid application nor its registry"):
        CronTester(object())


def test_it_takes_moments_in_any_zone_but_not_naive_ones(config):
    cron = CronTester(config.make_wsgi_app())
    berlin = datetime(2026, 6, 15, 14, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert cron.tick(at=berlin).now == NOON
    with pytest.raises(ValueError, match=r"at=.*: use an aware datetime"):
        cron.tick(at=datetime(2026, 6, 15))  # noqa: DTZ001


def test_without_a_moment_it_is_now(config):
    cron = CronTester(config.make_wsgi_app())
    assert abs(cron.tick().now - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert abs(cron.run("low").slot - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_simulate_lists_what_would_run_in_order_and_runs_nothing(config):
    cron = CronTester(config.make_wsgi_app())
    planned = cron.simulate(NOON - timedelta(minutes=1), NOON + timedelta(minutes=30))
    assert [(each.slot, each.task) for each in planned] == [
        (NOON, "high"),
        (NOON, "low"),
        (NOON, "idle"),
        (NOON + timedelta(minutes=30), "idle"),
    ]
    assert len(cron.simulate(NOON, NOON + timedelta(days=2))) == 2 * 24 * 4
    assert cron.simulate(NOON, NOON) == []


class TestTheFirstWindow:
    def test_it_begins_with_the_minute_of_the_first_moment(self, config):
        cron = CronTester(config.make_wsgi_app())
        tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
        report = cron.tick(tomorrow.replace(minute=0, second=20))
        assert [(run.task, run.trigger) for run in report.runs][:1] == [("high", "schedule")]
        assert report.skipped == ()

    def test_a_run_by_hand_is_a_moment_too(self, config):
        cron = CronTester(config.make_wsgi_app())
        cron.run("low", at=NOON - timedelta(minutes=1))
        assert [run.task for run in cron.tick(NOON + MINUTE).runs] == ["high", "low", "idle"]


class TestAdvance:
    @pytest.fixture
    def starts(self):
        return []

    @pytest.fixture
    def tester(self, starts):
        config = configure(**{"cron.beats": "true"})

        def note(system):
            starts.append((system["run"].task, (system["run"].slot - NOON).total_seconds()))

        def fail_once(system):
            note(system)
            if system["run"].attempt == 1:
                raise RetryLater("25s")

        config.add_cron_task(note, name="minute")
        config.add_cron_task(note, name="often", every="20s", executor="thread")
        config.add_cron_task(fail_once, name="flaky", on_demand=True, retry=2)
        config.add_cron_task(note, name="heavy", on_demand=True, weight=8, executor="thread")
        return CronTester(config.make_wsgi_app())

    def test_minutes_and_what_is_between_them_come_in_order(self, tester, starts):
        tester.tick(NOON)
        tester.advance(NOON + timedelta(seconds=90))
        assert sorted(starts[:2]) == [("minute", 0), ("often", 0)]
        assert starts[2:4] == [("often", 20), ("often", 40)]
        assert sorted(starts[4:6]) == [("minute", 60), ("often", 60)]
        assert starts[6:] == [("often", 80)]

    def test_a_retry_is_at_its_moment(self, tester):
        tester.tick(NOON + timedelta(seconds=1))
        scheduler(tester.registry).defer("flaky", at=NOON + timedelta(seconds=10))
        reports = tester.advance(NOON + timedelta(seconds=59))
        runs = [(report.now, run.task, run.attempt) for report in reports for run in report.runs]
        assert [run for run in runs if run[1] == "flaky"] == [
            (NOON + timedelta(seconds=10), "flaky", 1),
            (NOON + timedelta(seconds=35), "flaky", 2),
        ]

    def test_what_waits_for_room_begins_when_there_is_some(self, tester, starts):
        tester.tick(NOON + timedelta(seconds=1))
        control = scheduler(tester.registry)
        for _ in range(3):
            control.defer("heavy", at=NOON + timedelta(seconds=10))
        tester.advance(NOON + timedelta(seconds=11))
        assert [name for name, _ in starts[2:]] == ["heavy"] * 3

    def test_the_clock_goes_on_from_the_end(self, tester):
        tester.tick(NOON)
        tester.advance(NOON + timedelta(seconds=30))
        assert scheduler(tester.registry).defer("heavy").slot == NOON + timedelta(seconds=30)

    def test_without_beats_there_are_ticks_alone(self, config):
        cron = CronTester(config.make_wsgi_app())
        cron.tick(NOON)
        reports = cron.advance(NOON + timedelta(minutes=2, seconds=30))
        assert [report.now for report in reports] == [NOON + MINUTE, NOON + 2 * MINUTE]

    def test_the_first_call_makes_one_tick(self, tester, starts):
        [report] = tester.advance(NOON)
        assert {run.task for run in report.runs} == {"minute", "often"}

    def test_time_does_not_go_back(self, tester):
        tester.tick(NOON)
        with pytest.raises(ValueError, match=r"^until=.*: is before the last tick or run, at 2026"):
            tester.advance(NOON - MINUTE)


class TestReset:
    def test_a_store_that_is_not_named_is_in_memory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        app = self.application()
        for _ in range(2):
            with CronTester(app) as cron:
                assert len(cron.tick(NOON).runs) == 1
                assert len(scheduler(cron.registry).history()) == 1
        assert list(tmp_path.iterdir()) == []

    def test_the_application_has_its_own_store_and_clock_again(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        app = self.application()
        cron = get_cron(app.registry)
        clock, dispatcher = cron.clock, cron.dispatcher
        with CronTester(app) as tester:
            tester.tick(NOON)
            assert cron.dispatcher is None
        assert (cron.clock, cron.dispatcher) == (clock, dispatcher)
        assert scheduler(app.registry).history() == []
        assert (tmp_path / "pyramid_cron.sqlite").exists()

    def test_a_store_that_is_named_is_emptied(self, tmp_path):
        app = self.application(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"})
        cron = CronTester(app)
        for _ in range(2):
            assert len(cron.tick(NOON).runs) == 1
            scheduler(app.registry).pause()
            cron.reset()
            assert scheduler(app.registry).history() == []
            assert scheduler(app.registry).status("a").paused is None

    def test_a_test_that_fails_leaves_nothing_either(self):
        app = self.application(**{"cron.url": "sqlite://"})
        with pytest.raises(ZeroDivisionError), CronTester(app) as cron:
            cron.tick(1 / 0)
        with CronTester(app) as cron:
            assert len(cron.tick(NOON).runs) == 1

    def test_testers_of_one_application_share_its_store(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        app = self.application()
        CronTester(app).tick(NOON)
        with CronTester(app) as cron:
            assert cron.tick(NOON).runs == ()
        assert list(tmp_path.iterdir()) == []

    def application(self, **settings):
        config = Configurator(settings={"cron.timezone": "UTC", **settings})
        config.include("pyramid_cron")
        config.add_cron_task(lambda: None, name="a", hour=12)
        return config.make_wsgi_app()


def test_the_request_has_what_a_tick_s_has():
    seen = []
    config = configure()
    config.set_root_factory(lambda request: "the root")
    config.add_cron_task(
        lambda system: seen.append((system["request"].root, system["request"].client_addr)),
        name="a",
        executor="thread",
    )
    cron = CronTester(config.make_wsgi_app())
    cron.tick(NOON)
    cron.run("a")
    assert seen == [("the root", "127.0.0.1")] * 2


def test_the_fixture_is_there_for_whoever_asks_for_it(tmp_path):
    (tmp_path / "conftest.py").write_text(
        """
import pytest
from pyramid.config import Configurator

pytest_plugins = ["pyramid_cron.pytest"]

@pytest.fixture(scope="session")
def app():
    config = Configurator(settings={"cron.timezone": "UTC"})
    config.include("pyramid_cron")
    config.add_cron_task(lambda: None, name="a", hour=12)
    return config.make_wsgi_app()
"""
    )
    (tmp_path / "test_app.py").write_text(
        """
from datetime import datetime, timezone

import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_noon(cron_tester, number):
    report = cron_tester.tick(datetime(2026, 6, 15, 12, tzinfo=timezone.utc))
    assert [run.task for run in report.runs] == ["a"]
"""
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in ended.stdout, ended.stdout
    assert not (tmp_path / "pyramid_cron.sqlite").exists()
