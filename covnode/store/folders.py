"""Folders that appear whole: written under a name of their writer's own, and named when the writer's claim holds.

Called by wiring inside the transaction that records what the folder is for.
"""

import shutil
from pathlib import Path

from covnode.disk import sync_folder


def unpublished(folder: Path, writer: str) -> Path:
    """Return where a writer makes what is to become ``folder``; no other writer uses it."""
    return folder.with_name(f".{folder.name}.{writer}")


def publish(made: Path, folder: Path) -> None:
    """Give a folder, whose files are durable, its name, durably.

    What a transaction that failed left there makes way, and so does what other writers began.

    Raises
    ------
    OSError
        It cannot be renamed.
    """
    if folder.exists():
        shutil.rmtree(unpublished(folder, "stale"), ignore_errors=True)
        folder.rename(unpublished(folder, "stale"))
    made.rename(folder)
    for left in [*folder.parent.glob(f".{folder.name}.*"), *folder.parent.glob(f"..{folder.name}.*")]:
        shutil.rmtree(left, ignore_errors=True)
    sync_folder(folder.parent)


def remove_unpublished(parent: Path, writer: str) -> None:
    """Remove what a writer began in ``parent`` and will not end."""
    for left in [*parent.glob(f".*.{writer}"), *parent.glob(f"..*.{writer}.draft")]:
        shutil.rmtree(left, ignore_errors=True)
