"""Raising an exception in another thread, and taking one back that was not delivered.

Here is the only use of ``PyThreadState_SetAsyncExc``. Python delivers such an exception when the
thread next executes a line of Python.
"""

from __future__ import annotations

import ctypes
import threading

from ..run import TaskInterrupted

raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc
raise_in_thread.argtypes = (ctypes.c_ulong, ctypes.py_object)


class _CancelAsyncException(BaseException):
    """Takes the place of an exception that is to be raised in this thread, and is raised."""


def clear_pending_interrupt() -> None:
    """See to it that no exception is pending in this thread.

    It has to be raised for that: one that is only taken back leaves its mark on the interpreter.
    Python 3.11 then slows down, and where it traces, as a debugger does, hangs.
    """
    while True:
        try:
            raise_in_thread(threading.get_ident(), ctypes.py_object(_CancelAsyncException))
            while True:
                pass
        except _CancelAsyncException:
            return
        except TaskInterrupted:
            continue  # delivered at the last moment
