"""Removes the files of series that have come to their end, as long afterwards as the settings say; nothing else.

Runs in the receiver once an hour, and as ``covnode housekeeping run``. It is never a way to make room: a full disk
closes the gate, and removes nothing. The database is marked first, then files are removed: whoever misses one finds
why, and what a killed run left is removed by the next. Rows and identities stay.
"""

import contextlib
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from covnode.clock import utc_now
from covnode.disk import sync_folder
from covnode.errors import StaleClaim, TransientError
from covnode.home import Home
from covnode.logs import get_logger
from covnode.sections import RetentionSettings
from covnode.store import retention
from covnode.store.retention import End, Files, Standing
from covnode.wiring.node import Node

_PAGE = 500
_ASIDE = ".removing"
# A file that a sender has just repeated: its Success is given, and its row is on the way.
_YOUNG_S = 300.0

Progress = Callable[[int], None]
"""Told how many series were looked at."""


class Outcome(NamedTuple):
    """What became, or would become, of the files of one series.

    Attributes
    ----------
    removed
        False: they stay, and ``why`` says why.
    size_bytes
        Of the files; 0 where they stay.
    """

    series_id: str
    removed: bool
    size_bytes: int
    why: str


def lock_of(home: Home) -> Path:
    """Return the file that keeps retention and backups apart."""
    return home.spool / "retention.lock"


@contextlib.contextmanager
def nothing_removed(home: Home) -> Iterator[None]:
    """Keep retention from removing anything; waits until it has ended what it is at."""
    with _locked(home, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def _locked(home: Home, operation: int) -> Iterator[None]:
    # Beside the files that it is about, whoever else works on them.
    descriptor = os.open(lock_of(home), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def retain(node: Node, stopping: threading.Event) -> None:
    """Do what is due; never raises: what fails is logged and done at the next run."""
    policy = node.settings.retention
    if not policy.delivered_days and not policy.without_result_days:
        return
    try:
        for outcome in Retention(node).run(stopping):
            if outcome.removed:
                get_logger().info("files_removed", series_id=outcome.series_id, size_bytes=outcome.size_bytes)
    except BlockingIOError:
        get_logger().info("retention_postponed", reason="a backup is being made, or another run is under way")
    except TransientError as error:
        get_logger().warning("retention_postponed", reason=str(error))
    except Exception as error:  # noqa: BLE001 (the edge of the thread)
        get_logger().error("retention_failed", error=type(error).__name__)


@dataclass(frozen=True)
class Retention:
    """The policy of the settings, carried out on one home."""

    node: Node

    def run(self, stopping: threading.Event | None = None, progress: Progress | None = None) -> Iterator[Outcome]:
        """Remove what is due, series by series.

        Raises
        ------
        BlockingIOError
            A backup is being made, or another run is under way.
        TransientError
            The database is away.
        """
        with _locked(self.node.home, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for standing in self._held(stopping, progress):
                kept = self._kept_because(standing)
                yield self._stays(standing, kept) if kept else self._remove(standing)

    def foretell(self, progress: Progress | None = None) -> Iterator[Outcome]:
        """Say what a run would remove now, and why the rest stays."""
        for standing in self._held(None, progress):
            kept = self._kept_because(standing)
            if kept:
                yield self._stays(standing, kept)
                continue
            with self.node.transaction() as session:
                files = retention.files_of(session, standing.series_id)
            yield Outcome(standing.series_id, True, self._size(standing.series_id, files), standing.why)  # noqa: FBT003

    def _held(self, stopping: threading.Event | None, progress: Progress | None) -> Iterator[Standing]:
        last, looked_at = "", 0
        while True:
            with self.node.transaction() as session:
                page = retention.held(session, last, _PAGE, self.node.spool)
            for standing in page:
                if stopping is not None and stopping.is_set():
                    return
                yield standing
                looked_at += 1
                if progress is not None:
                    progress(looked_at)
            if not page:
                return
            last = page[-1].series_id

    def _kept_because(self, standing: Standing) -> str:
        """Return why the files stay (empty: they are due)."""
        if standing.end is None:
            return f"it {standing.why}"
        due = due_at(standing, self.node.settings.retention)
        if due is None:
            return f"it {standing.why}: retention.{standing.end}_days is 0, for ever"
        return f"it {standing.why}: until {due:%Y-%m-%d %H:%M} UTC" if due > utc_now() else ""

    @staticmethod
    def _stays(standing: Standing, why: str) -> Outcome:
        return Outcome(standing.series_id, removed=False, size_bytes=0, why=why)

    def _remove(self, standing: Standing) -> Outcome:
        series_id = standing.series_id
        marked_at = utc_now()
        with self.node.transaction() as session:
            row = retention.lock(session, series_id)
            # Looked at anew, now that nobody changes it.
            now = standing if row is None else retention.standing(session, row)
            kept = "it was removed" if row is None else self._kept_because(now)
            if row is None or kept:
                return self._stays(standing, kept)
            row.files_removed_at = marked_at
            files = retention.files_of(session, series_id)
        size_bytes = self._size(series_id, files)
        try:
            came_back = self._delete(series_id, files)
            if came_back:
                return self._stays(standing, f"{came_back} of its files were just sent again")
            with self.node.transaction() as session:
                retention.note_removed(session, series_id, marked_at)
        except StaleClaim:
            return self._stays(standing, "its files were just sent again")
        except OSError as error:
            get_logger().error("files_not_removed", series_id=series_id, error=type(error).__name__)
            return self._stays(standing, f"its files cannot be removed ({error.strerror}): tried again in an hour")
        return Outcome(series_id, removed=True, size_bytes=size_bytes, why=standing.why)

    def _delete(self, series_id: str, files: Files) -> int:
        """Remove all that the series left on disk and in the store; return how many received files just came again."""
        self.node.handover.remove(series_id)
        for folder in self._folders(series_id, files):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
        for parent in (self.node.home.deidentified, self.node.home.results, self.node.home.outbox):
            sync_folder(parent)
        received = [self.node.home.spool / name for name in files.received]
        came_back = sum([_is_back(path) for path in received])
        for folder in {path.parent for path in received}:
            with contextlib.suppress(FileNotFoundError):
                sync_folder(folder)
                # Other parts of the series may have files in it.
                with contextlib.suppress(OSError):
                    folder.rmdir()
        return came_back

    def _folders(self, series_id: str, files: Files) -> list[Path]:
        home = self.node.home
        return [
            *home.deidentified.glob(f"{series_id}-r*"),
            *home.deidentified.glob(f".{series_id}-r*"),
            *(home.results / analysis_id for analysis_id in files.analysis_ids),
            *(home.outbox / delivery_id for delivery_id in files.delivery_ids),
        ]

    def _size(self, series_id: str, files: Files) -> int:
        inside = [path for folder in self._folders(series_id, files) for path in folder.rglob("*")]
        received = (self.node.home.spool / name for name in files.received)
        return self.node.handover.size_bytes(series_id) + sum(_size_of(path) for path in (*received, *inside))


def due_at(standing: Standing, policy: RetentionSettings) -> datetime | None:
    """Return when the files of a series that has ended are due; None: never."""
    days = {End.DELIVERED: policy.delivered_days, End.WITHOUT_RESULT: policy.without_result_days}
    wanted = days[standing.end] if standing.end is not None else 0.0
    return standing.since + timedelta(days=wanted) if wanted > 0 else None


def _is_back(path: Path) -> bool:
    """Remove a received file, unless its sender has just repeated it: then say so, and leave it.

    Moved aside first: a door that finds a file there touches it by its name before it answers Success. So either the
    touch is seen here, or the door finds nothing and writes the file anew.
    """
    aside = path.with_suffix(_ASIDE)
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
    try:
        is_young = time.time() - aside.stat().st_mtime < _YOUNG_S
    except FileNotFoundError:
        return False
    if is_young:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()
    return is_young


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
