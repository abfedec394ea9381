"""The stack on which this thread hears signals."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def stack() -> Stack:
    """What is set; on other systems nothing is known, and nothing changed."""
    found = Stack()
    if sys.platform == "linux":
        ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found


@contextmanager
def kept() -> Iterator[None]:
    """What is called inside may set another; it is put back. OpenVINO does, and frees its own when a network goes: the
    next signal, Ctrl-C for one, would then end the process by a segmentation fault."""
    before = stack()
    try:
        yield
    finally:
        if sys.platform == "linux":
            ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)
