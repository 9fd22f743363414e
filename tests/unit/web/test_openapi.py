"""The OpenAPI document holds for the real application."""

import json
import re
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from webtest import TestApp

from pyramid_cron import web
from pyramid_cron.planning.health import HealthState
from pyramid_cron.run import RunReason, RunState, Trigger, WaitReason
from pyramid_cron.testing import CronTester
from pyramid_cron.version import __version__
from tests.apps import configure

DOCUMENT = json.loads((Path(web.__file__).parent / "openapi.json").read_text())


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


def test_every_page_is_described():
    described = set(DOCUMENT["paths"])
    paths = {re.sub(":[^}]*}", "}", pattern) for _, pattern, _ in web.PAGE_ROUTES}
    assert paths - described == {"/openapi.json", "/static/{file}"}


def test_the_document_has_all_states_triggers_and_reasons():
    schemas = DOCUMENT["components"]["schemas"]
    run = schemas["Run"]["properties"]
    assert run["state"]["enum"] == [state.value for state in RunState]
    assert run["trigger"]["enum"] == [trigger.value for trigger in Trigger]
    assert run["reason"]["enum"] == [*(reason.value for reason in RunReason), None]
    assert run["why"]["enum"] == [*(reason.value for reason in WaitReason), None]
    assert schemas["TaskState"]["enum"] == [state.value for state in HealthState]


@pytest.mark.parametrize("path", ["/cron", "/behind/a/secret"])
def test_the_document_names_this_application_and_its_version(path):
    config = configure(**{"cron.path": path})
    app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    assert app.get(f"{path}/openapi.json").json == {
        **DOCUMENT,
        "info": {**DOCUMENT["info"], "version": __version__},
        "servers": [{"url": path}],
    }
    below = app.get(f"/shop{path}/openapi.json", extra_environ={"SCRIPT_NAME": "/shop"}, status="*")
    assert below.json["servers"] == [{"url": f"/shop{path}"}]
