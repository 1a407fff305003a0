"""Writes the files of one series, and syncs them in a thread of its own while the next ones are made.

Comes from the engine with the bytes of each file; hands each path back when its file is on disk. Never keeps more
than a few files waiting, and never leaves a failure unsaid.
"""

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

_MOST_WAITING = 32  # open files: enough work to cover a sync that takes long

Parts = Iterable[bytes | memoryview]


def write_synced(files: Iterable[tuple[Path, Parts]]) -> Generator[Path, None, None]:
    """Write new files in their order; yield each path, some files later, when its file is on disk.

    Whoever ends early has to close the iterator: until then files are open, and one may be syncing.

    Raises
    ------
    OSError
        When a file cannot be written or synced.
    """
    waiting: deque[tuple[Path, BinaryIO, Future[None]]] = deque()
    with ExitStack() as opened, ThreadPoolExecutor(1, "sync") as thread:
        for path, parts in files:
            file = opened.enter_context(path.open("xb"))
            file.writelines(parts)
            file.flush()
            waiting.append((path, file, thread.submit(os.fsync, file.fileno())))
            if len(waiting) > _MOST_WAITING:
                yield _when_synced(*waiting.popleft())
        while waiting:
            yield _when_synced(*waiting.popleft())


def _when_synced(path: Path, file: BinaryIO, synced: Future[None]) -> Path:
    synced.result()
    file.close()
    return path
