"""The worker reads no key, no received image and no result with its identity restored: the kernel sees to it.

Called once by the worker before it starts a thread or its child; what it starts inherits it. Landlock knows no
exceptions, so everything is allowed one by one that lies beside the path to the home folder, and inside the home what
the worker works with. Files that others make beside that path later are closed to the worker too: so its temporary
files lie in a folder of the home, and a connection is kept that keeps SQLite's files where they are.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

import covnode
from covnode.home import Home
from covnode.logs import get_logger
from covnode.wiring import landlock
from covnode.wiring.node import Node

WAY_OUT = (
    "run the worker as another user of the system who reads neither keys/ nor spool/, or in a unit of its own with "
    "InaccessiblePaths=: see deploy/systemd"
)
"""What stands in for the kernel where it has no Landlock."""

_held: list[sa.Connection] = []


def confine(node: Node, slot: int) -> None:
    """Give up to read what identifies a patient, or log once that the kernel offers no way to.

    Parameters
    ----------
    slot
        Which of several workers of this home: each has temporary files of its own.

    Raises
    ------
    ConfigurationError
        The kernel has Landlock and refuses: a confinement that was promised is not left out in silence.
    """
    if not landlock.version():
        get_logger().warning("worker_not_confined", reason="the kernel has no Landlock", way_out=WAY_OUT)
        return
    node.home.scratch.mkdir(mode=0o700, exist_ok=True)
    _keep_temporary_files_in(node.home.scratch / f"worker-{slot}")
    landlock.read_only_beneath(readable(node.home, _files_of(node.engine)))
    get_logger().info("worker_confined", landlock=landlock.version())


def readable(home: Home, database: list[Path]) -> Iterator[Path]:
    """Yield the places that the worker may read, with all that is in them: none that holds an identity or a key."""
    secret = {path.resolve() for path in (home.keys.parent, home.spool, home.outbox, home.config)}
    yield from _beside(Path("/"), secret | {home.root})
    yield from database
    work = (home.deidentified, home.results, home.models, home.scratch)
    # Whoever keeps the program inside the home can still run it.
    program = (*sys.path, sys.prefix, sys.base_prefix, str(Path(covnode.__file__).parent))
    for path in (*(each.resolve() for each in work), *(Path(each).resolve() for each in program)):
        if not any(path.is_relative_to(each) or each.is_relative_to(path) for each in secret):
            yield path


def _beside(folder: Path, closed: set[Path]) -> Iterator[Path]:
    """Yield what lies in a folder and in those on the way to a closed place, but neither these nor that place."""
    try:
        entries = sorted(Path(entry.path) for entry in os.scandir(folder))
    except OSError:
        return
    for path in entries:
        if path in closed:
            continue
        if any(each.is_relative_to(path) for each in closed):
            yield from _beside(path, closed)
        else:
            yield path


def _files_of(engine: sa.Engine) -> list[Path]:
    """Return SQLite's files, held open: the log and its index are made anew only when nobody has them open."""
    if engine.dialect.name != "sqlite" or engine.url.database is None:
        return []
    held = engine.connect()
    held.execute(sa.text("SELECT 1 FROM alembic_version")).close()
    held.rollback()
    _held.append(held)
    database = Path(engine.url.database).resolve()
    return [database, *(database.with_name(f"{database.name}-{part}") for part in ("wal", "shm"))]


def _keep_temporary_files_in(folder: Path) -> None:
    """Use a folder of the home, emptied of what a killed worker left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    # As variables, so that children and native libraries follow.
    os.environ.update(TMPDIR=str(folder), XDG_CACHE_HOME=str(folder), CUDA_CACHE_PATH=str(folder / "cuda"))
    tempfile.tempdir = str(folder)
