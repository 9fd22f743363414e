"""Applications that change what all views are: their mapper, derivers, defaults."""

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError, ConfigurationExecutionError
from pyramid.httpexceptions import HTTPMethodNotAllowed
from pyramid.response import Response
from pyramid.viewderivers import INGRESS
from webtest import TestApp

from tests.apps import run_by_hand

SETTINGS = {"cron.url": "sqlite://", "cron.timezone": "UTC"}


def application(*changes, autocommit=False):
    config = Configurator(settings=SETTINGS, autocommit=autocommit)
    config.include("pyramid_cron")
    config.add_cron_task(lambda system: None, name="fine")
    for change in changes:
        change(config)
    return TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})


def everything_works(app):
    assert app.get("/cron").text == "ok"
    assert app.post("/cron").text == "ok"
    app.get("/cron/tasks", status=200)
    app.get("/cron/tasks", headers={"Accept": "text/html"}, status=200)
    assert run_by_hand(app, "fine")["state"] == "succeeded"


class KeywordMapper:
    """Calls views with what the route's pattern has, as some frameworks do."""

    def __init__(self, **options):
        pass

    def __call__(self, view):
        return lambda context, request: view(request, **request.matchdict)


def read_only_deriver(view, info):
    """Answers 405 to what the view's options do not name."""
    methods = info.options.get("require_methods", ("GET", "HEAD"))

    def refuse_or_call(context, request):
        if methods is not None and request.method not in methods:
            raise HTTPMethodNotAllowed()
        return view(context, request)

    return refuse_or_call


read_only_deriver.options = ("require_methods",)


def stateless_deriver(view, info):
    """Takes the session away from views that do not ask for one."""
    uses_session = info.options.get("uses_session")

    def take_or_call(context, request):
        if not uses_session:
            request.session = None
        return view(context, request)

    return take_or_call


stateless_deriver.options = ("uses_session",)


def add_derivers(config):
    config.add_view_deriver(read_only_deriver, under=INGRESS)
    config.add_view_deriver(stateless_deriver, under=INGRESS)


def test_another_mapper_of_views_does_not_change_ours():
    def change(config):
        config.set_view_mapper(KeywordMapper)
        config.add_route("own", "/own/{name}")
        config.add_view(lambda request, name: Response(name), route_name="own")

    app = application(change)
    assert app.get("/own/shop").text == "shop"
    everything_works(app)


@pytest.mark.parametrize("autocommit", [False, True])
def test_options_for_the_application_s_derivers_can_be_given(autocommit):
    def give(config):
        config.set_cron_view_options(require_methods=None, uses_session=True)

    application(add_derivers).post("/cron", status=405)
    if autocommit:  # derivers come before views there
        config = Configurator(settings=SETTINGS, autocommit=True)
        add_derivers(config)
        config.include("pyramid_cron")
        config.add_cron_task(lambda system: None, name="fine")
        give(config)
        app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        everything_works(app)
    else:
        everything_works(application(add_derivers, give))


def test_calls_add_up_and_the_last_one_counts():
    app = application(
        add_derivers,
        lambda config: config.set_cron_view_options(require_methods=("GET",)),
        lambda config: config.set_cron_view_options(uses_session=True),
        lambda config: config.set_cron_view_options(require_methods=None),
    )
    everything_works(app)


@pytest.mark.parametrize("name", ["permission", "require_csrf", "mapper", "route_name"])
def test_what_the_views_have_already_is_refused(name):
    with pytest.raises(ConfigurationError, match=f"set_cron_view_options: {name}='x'"):
        application(lambda config: config.set_cron_view_options(**{name: "x"}))


def test_an_option_of_no_deriver_is_refused_by_name():
    with pytest.raises((ConfigurationError, ConfigurationExecutionError), match="uses_sesion"):
        application(lambda config: config.set_cron_view_options(uses_sesion=True))
