"""A queue of reports to one service, and the thread that delivers them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ..logs import WarnOnce
from .report import DeliveryError

MAX_WAITING_DELIVERIES = 1000
"""Deliveries that may wait for one service; further ones are dropped."""

DELIVERY_IDLE_SECONDS = 30.0
"""Seconds without a delivery after which the thread ends, until there is another one."""

log = logging.getLogger("pyramid_cron")


class Delivery(NamedTuple):
    """A report that waits."""

    #: Delivers it, or raises any error.
    send: Callable[[], object]
    #: The name that the service knows the task by; None for what concerns no task.
    monitor: str | None


class DeliveryQueue:
    """Delivers reports to one service in their order, while nobody waits for it.

    A failure is logged as a warning, once for each cause until a delivery succeeds.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Drop what waits: the parent process delivers it."""
        self._condition = threading.Condition(threading.Lock())
        self._deliveries: deque[Delivery] = deque()
        self._is_sending = False
        self._thread: threading.Thread | None = None
        self._warnings = WarnOnce()

    def put(self, send: Callable[[], object], monitor: str | None = None) -> None:
        """Have ``send`` called by the thread, soon; nothing is raised."""
        with self._condition:
            if not (is_full := len(self._deliveries) >= MAX_WAITING_DELIVERIES):
                self._deliveries.append(Delivery(send, monitor))
                self._condition.notify_all()
                self._ensure_thread()
        if is_full:
            self._warn(DeliveryError(f"{MAX_WAITING_DELIVERIES} reports wait already"), monitor)

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the queue to drain; return whether it did."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not (self._deliveries or self._is_sending), timeout
            )

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            name = f"pyramid_cron {self._service}"
            thread = threading.Thread(target=self._loop, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process ends, or has too many threads; the next put tries
                return
            self._thread = thread

    def _loop(self) -> None:
        changed = self._condition
        while True:
            with changed:
                if not changed.wait_for(lambda: self._deliveries, DELIVERY_IDLE_SECONDS):
                    self._thread = None
                    return
                delivery = self._deliveries.popleft()
                self._is_sending = True
            try:
                self._deliver(delivery)
            finally:
                with changed:
                    self._is_sending = False
                    changed.notify_all()

    def _deliver(self, delivery: Delivery) -> None:
        try:
            delivery.send()
        except (Exception, SystemExit) as error:
            self._warn(error, delivery.monitor)
            return
        seconds = self._warnings.clear(delivery.monitor)
        if seconds is not None:
            log.info("monitor %s: delivered again, after %.0f s", self._service, seconds)

    def _warn(self, error: BaseException, monitor: str | None) -> None:
        is_specific = not isinstance(error, DeliveryError) or error.is_check_specific
        cause = str(error) if isinstance(error, DeliveryError) else _describe(error)
        if self._warnings.add(cause, scope=monitor if is_specific else None):
            check = "" if monitor is None else f" for {monitor!r}"
            log.warning("monitor %s: delivery failed%s: %s", self._service, check, cause)


def _describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
