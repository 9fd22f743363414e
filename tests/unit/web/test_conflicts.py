"""Routes and views of the application at the trigger's path."""

import re

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError, ConfigurationExecutionError
from pyramid.response import Response
from webtest import TestApp
from zope.interface import Interface, implementer

SETTINGS = {"cron.url": "sqlite://", "cron.timezone": "UTC"}
REFUSED = (ConfigurationError, ConfigurationExecutionError)


def own_view(context, request):
    return Response("own")


class ISite(Interface):
    pass


@implementer(ISite)
class Site:
    def __init__(self, request):
        pass


def make_app(add, *, is_first, prefix=None, autocommit=False, **settings):
    config = Configurator(settings=SETTINGS | settings, autocommit=autocommit)
    if is_first:
        add(config)
    config.include("pyramid_cron", route_prefix=prefix)
    if not is_first:
        add(config)
    return config.make_wsgi_app()


def route(pattern, name="reports", **options):
    def add(config):
        config.add_route(name, pattern, **options)
        config.add_view(own_view, route_name=name)

    return add


def view(**options):
    return lambda config: config.add_view(own_view, name="cron", **options)


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/cron", "/cron"),
        ("cron", "/cron"),
        ("/{page:cron}", "/cron"),
        ("/cron*rest", "/cron"),
        ("/cron/tasks", "/cron/tasks"),
        ("/cron/{page:tasks|timeline}", "/cron/tasks"),
        ("/cron/tasks/of/the/shop", "/cron/tasks/of/the/shop"),
    ],
)
def test_a_route_of_the_application_that_would_be_hidden_is_refused_by_name(
    pattern, path, is_first, autocommit
):
    with pytest.raises(REFUSED, match=rf"route 'reports' .*{re.escape(pattern)}.* at {path},"):
        make_app(route(pattern), is_first=is_first, autocommit=autocommit)


@pytest.mark.parametrize("options", [{"request_method": "POST"}, {"header": "X-Shop"}])
def test_a_route_for_some_requests_only_would_be_hidden_too(options):
    with pytest.raises(REFUSED, match="'reports'"):
        make_app(route("/cron", **options), is_first=True)


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/*path", "/x/y"),
        ("/{page}", "/x"),
        ("/{page:.*}", "/x"),
        ("/cron/{page}", "/cron/x"),
        ("/cron/*path", "/cron/x"),
        ("/cronjobs", "/cronjobs"),
        ("/cron/report", "/cron/report"),
    ],
)
def test_a_route_that_takes_other_paths_keeps_those(pattern, path, is_first):
    app = TestApp(make_app(route(pattern), is_first=is_first))
    assert app.get(path).text == "own"
    assert app.get("/cron", extra_environ={"REMOTE_ADDR": "127.0.0.1"}).text == "ok"


def test_the_path_and_the_prefix_count():
    make_app(route("/cron"), is_first=True, prefix="shop")
    make_app(route("/cron"), is_first=True, **{"cron.path": "/tick"})
    with pytest.raises(REFUSED, match=r"'reports'.*/shop/cron"):
        make_app(route("/shop/cron"), is_first=True, prefix="shop")


def test_a_route_that_is_only_for_urls_hides_nothing():
    make_app(lambda config: config.add_route("elsewhere", "/cron", static=True), is_first=True)


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("context", [None, Site, ISite])
def test_a_view_of_traversal_at_the_path_is_refused_by_name(context, is_first):
    def add(config):
        config.set_root_factory(Site)
        config.add_view(own_view, name="cron", context=context)

    with pytest.raises(REFUSED, match=r"view function .*own_view lies at /cron"):
        make_app(add, is_first=is_first)


@pytest.mark.parametrize("context", [ValueError, ISite])
def test_a_view_of_another_context_lies_elsewhere(context):
    make_app(view(context=context), is_first=True)


def test_a_view_of_the_name_lies_elsewhere_where_the_trigger_does():
    make_app(view(), is_first=True, prefix="shop")
    make_app(view(), is_first=True, **{"cron.path": "/tick"})


def test_of_a_root_that_a_function_makes_only_a_view_for_all_contexts_is_known():
    def add(config, context):
        config.set_root_factory(lambda request: Site(request))
        config.add_view(own_view, name="cron", context=context)

    make_app(lambda config: add(config, Site), is_first=True)
    with pytest.raises(REFUSED, match="own_view"):
        make_app(lambda config: add(config, None), is_first=True)
