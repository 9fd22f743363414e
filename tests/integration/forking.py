"""A process whose task forks, in the main thread.

python -m tests.integration.forking FOLDER WHAT
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time

import transaction

from pyramid_cron.testing import CronTester
from tests.apps import configure

PATIENCE = 20.0
"""Seconds to wait for a child to end; by itself it takes longer."""


def main(folder, what):
    """Tick once, with a task that does it and then another one."""
    config = configure(**{"cron.url": f"sqlite:///{folder}/cron.sqlite"})
    config.add_cron_task(TASKS[what], name="forking", priority=1)
    config.add_cron_task(lambda system: print("other", os.getpid()), name="other")
    report = CronTester(config.make_wsgi_app()).tick()
    print("ticked", *[f"{run.task}:{run.state}" for run in report.runs], os.getpid())


def sending(number):
    """A task that sends a signal to a child of its own."""

    def task(system):
        context = multiprocessing.get_context("fork")
        begun = context.Event()
        child = context.Process(target=wait, args=(begun,), daemon=True)
        child.start()
        begun.wait(PATIENCE)
        os.kill(child.pid, number)
        child.join(PATIENCE)
        print("child", "goes on" if child.is_alive() else "ended")
        child.kill()

    return task


def wait(begun):
    begun.set()
    time.sleep(3 * PATIENCE)


def ending(how):
    """A task whose child comes out of it in some way, before the parent does."""

    def task(system):
        transaction.get().addAfterCommitHook(lambda good: print("committed", good))
        child = os.fork()
        if child == 0:
            how()
        else:
            _, status = os.waitpid(child, 0)
            print("child", os.waitstatus_to_exitcode(status))

    return task


def fail():
    raise RuntimeError("in the child")


TASKS = {
    "SIGTERM": sending(signal.SIGTERM),
    "SIGINT": sending(signal.SIGINT),
    "return": ending(lambda: None),
    "sys.exit": ending(lambda: sys.exit(3)),
    "sys.exit with a message": ending(lambda: sys.exit("no more")),
    "raise": ending(fail),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
