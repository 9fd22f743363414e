"""Forks between the transactions of a process, never in the middle of one.

A child has none of its parent's threads, but all that they held: locks of Python, of SQLAlchemy and
of SQLite, which keeps in memory what this process has locked in a file. Nobody in the child would
ever release that.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FORK_WAIT_SECONDS = 2.0
"""Seconds that a fork waits for transactions of other threads, which may wait for it themselves."""


class ForkGate:
    """Counts the transactions of a process; a fork waits for them, and new ones for the fork.

    ``after_fork`` is called in the child. It must not refer to what owns the gate.
    """

    def __init__(self, after_fork: Callable[[], object]) -> None:
        self._after_fork = after_fork
        self._reset()
        reference = weakref.ref(self)

        def call(method: Callable[[ForkGate], object]) -> None:
            if (gate := reference()) is not None:
                method(gate)

        os.register_at_fork(
            before=lambda: call(ForkGate._close),
            after_in_parent=lambda: call(ForkGate._open),
            after_in_child=lambda: call(ForkGate._reset_in_child),
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Let no other thread fork during the block."""
        thread = threading.get_ident()
        with self._changed:
            if not self._counts[thread]:  # else the fork would wait for this one
                self._changed.wait_for(lambda: not self._is_forking, FORK_WAIT_SECONDS)
            self._counts[thread] += 1
        try:
            yield
        finally:
            with self._changed:
                self._counts[thread] -= 1
                if not self._counts[thread]:
                    del self._counts[thread]
                self._changed.notify_all()

    @contextmanager
    def no_transactions(self) -> Iterator[None]:
        """Wait for the transactions of other threads, and let none begin during the block."""
        self._close()
        try:
            yield
        finally:
            self._open()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._counts: Counter[int] = Counter()
        self._is_forking = False

    def _close(self) -> None:
        own = threading.get_ident()
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(
                lambda: all(thread == own for thread in self._counts), FORK_WAIT_SECONDS
            )

    def _open(self) -> None:
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def _reset_in_child(self) -> None:
        self._reset()
        self._after_fork()
