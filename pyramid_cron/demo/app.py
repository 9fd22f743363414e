"""The shop as a Pyramid application: its database, its transactions, its tasks, its one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.request import Request
from pyramid.router import Router
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from .models import Base, open_shop


def make_app(settings: Mapping[str, Any]) -> Router:
    """Return the application: ``shop.url`` says where its database is, ``cron.…`` the rest."""
    with Configurator(
        settings={"tm.manager_hook": "pyramid_tm.explicit_manager", **settings}
    ) as config:
        config.include("pyramid_tm")
        config.include(add_database)
        config.include("pyramid_cron")
        config.include(".tasks")
        config.include(".page")
        config.set_csrf_storage_policy(CookieCSRFStoragePolicy())
        config.set_default_csrf_options(require_csrf=True)
    return config.make_wsgi_app()


def add_database(config: Configurator) -> None:
    """Make the database, and ``request.dbsession``, which joins the request's transaction."""
    engine = create_engine(config.registry.settings["shop.url"])
    Base.metadata.create_all(engine)
    make_session = sessionmaker(engine)
    with make_session.begin() as session:
        open_shop(session)

    def dbsession(request: Request) -> Session:
        session = make_session()
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    config.registry["shop.engine"] = engine
    config.add_request_method(dbsession, reify=True)
