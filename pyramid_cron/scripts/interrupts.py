"""Let somebody interrupt what is done in pieces, without leaving one of them half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def between_pieces() -> Iterator[Callable[[], None]]:
    """Give what is called between pieces, which raises the KeyboardInterrupt that has come since.

    A second one does not wait for it. In a thread that gets no signals, nothing is put off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    came: list[int] = []
    before: Any = signal.getsignal(signal.SIGINT)

    def put_off(number: int, _: Any) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, before)

    def may_stop() -> None:
        if came:
            raise KeyboardInterrupt

    if callable(before):
        signal.signal(signal.SIGINT, put_off)
    try:
        yield may_stop
    finally:
        signal.signal(signal.SIGINT, before)
