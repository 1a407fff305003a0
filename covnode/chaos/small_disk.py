"""The home of a node on a small disk that fills up while a series is on its way, and another is pushed.

The disk is a tmpfs, which only root may mount, outside of a confined container: where it cannot be, the certificate
says so.
"""

import errno
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from covnode.chaos.ground import Ground
from covnode.chaos.proof import SeriesFate

_DISK_MB = 64
_FULL_S = 6.0
_CHUNK = bytes(1 << 16)


@dataclass(frozen=True)
class DiskRun:
    """What was seen on the small disk.

    Attributes
    ----------
    not_run_because
        None: it was run.
    refusals
        How often the node took nothing while its disk was full.
    """

    not_run_because: str | None = None
    refusals: int = 0
    fates: tuple[SeriesFate, ...] = ()
    stale_writes: tuple[str, ...] = ()


def run_small_disk(ground: Ground) -> DiskRun:
    """Run the case on a node whose home is mounted, and unmounted at the end; its log lies beside it."""
    disk = ground.home
    disk.mkdir(parents=True)
    because = _mount(disk)
    if because is not None:
        return DiskRun(not_run_because=because)
    try:
        with ground:
            refusals = _fill_while_at_work(disk, ground)
            ground.wait_idle()
            fates = tuple(map(ground.fate_of, ground.modality.series))
            return DiskRun(None, refusals, fates, tuple(ground.stale_writes))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # noqa: S603, S607 (as below)


def _mount(folder: Path) -> str | None:
    """Mount a small disk; return why it cannot be, or None."""
    if os.geteuid() != 0:
        return "only root may mount a small disk"
    if shutil.which("mount") is None:
        return "there is no program mount"
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (of the system)
    return None if done.returncode == 0 else f"no small disk can be mounted: {done.stderr.strip()}"


def _fill_while_at_work(disk: Path, ground: Ground) -> int:
    """Fill the disk when a series has been answered for, push another, and make room again; return the refusals."""
    on_its_way, refused = ground.modality.make(), ground.modality.make()
    ground.modality.push(on_its_way)
    ballast = disk / "ballast"
    _fill(ballast)
    pusher = threading.Thread(target=ground.modality.push, args=(refused,), daemon=True)
    pusher.start()
    ground.stopping.wait(_FULL_S)
    ballast.unlink()
    pusher.join(ground.patience_s)
    return refused.refusals


def _fill(ballast: Path) -> None:
    """Take all the room that there is."""
    try:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(_CHUNK)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
