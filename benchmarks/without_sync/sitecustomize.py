"""Loaded by the interpreter of the receiver without sync: nothing may be given to the disk early, as nothing is synced.

eatmydata takes the syncs away; POSIX_FADV_DONTNEED, which forgets what is on the disk, would have the rest written.
"""

import os

del os.posix_fadvise
