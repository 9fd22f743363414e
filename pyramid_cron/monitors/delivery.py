"""A queue of reports to one monitor, and the thread that sends them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from typing import Any

from .report import DeliveryError

MAX_WAITING_REPORTS = 1000
"""How many reports may wait for one monitor; what comes then is dropped."""

DELIVERY_IDLE_SECONDS = 30.0
"""Seconds without a report after which the thread ends, until it is needed again."""

log = logging.getLogger("pyramid_cron")


class DeliveryQueue:
    """Sends reports to one monitor in the order they come, without anybody waiting for it.

    What goes wrong is a warning, and said once for each cause until it works again.
    """

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor
        self._warnings = WarnOnce(monitor.name)
        self._reset()
        # Reports that wait at a fork are the parent's to send, and its thread stays there.
        begin = weakref.WeakMethod(self._reset)
        os.register_at_fork(after_in_child=lambda: _call_weak_method(begin))

    def _reset(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._reports: deque[Any] = deque()
        self._is_sending = False
        self._thread: threading.Thread | None = None

    def put(self, report: Any) -> None:
        """Have a report sent, soon; there is nothing that can go wrong with that."""
        with self._condition:
            if not (full := len(self._reports) >= MAX_WAITING_REPORTS):
                self._reports.append(report)
                self._condition.notify_all()
                self._ensure_thread()
        if full:
            self._warnings.warn(
                DeliveryError(f"{MAX_WAITING_REPORTS} reports wait already"), report
            )

    def flush(self, timeout: float) -> bool:
        """Wait until nothing waits to be sent, or so many seconds; return which of both."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not (self._reports or self._is_sending), timeout
            )

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            name = f"pyramid_cron {self.monitor.name}"
            thread = threading.Thread(target=self._loop, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process ends, or has too many threads; the next one tries
                return
            self._thread = thread

    def _loop(self) -> None:
        changed = self._condition
        while True:
            with changed:
                if not changed.wait_for(lambda: self._reports, DELIVERY_IDLE_SECONDS):
                    self._thread = None
                    return
                report = self._reports.popleft()
                self._is_sending = True
            try:
                self._send(report)
            finally:
                with changed:
                    self._is_sending = False
                    changed.notify_all()

    def _send(self, report: Any) -> None:
        try:
            self.monitor.send(report)
        except (Exception, SystemExit) as error:
            self._warnings.warn(error, report)
        else:
            self._warnings.clear(report)


def _call_weak_method(reference: weakref.WeakMethod[Any]) -> None:
    if (method := reference()) is not None:
        method()


class WarnOnce:
    """What was said about a monitor's troubles, so that it is not said again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._monitor_by_cause: dict[str, str | None] = {}
        self._failing_since = 0.0

    def warn(self, error: BaseException, report: Any) -> None:
        """Warn, unless that was done since it last worked."""
        cause = str(error) if isinstance(error, DeliveryError) else _describe(error)
        alone = not isinstance(error, DeliveryError) or error.is_check_specific
        monitor = report.monitor if alone and report is not None else None
        key = cause if monitor is None else f"{monitor}: {cause}"
        if key in self._monitor_by_cause:
            return
        if not self._monitor_by_cause:
            self._failing_since = time.monotonic()
        self._monitor_by_cause[key] = monitor
        log.warning("monitor %s was not told%s: %s", self._name, _of_monitor(report), cause)

    def clear(self, report: Any) -> None:
        """Note that it works: for all, and for the monitor name of this report."""
        name = None if report is None else report.monitor
        over = [
            key for key, monitor in list(self._monitor_by_cause.items()) if monitor in (None, name)
        ]
        for key in over:
            self._monitor_by_cause.pop(key, None)
        if over:
            after = time.monotonic() - self._failing_since
            log.info(
                "monitor %s can be told%s again, after %.0f s",
                self._name,
                _of_monitor(report),
                after,
            )


def _describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _of_monitor(report: Any) -> str:
    return "" if report is None else f" of {report.monitor!r}"
