"""A queue of reports to one monitor, and the thread that sends them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from typing import Any

from .report import TroubleError

MOST = 1000
"""How many reports may wait for one monitor; what comes then is dropped."""

IDLE = 30.0
"""Seconds without a report after which the thread ends, until it is needed again."""

log = logging.getLogger("pyramid_cron")


class Courier:
    """Sends reports to one monitor in the order they come, without anybody waiting for it.

    What goes wrong is a warning, and said once for each cause until it works again.
    """

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor
        self._complaints = _Complaints(monitor.name)
        self._begin()
        # Reports that wait at a fork are the parent's to send, and its thread stays there.
        begin = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: _call(begin))

    def _begin(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[Any] = deque()
        self._busy = False
        self._thread: threading.Thread | None = None

    def put(self, report: Any) -> None:
        """Have a report sent, soon; there is nothing that can go wrong with that."""
        with self._changed:
            if not (full := len(self._waiting) >= MOST):
                self._waiting.append(report)
                self._changed.notify_all()
                self._see_to_a_thread()
        if full:
            self._complaints.note(TroubleError(f"{MOST} reports wait already"), report)

    def flush(self, timeout: float) -> bool:
        """Wait until nothing waits to be sent, or so many seconds; return which of both."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy), timeout)

    def _see_to_a_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            name = f"pyramid_cron {self.monitor.name}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process ends, or has too many threads; the next one tries
                return
            self._thread = thread

    def _work(self) -> None:
        changed = self._changed
        while True:
            with changed:
                if not changed.wait_for(lambda: self._waiting, IDLE):
                    self._thread = None
                    return
                report = self._waiting.popleft()
                self._busy = True
            try:
                self._send(report)
            finally:
                with changed:
                    self._busy = False
                    changed.notify_all()

    def _send(self, report: Any) -> None:
        try:
            self.monitor.send(report)
        except (Exception, SystemExit) as error:
            self._complaints.note(error, report)
        else:
            self._complaints.settle(report)


def _call(reference: weakref.WeakMethod[Any]) -> None:
    if (method := reference()) is not None:
        method()


class _Complaints:
    """What was said about a monitor's troubles, so that it is not said again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said: dict[str, str | None] = {}
        self._since = 0.0

    def note(self, error: BaseException, report: Any) -> None:
        """Warn, unless that was done since it last worked."""
        cause = str(error) if isinstance(error, TroubleError) else _described(error)
        alone = not isinstance(error, TroubleError) or error.alone
        monitor = report.monitor if alone and report is not None else None
        key = cause if monitor is None else f"{monitor}: {cause}"
        if key in self._said:
            return
        if not self._said:
            self._since = time.monotonic()
        self._said[key] = monitor
        log.warning("monitor %s was not told%s: %s", self._name, _of(report), cause)

    def settle(self, report: Any) -> None:
        """Note that it works: for all, and for the monitor name of this report."""
        name = None if report is None else report.monitor
        over = [key for key, monitor in list(self._said.items()) if monitor in (None, name)]
        for key in over:
            self._said.pop(key, None)
        if over:
            after = time.monotonic() - self._since
            log.info("monitor %s can be told%s again, after %.0f s", self._name, _of(report), after)


def _described(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _of(report: Any) -> str:
    return "" if report is None else f" of {report.monitor!r}"
