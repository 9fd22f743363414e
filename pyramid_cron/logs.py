"""The log lines of runs and ticks, on the logger ``pyramid_cron``."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from .run import CommandError, Run, TaskInterrupted

log = logging.getLogger("pyramid_cron")


def instant(moment: datetime) -> str:
    """Return an aware moment as ISO 8601 in UTC, with Z: ``2026-12-01T09:00:00Z``."""
    return moment.isoformat().replace("+00:00", "Z")


def run_started(run: Run) -> None:
    """Say at INFO that a run begins."""
    extra = _extra(run)
    log.info("%s run=%s slot=%s state=%s", run.task, run.id, extra["slot"], run.state, extra=extra)


def run_failed(run: Run, error: BaseException) -> None:
    """Say at ERROR what a run died of, with the traceback.

    Where it was told to stop, that is all there is to say, at WARNING; where it was just then is
    kept with the run. The same goes for a program, at ERROR.
    """
    if isinstance(error, TaskInterrupted):
        log.warning("%s run=%s %s", run.task, run.id, error, extra=_extra(run))
    elif isinstance(error, CommandError):
        log.error("%s run=%s failed: %s", run.task, run.id, error, extra=_extra(run))
    else:
        log.error("%s run=%s failed", run.task, run.id, exc_info=error, extra=_extra(run))


def run_ended(run: Run) -> None:
    """Say at INFO how a run ended."""
    extra = _extra(run)
    duration = "-" if run.duration is None else f"{run.duration:.3f}s"
    reason = "" if run.reason is None else f" reason={run.reason}"
    if run.count > 1:
        reason += f" count={run.count}"
    if run.error is not None and run.traceback is None:
        reason += f" ({run.error})"
    log.info(
        "%s run=%s slot=%s state=%s duration=%s%s",
        run.task,
        run.id,
        extra["slot"],
        run.state,
        duration,
        reason,
        extra=extra,
    )


def nothing_due(moment: datetime) -> None:
    """Say at DEBUG that a tick found nothing to do."""
    log.debug("nothing due at %s", moment)


def _extra(run: Run) -> dict[str, Any]:
    return {
        "task": run.task,
        "run": run.id,
        "slot": instant(run.slot),
        "state": run.state.value,
        "attempt": run.attempt,
        "trigger": run.trigger.value,
        "reason": run.reason and run.reason.value,
        "duration": run.duration,
    }
