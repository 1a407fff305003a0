"""Linux's Landlock: a process gives up, for itself and all its children and for ever, to read files outside a list.

Asked by wiring.confinement and by ``covnode doctor``. Needs no right and no configuration; a rule names a file, or a
folder with all that is or will be in it. Interface: landlock(7), and Documentation/userspace-api/landlock.rst of Linux.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from covnode.errors import ConfigurationError

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1  # flag of landlock_create_ruleset: return the version of the interface
_PATH_BENEATH = 1
_READ_FILE = 1 << 2
# Moves between folders are refused unless this is handled and allowed; no move gains a file a right (version 2).
_REFER = 1 << 13
_PR_SET_NO_NEW_PRIVS = 38


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def version() -> int:
    """Return the version of the interface that the kernel offers; 0: none, or a filter of system calls hides it."""
    if sys.platform != "linux":
        return 0
    answer: int = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    return max(0, answer)


def read_only_beneath(readable: Iterable[Path]) -> None:
    """Let this thread, and every thread and process that it starts from now on, read no other file.

    Links are not followed: what they lead to is read by its own place. A place that is gone by now is left out.
    Writing, making and removing stay as they are; nobody of a process outside can be traced or looked into.

    Raises
    ------
    ConfigurationError
        The kernel refuses.
    """
    handled = _READ_FILE | (_REFER if version() > 1 else 0)
    ruleset = _called(_CREATE_RULESET, ctypes.byref(_Ruleset(handled)), ctypes.c_size_t(ctypes.sizeof(_Ruleset)), 0)
    try:
        for path in readable:
            _allow(ruleset, path, handled)
        if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise _refused()
        _called(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, handled: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        mode = os.fstat(place).st_mode
        if not stat.S_ISLNK(mode):
            rule = _PathBeneath(handled if stat.S_ISDIR(mode) else _READ_FILE, place)
            _called(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(place)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _called(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(number, *arguments)
    if result < 0:
        raise _refused()
    return result


def _refused() -> ConfigurationError:
    return ConfigurationError(f"Landlock does not work here: {os.strerror(ctypes.get_errno())}.")
