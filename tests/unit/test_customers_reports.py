"""The example of the documentation, each customer's own report, over a shift of the clocks."""

import os
from datetime import datetime, timedelta, timezone

from pyramid.request import Request
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.testing import CronTester
from tests.apps import configure

CUSTOMERS = int(os.environ.get("CUSTOMERS", "120"))
ZONES = ("Europe/Berlin", "Europe/London", "Asia/Tokyo")
START = datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc)
"""Half an hour before the clocks of two zones are set back."""

END = START + timedelta(hours=2)


def make_app(sent):
    """An application whose customers pick when their report comes."""

    def report(system):
        sent.append(system["payload"]["customer"])

    def save_preferences(request: Request):
        when = dict(request.json_body)
        customer = when.pop("customer")
        name, payload = f"report for {customer:04}", {"customer": customer}
        request.cron.schedule(name, "report", payload, **when)
        return {}

    config = configure(**{"cron.beats": "true"})
    config.add_cron_task(report, name="report", on_demand=True)
    config.add_route("preferences", "/preferences")
    config.add_view(save_preferences, route_name="preferences", renderer="json")
    return config.make_wsgi_app()


def preferences(customer):
    """What a customer picks: each tenth an interval, the others a time of day in their zone."""
    if customer % 10 == 0:
        return {"customer": customer, "every": f"{10 + customer % 7}m"}
    # The hour before the shift of its zone, the one that comes twice, and the one after it.
    zone = ZONES[customer % 3]
    first_hour = {"Europe/Berlin": 1, "Europe/London": 0, "Asia/Tokyo": 9}[zone]
    hour, minute = first_hour + customer % 4, customer // 3 % 60
    return {"customer": customer, "hour": hour, "min": minute, "timezone": zone}


def test_ticks_and_beats_run_what_is_simulated_each_slot_once():
    sent = []
    app = make_app(sent)
    cron = CronTester(app)
    cron.tick(START)
    browser = TestApp(app)
    for customer in range(CUSTOMERS):
        browser.post_json("/preferences", preferences(customer))
    assert len(scheduler(app.registry).schedules()) == CUSTOMERS
    planned = [(run.slot, run.schedule) for run in cron.simulate(START, END)]
    reports = cron.advance(END)
    ran = [(run.slot, run.schedule) for report in reports for run in report.runs]
    assert sorted(ran) == planned
    assert len(ran) == len(set(ran)) == len(sent)
    by_zone = dict.fromkeys(ZONES, 0)
    for customer in {int(name[-4:]) for _, name in ran}:
        by_zone[ZONES[customer % 3]] += customer % 10 != 0
    assert all(by_zone.values())
