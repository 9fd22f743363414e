"""The OpenAPI document holds for the real application."""

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from pyramid_cron.testing import CronTester
from pyramid_cron.web import PAGES
from pyramid_cron.web.openapi import document
from tests.apps import configure


def make_app():
    config = configure()
    config.add_cron_task(lambda system: None, name="fine")
    config.add_cron_task(lambda system: 1 / 0, name="failing")
    app = config.make_wsgi_app()
    CronTester(app).tick()

    def local(environ, start_response):
        return app(environ | {"REMOTE_ADDR": "127.0.0.1"}, start_response)

    return local


schema = schemathesis.openapi.from_wsgi("/cron/openapi.json", make_app())


HOLDS = [response_schema_conformance, status_code_conformance]
few = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@schema.exclude(path="/health").parametrize()
@few
def test_answers_are_as_described(case):
    case.call_and_validate(checks=[not_a_server_error, *HOLDS])


@pytest.mark.parametrize("accept", ["text/plain", "application/json", "text/html"])
@schema.include(path="/health").parametrize()
@few
def test_health_is_as_described_which_may_be_a_503(case, accept):
    case.call_and_validate(checks=HOLDS, headers={"Accept": accept})


def test_every_path_below_the_trigger_is_described_that_tells_something():
    described = set(document("/cron")["paths"])
    paths = {re.sub(":[^}]*}", "}", pattern) for _, pattern, _ in PAGES}
    assert paths - described == {"/openapi.json", "/static/{file}"}
