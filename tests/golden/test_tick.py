"""What a hit on the trigger answers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from tests.golden.conftest import MINUTE, NOON
from tests.golden.shop import configure

JSON = {"Accept": "application/json"}


class Trigger:
    """Hits the trigger of a shop with an empty store, at moments of the test's choice."""

    def __init__(self, clock, **settings):
        self.clock = clock
        app = configure(
            **{"cron.url": "sqlite://", "cron.beats": "false"} | settings
        ).make_wsgi_app()
        self.web = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        self.control = scheduler(app.registry)

    def hit(self, minutes, headers=JSON):
        """Return the answer at so many minutes past noon."""
        self.clock.moment = NOON + minutes * MINUTE
        return self.web.get("/cron", headers=headers)


@pytest.fixture
def trigger(clock):
    return Trigger(clock)


def test_nothing_is_due(trigger, golden):
    golden("tick/nothing_due.json", trigger.hit(2).json)


def test_several_tasks_are_due_and_some_of_them_fail(trigger, golden):
    golden("tick/several_due.json", trigger.hit(0).json)
    golden("tick/second_attempt.json", trigger.hit(1).json)


def test_slots_are_skipped_for_each_reason(trigger, golden):
    trigger.control.pause("audit")
    trigger.hit(-120)
    golden("tick/skipped.json", trigger.hit(59.5).json)


def test_what_has_no_room_waits(clock, golden):
    trigger = Trigger(clock, **{"cron.capacity": "1"})
    golden("tick/waiting.json", trigger.hit(15).json)


def test_what_has_no_time_waits(clock, golden):
    trigger = Trigger(clock, **{"cron.budget": "1e-9"})
    trigger.control.backfill("sweep", NOON - timedelta(days=1), NOON - timedelta(hours=12))
    golden("tick/no_time.json", trigger.hit(10).json)


def test_text_is_the_answer_unless_json_is_asked_for(trigger, golden):
    answer = trigger.hit(0, headers={})
    head = {name: answer.headers[name] for name in ("Content-Type", "Cache-Control")}
    golden("tick/text.json", {"status": answer.status, **head, "body": answer.text})
