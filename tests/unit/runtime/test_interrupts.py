"""Raising an exception in a thread or a greenlet, and taking one back."""

import sys
import types

import pytest

from pyramid_cron import TaskTimeout
from pyramid_cron.runtime import interrupts
from pyramid_cron.runtime.interrupts import current_interruptible


def test_where_threads_have_other_ids_nothing_is_waited_for(monkeypatch):
    # Not the function itself: other threads, which end meanwhile, need theirs.
    odd_threading = types.SimpleNamespace(get_ident=lambda: 2**40)
    monkeypatch.setattr(interrupts, "threading", odd_threading)
    interruptible = current_interruptible()
    interruptible.raise_exception(TaskTimeout)
    interruptible.clear_pending()


@pytest.fixture
def gevent(monkeypatch):
    """What gevent offers; an exception that is to be raised in a greenlet is kept."""
    gevent, monkey = types.ModuleType("gevent"), types.ModuleType("gevent.monkey")
    monkey.is_module_patched = lambda name: name == "threading"
    gevent.getcurrent, gevent.kills = lambda: "greenlet", []
    gevent.kill = lambda greenlet, error: gevent.kills.append((greenlet, error))

    def sleep(seconds):
        raise gevent.kills.pop()[1]

    gevent.sleep = sleep
    monkeypatch.setitem(sys.modules, "gevent", gevent)
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    return gevent


def test_under_gevent_the_greenlet_is_interrupted(gevent):
    interruptible = current_interruptible()
    interruptible.raise_exception(TaskTimeout)
    assert gevent.kills == [("greenlet", TaskTimeout)]
    interruptible.clear_pending()
    assert gevent.kills == []
