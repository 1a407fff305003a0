"""The spool against the database, at every start of the receiver and each hour: what is durable is recorded.

A file whose bytes are not those that were received moves to the spool's folder of damaged files. Nothing is deleted but
what retention has removed on another host, which had the series. Nothing ends it before its end: what cannot be read or
recorded is told, left where it is and tried at the next start.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from covnode.errors import RowExists, TransientError
from covnode.logs import get_logger
from covnode.receive.recovery import recovered
from covnode.receive.spool import Spool, durable_files, series_folders
from covnode.records.arrival import ArrivedInstance
from covnode.store import arrivals
from covnode.wiring.node import Node
from covnode.wiring.recorder import record

_AGAIN_S = 1.0
_SECOND_S = 0.1
_SECONDS = 5
_PAGE = 10_000
# What another host has just named and not yet synced may look damaged from here.
_WRITTEN_WITHIN_S = 60.0

T = TypeVar("T")


def reconcile(node: Node, spool: Spool, stopping: threading.Event, min_age_s: float = 0.0) -> None:
    """Record what lies in the spool without a row, and report rows without a file; waits while the database is away.

    Never raises: what fails is logged, by the type of the error.

    Parameters
    ----------
    min_age_s
        Files that are younger are left to the recorder, which has just been told of them.
    """
    work = Reconciliation(node, spool, stopping, min_age_s)
    found = 0
    for folder in _guarded(partial(series_folders, node.home.spool), "spool_not_read") or ():
        if stopping.is_set():
            return
        found += _guarded(partial(work.record_folder, folder), "folder_not_reconciled", folder=_short(folder)) or 0
    missing = _guarded(work.report_missing, "missing_files_not_counted") or 0
    if not stopping.is_set():
        get_logger().info("spool_reconciled", recorded=found, missing=missing)


class Reconciliation:
    """One pass over the spool and the rows.

    Parameters
    ----------
    stopping
        Ends the waiting for a database that is away.
    min_age_s
        As for `reconcile`.
    """

    def __init__(self, node: Node, spool: Spool, stopping: threading.Event, min_age_s: float) -> None:
        self._node = node
        self._spool = spool
        self._stopping = stopping
        self._min_age_s = min_age_s

    def record_folder(self, folder: str) -> int:
        """Record what lies in one folder without a row; return how many instances that were."""
        names = durable_files(self._node.home.spool, folder)
        unknown = self._patiently(partial(self._unrecorded, folder, names)) or []
        left_s = self._patiently(partial(self._left_behind, folder)) or 0.0 if unknown else 0.0
        found, unread = [], Counter[str]()
        for name in unknown:
            path = self._node.home.spool / name
            try:
                written_s = path.stat().st_mtime
                age_s = time.time() - written_s
                if age_s < self._min_age_s:
                    continue
                if written_s < left_s:
                    path.unlink()
                    continue
                instance = recovered(self._spool, path, name)
                if instance is not None:
                    found.append(instance)
                elif age_s >= _WRITTEN_WITHIN_S:
                    self._set_aside(path)
            except OSError as error:
                unread[type(error).__name__] += 1
        if unread:
            get_logger().error("files_not_recovered", folder=_short(folder), errors=dict(unread))
        return self._record(found) if found else 0

    def report_missing(self) -> int:
        """Log how many files lack of which series; return how many in all."""
        lacking, unread, after_id = Counter[str](), 0, 0
        while page := self._patiently(partial(self._file_names, after_id)):
            for _, series_id, name in page:
                try:
                    (self._node.home.spool / name).stat()
                except FileNotFoundError:
                    lacking[series_id] += 1
                except OSError:
                    unread += 1
            after_id = page[-1][0]
        for series_id, count in sorted(lacking.items()):
            get_logger().error("files_missing", series_id=series_id, instances=count)
        if unread:
            get_logger().error("files_not_read", instances=unread)
        return lacking.total()

    def _record(self, found: list[ArrivedInstance]) -> int:
        try:
            series_ids = self._patiently(partial(self._write, found)) or []
        except Exception as error:  # noqa: BLE001 (one instance that cannot be written must not hold up the others)
            get_logger().error("batch_not_recovered", instances=len(found), error=type(error).__name__)
            series_ids = []
            for instance in found:
                alone = partial(self._patiently, partial(self._write, [instance]))
                recorded: list[str] | None = _guarded(alone, "instance_not_recovered")
                series_ids += recorded or []
        if series_ids:
            get_logger().warning("instances_recovered", series=sorted(set(series_ids)), instances=len(series_ids))
        return len(series_ids)

    def _patiently(self, step: Callable[[], T]) -> T | None:
        """Take a step when the database is there; None when we are to stop before that."""
        seconds = 0
        while not self._stopping.is_set():
            try:
                return step()
            except RowExists:
                # Another process was first, and its rows are there now; but not for ever.
                seconds += 1
                if seconds >= _SECONDS:
                    raise
                self._stopping.wait(_SECOND_S)
            except TransientError:
                self._stopping.wait(_AGAIN_S)
        return None

    def _unrecorded(self, folder: str, names: list[str]) -> list[str]:
        with self._node.transaction() as session:
            return arrivals.unrecorded(session, folder, names, self._node.spool)

    def _write(self, found: list[ArrivedInstance]) -> list[str]:
        with self._node.transaction() as session:
            return record(self._node, session, found)

    def _file_names(self, after_id: int) -> list[tuple[int, str, str]]:
        with self._node.transaction() as session:
            return arrivals.file_names(session, after_id, _PAGE, self._node.spool)

    def _left_behind(self, folder: str) -> float:
        """Return until when files of a folder may be removed here: another host had the series, and so has done."""
        if self._node.spool is None:
            return 0.0
        with self._node.transaction() as session:
            removed_at = arrivals.left_behind(session, folder, self._node.spool)
        return removed_at.timestamp() - _WRITTEN_WITHIN_S if removed_at is not None else 0.0

    def _set_aside(self, path: Path) -> None:
        self._node.home.damaged.mkdir(mode=0o700, exist_ok=True)
        target = self._node.home.damaged / f"{path.parent.name[:16]}-{path.name}"
        path.rename(target)
        get_logger().error("damaged_file_set_aside", file=target.name)


def _guarded(step: Callable[[], T], event: str, **values: str) -> T | None:
    try:
        return step()
    except Exception as error:  # noqa: BLE001 (the edge: no file, folder or row may end the start of the receiver)
        get_logger().error(event, error=type(error).__name__, **values)
        return None


def _short(folder: str) -> str:
    """Return enough of a folder's name, a keyed digest or a series id, to find it."""
    return folder[:16]
