"""The OpenAPI document holds for the real application."""

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.apps import configure


def make_app():
    config = configure()
    config.add_cron_task(lambda system: None, name="fine")
    config.add_cron_task(lambda system: 1 / 0, name="failing")
    app = config.make_wsgi_app()

    def local(environ, start_response):
        return app(environ | {"REMOTE_ADDR": "127.0.0.1"}, start_response)

    return local


schema = schemathesis.openapi.from_wsgi("/cron/openapi.json", make_app())


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_answers_are_as_described(case):
    case.call_and_validate(
        checks=[not_a_server_error, response_schema_conformance, status_code_conformance]
    )
