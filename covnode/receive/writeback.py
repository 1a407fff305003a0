"""Hints to the kernel about a file that is written once, synced, and read by somebody else much later.

Called by spool. They promise nothing; the sync between them does.
"""

import ctypes
import os
import sys
from functools import cache

_SYNC_FILE_RANGE_WRITE = 2  # sync_file_range(2)
_HAS_ADVICE = hasattr(os, "posix_fadvise")


def start_writing(descriptor: int) -> None:
    """Have the dirty pages of an open file written, without waiting; nothing where the system knows no such hint."""
    function = _sync_file_range()
    if function is not None:
        function(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


def forget_content(descriptor: int) -> None:
    """Give the memory of an open file back once it is on the disk, for the next one; nothing where this is unknown.

    Else a scanner that pushes for an hour fills all memory with what nobody reads again before its series is complete,
    and each instance waits for some of it to be freed.
    """
    if _HAS_ADVICE:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


@cache
def _sync_file_range() -> "ctypes._NamedFuncPointer | None":
    function = getattr(ctypes.CDLL(None), "sync_file_range", None) if sys.platform == "linux" else None
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function
