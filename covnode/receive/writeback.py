"""A hint to the kernel to begin writing a file that is about to be synced.

Called by spool before it hashes what it has just written: the disk works meanwhile. Promises nothing; the sync that
follows does.
"""

import ctypes
import sys
from functools import cache

_SYNC_FILE_RANGE_WRITE = 2  # sync_file_range(2)


def start_writing(descriptor: int) -> None:
    """Have the dirty pages of an open file written, without waiting; nothing where the system knows no such hint."""
    function = _sync_file_range()
    if function is not None:
        function(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


@cache
def _sync_file_range() -> "ctypes._NamedFuncPointer | None":
    function = getattr(ctypes.CDLL(None), "sync_file_range", None) if sys.platform == "linux" else None
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function
