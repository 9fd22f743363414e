"""Running one task at once, whatever its schedule says."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime
from typing import Any

from pyramid.request import Request

from ..clock import Stopwatch
from ..due.decide import in_the_way, overlapping
from ..due.facts import Pending
from ..run import Run, RunState, Trigger, as_payload
from ..state import Cronwork
from ..task import Task
from .carry import carrying
from .live import current


def run_by_hand(
    cron: Cronwork, request: Request, task: Task, payload: Any, now: datetime, *, keep: bool = False
) -> Run:
    """Run one task at once, whatever its schedule says; return the run as it ended.

    What was done before in the request is committed; with ``keep`` it is raised if that fails.

    It is skipped, with the reason ``overlap``, while another run of the task goes on, unless the
    task's ``overlap`` allows that. Raises TypeError or ValueError for a payload that is not JSON.
    """
    given = as_payload(payload)
    asked = Pending(
        task.name, now, Trigger.MANUAL, now, nonce=secrets.randbits(62) + 2, payload=given
    )
    caller = current.get()
    with carrying(cron, request, Stopwatch(now), keep=keep or caller is not None) as runner:
        with cron.supervisor.deciding(runner.clock) as desk:
            if active := in_the_way(task, desk.active(task.name)):
                skip = replace(overlapping(task, [now], active), asked=asked)
                _, [run] = desk.claim([], [skip])
            else:
                [run], _ = desk.claim([asked])
        if run.state is RunState.SKIPPED:
            runner.ended(run)
        else:
            with cron.supervisor.holding([run], runner.clock):
                run = runner.carry_out(task, run) or run
    if caller is not None:
        caller.heed()
    return run
