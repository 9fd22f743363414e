"""Requests that no client sent, with what the router gives a request that one has sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.scripting import prepare

OWN_ADDRESS = "127.0.0.1"
"""The address of who made the request: this machine."""


@contextmanager
def own_request(registry: Registry, request: Request | None = None) -> Iterator[Request]:
    """Give a request that is the current one within the block, by default a blank one.

    It has a root of the application's root factory, and is as if that had been found at the URL.
    """
    with prepare(request, registry) as environment:
        request = environment["request"]
        complete_request(request, environment["root"])
        yield request


def complete_request(request: Request, root: Any) -> None:
    """Set what a request has in a view for this root."""
    request.environ.setdefault("REMOTE_ADDR", OWN_ADDRESS)
    request.__dict__.update(
        root=root,
        context=root,
        view_name="",
        subpath=(),
        traversed=(),
        virtual_root=root,
        virtual_root_path=(),
    )
