"""The spool against the database, at every start of the receiver: what is durable is recorded, what lacks is told.

Nothing is deleted: a file whose bytes are not those that were received moves to the spool's folder of damaged files.
"""

import itertools
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from covnode.errors import RowExists, TransientError
from covnode.logs import get_logger
from covnode.receive.recovery import recovered
from covnode.receive.spool import Spool, durable_files
from covnode.store import arrivals
from covnode.wiring.node import Node

_AGAIN_S = 1.0


def reconcile(node: Node, spool: Spool, stopping: threading.Event) -> None:
    """Record what lies in the spool without a row, and report rows without a file; waits while the database is away."""
    found = 0
    for folder, files in itertools.groupby(durable_files(node.home.spool), lambda name: name.split("/")[0]):
        found += _patiently(partial(_record_folder, node, spool, folder, list(files)), stopping)
    missing = _patiently(partial(_report_missing, node), stopping)
    get_logger().info("spool_reconciled", recorded=found, missing=missing)


def _patiently(step: Callable[[], int], stopping: threading.Event) -> int:
    while not stopping.is_set():
        try:
            return step()
        except RowExists:
            continue
        except TransientError:
            stopping.wait(_AGAIN_S)
    return 0


def _record_folder(node: Node, spool: Spool, folder: str, names: list[str]) -> int:
    with node.transaction() as session:
        unknown = arrivals.unrecorded(session, folder, names)
    found = []
    for name in unknown:
        path = node.home.spool / name
        instance = recovered(spool, path, name)
        if instance is None:
            _set_aside(node, path)
        else:
            found.append(instance)
    if found:
        with node.transaction() as session:
            series_ids = arrivals.record(session, found, node.settings.receive.late_slices)
        get_logger().warning("instances_recovered", series=sorted(set(series_ids)), instances=len(found))
    return len(found)


def _set_aside(node: Node, path: Path) -> None:
    node.home.damaged.mkdir(mode=0o700, exist_ok=True)
    target = node.home.damaged / f"{path.parent.name[:16]}-{path.name}"
    path.rename(target)
    get_logger().error("damaged_file_set_aside", file=target.name)


def _report_missing(node: Node) -> int:
    with node.transaction() as session:
        rows = arrivals.file_names(session)
    lacking = [series_id for series_id, name in rows if not (node.home.spool / name).exists()]
    for series_id, items in itertools.groupby(sorted(lacking)):
        get_logger().error("files_missing", series_id=series_id, instances=len(list(items)))
    return len(lacking)
