"""What happens to an application's objects when their process ends or forks."""

import atexit
import gc
import os
import weakref
from contextlib import ExitStack

from pyramid_cron.app import CronApp
from pyramid_cron.runtime import log_capture
from pyramid_cron.runtime.process_hooks import ForkHook, call_at_exit
from pyramid_cron.runtime.shutdown import install_shutdown_hooks
from pyramid_cron.settings import parse_settings


class Thing:
    def __init__(self):
        self.calls = []


def in_child(question):
    """The answer of a forked process to a yes-or-no question."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if question() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return {0: True, 1: False}[os.waitstatus_to_exitcode(status)]


def test_a_fork_resets_the_parts_in_the_child_only():
    hook, resets = ForkHook(), []
    hook.add(lambda: resets.append("first"))
    hook.add(lambda: resets.append("second"))
    assert in_child(lambda: resets == ["first", "second"])
    assert resets == []


def test_a_hook_for_forks_keeps_nothing_alive():
    hook, thing = ForkHook(), Thing()
    hook.add(thing.calls.clear)
    alive = weakref.ref(hook)
    del hook
    gc.collect()
    assert alive() is None
    assert in_child(lambda: True)


def test_an_exit_hook_keeps_nothing_alive(monkeypatch):
    registered = []
    monkeypatch.setattr(atexit, "register", registered.append)
    thing = Thing()
    call_at_exit(thing, lambda alive: alive.calls.append("ended"))
    [at_exit] = registered
    at_exit()
    assert thing.calls == ["ended"]
    alive = weakref.ref(thing)
    del thing
    gc.collect()
    assert alive() is None
    at_exit()


def test_an_application_can_be_collected():
    cron = CronApp(parse_settings({}))
    install_shutdown_hooks(cron.supervisor, 1.0)
    alive = weakref.ref(cron)
    del cron
    gc.collect()
    assert alive() is None


def test_a_forked_process_has_none_of_the_runs_locks_and_results():
    cron = CronApp(parse_settings({}))
    owners = (cron, cron.supervisor, cron.write_buffer, log_capture)
    with cron.supervisor.tick_in_progress(), ExitStack() as stack:
        for owner in owners:
            stack.enter_context(owner._lock)
        assert in_child(lambda: not any(owner._lock.locked() for owner in owners))
