"""What pyramid_debugtoolbar shows of the tasks."""

import os
import re
from importlib.util import find_spec

import pytest
from pyramid.response import Response
from webtest import TestApp

from tests.apps import configure

LOCAL = {"REMOTE_ADDR": "127.0.0.1"}


def nothing(system):
    """Do nothing."""


@pytest.fixture
def toolbar():
    if find_spec("pyramid_debugtoolbar") is None:
        lack = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        lack("needs the package pyramid_debugtoolbar")
    return "pyramid_debugtoolbar"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_introspection_panel_lists_the_tasks(toolbar):
    config = configure(**{"debugtoolbar.hosts": "127.0.0.1"})
    config.include(toolbar)
    config.add_cron_task(nothing, name="nightly cleaning", hour=2)
    config.add_route("page", "/page")
    page = "<html><head></head><body>page</body></html>"
    config.add_view(lambda request: Response(page), route_name="page")
    web = TestApp(config.make_wsgi_app(), extra_environ=LOCAL)
    shown = re.search(r'href="([^"]*/_debug_toolbar/[0-9a-f]+)"', web.get("/page").text)
    assert shown is not None
    panels = web.get(shown[1]).text
    assert "cron tasks" in panels
    assert "nightly cleaning" in panels
