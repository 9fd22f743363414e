"""CronTester, which applications use in their own tests."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from webtest import TestApp

from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure


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
