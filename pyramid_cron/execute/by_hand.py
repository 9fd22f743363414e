"""Running one task at once, whatever its schedule says."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime
from typing import Any

from pyramid.request import Request

from ..app import CronApp
from ..clock import Stopwatch
from ..planning.snapshot import WaitingRun
from ..planning.tick_plan import blocking_runs, skipped_for_overlap
from ..run import Run, RunState, Trigger, as_payload
from ..runtime.execution import current_execution
from ..runtime.request_scope import runner_in_request
from ..task import Task


def run_manually(
    cron: CronApp,
    request: Request,
    task: Task,
    payload: Any,
    now: datetime,
    *,
    commit_first: bool = False,
) -> Run:
    """Run one task at once, whatever its schedule says; return the run as it ended.

    What was done before in the request is committed; with ``keep`` it is raised if that fails.

    It is skipped, with the reason ``overlap``, while another run of the task goes on, unless the
    task's ``overlap`` allows that. Raises TypeError or ValueError for a payload that is not JSON.
    """
    given = as_payload(payload)
    asked = WaitingRun(
        task.name, now, Trigger.MANUAL, now, nonce=secrets.randbits(62) + 2, payload=given
    )
    caller = current_execution.get()
    with runner_in_request(
        cron, request, Stopwatch(now), keep=commit_first or caller is not None
    ) as runner:
        with cron.supervisor.claim_transaction(runner.clock) as desk:
            if active := blocking_runs(task, desk.active_runs(task.name)):
                skip = replace(skipped_for_overlap(task, [now], active), asked=asked)
                _, [run] = desk.claim([], [skip])
            else:
                [run], _ = desk.claim([asked])
        if run.state is RunState.SKIPPED:
            runner.announce_end(run)
        else:
            with cron.supervisor.supervising([run], runner.clock):
                run = runner.run(task, run) or run
    if caller is not None:
        caller.raise_if_interrupted()
    return run
