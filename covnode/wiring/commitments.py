"""Storage commitment in the receiver process: looks what is durable, and has the report given until it is taken.

Comes from a door, as a message and a file; goes to the peer that asked, or back to the door where the asking AE is no
peer of the configuration. A request's file leaves its folder by a report that was taken, or for ``given-up``.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from covnode.deidentify.keys import Digests
from covnode.dicom.association import Destination
from covnode.errors import CovnodeError, DeliveryRefused, TransientError
from covnode.logs import get_logger
from covnode.receive.commitment import REQUEST_SUFFIX, CommitmentRequest, read_request
from covnode.receive.commitment_report import (
    Report,
    deliver_to,
    report_file,
    write_report,
)
from covnode.records.arrival import CommitmentAsked
from covnode.wiring.commitment_verdicts import Verdicts
from covnode.wiring.node import Node

GIVEN_UP = "given-up"
_ROWS_FOLLOW_WITHIN_S = 3.0
_TICK_S = 0.1
_LONGEST_PAUSE_S = 3600.0
_PEERS_AT_A_TIME = 8

_NO_WAY = "its association is closed and no peer has this AE title: 'covnode peer add', then restart the node"

AskDoor = Callable[[str, str], bool]
"""(association id, file name) -> whether a door has that association and was asked to report on it."""

SendReport = Callable[[str, Destination, Report], None]
"""(our AE title, peer, report); TransientError or DeliveryRefused where it was not taken."""


def no_door(_association_id: str, _file_name: str) -> bool:
    """Answer for a receiver without doors: the association is gone."""
    return False


class _Outcome(Enum):
    DONE = "done"
    ASKED = "a door was asked to report"
    NO_WAY = "neither a peer nor an open association"
    POSTPONED = "the peer did not take it"


@dataclass
class _Waiting:
    """A request whose report is due; times on the monotonic clock.

    Attributes
    ----------
    rows_until_s
        Until then a row may still follow its Success.
    asked_s
        How long a door is given next to report on its association.
    """

    path: Path
    rows_until_s: float = 0.0
    due_s: float = 0.0
    give_up_at_s: float = 0.0
    asked_s: float = 1.0


@dataclass
class _Line:
    """The requests of one AE title, in their order: one peer that is away delays no other."""

    waiting: list[_Waiting] = field(default_factory=list)
    thread: threading.Thread | None = None

    def due(self) -> _Waiting | None:
        now_s = time.monotonic()
        return next((item for item in self.waiting if item.due_s <= now_s), None)

    def works(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class Commitments:
    """Gives the report of every request; ``put`` new ones, ``run`` on a thread of its own.

    Start ``run`` after the spool was reconciled with the database: what lies in the folder then is taken up again.

    Parameters
    ----------
    ask_door
        Has a door report on the association that the request came on (``CommitmentScp.report_on_same``). It may say yes
        and find the association closed.
    """

    def __init__(self, node: Node, digest: Digests, ask_door: AskDoor = no_door, send: SendReport = deliver_to) -> None:
        self._node = node
        self._folder = node.home.commitments
        self._verdicts = Verdicts(node, digest)
        self._ask_door = ask_door
        self._send = send
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()
        self._log = get_logger()

    def put(self, asked: CommitmentAsked) -> None:
        """Take a request that a door has just kept."""
        self._take(_Waiting(self._folder / asked.file_name, time.monotonic() + _ROWS_FOLLOW_WITHIN_S))

    def take_over(self, folder: Path) -> None:
        """Take the requests that another receiver kept in its folder and is to report on no more."""
        for path in sorted(folder.glob(f"*{REQUEST_SUFFIX}"), key=_age):
            mine = self._folder / path.name
            # What cannot be moved now stays where it is, for the next start.
            with contextlib.suppress(OSError):
                path.rename(mine)
                self._take(_Waiting(mine))

    def run(self, stopping: threading.Event) -> None:
        """Give reports until asked to stop; what is open then is taken up at the next start."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._folder.glob(f"*{REQUEST_SUFFIX}"), key=_age):
            self._take(_Waiting(path))
        while not stopping.wait(_TICK_S):
            self._start_due()

    def _take(self, new: _Waiting) -> None:
        try:
            request = read_request(new.path)
        except FileNotFoundError:
            return
        except ValueError:
            self._give_up(new.path, "the file is no request: its write was cut short before anybody was answered")
            return
        except OSError as error:
            # The file stays where it is, for the next start.
            self._log.error("commitment_unreadable", request=new.path.stem, error=type(error).__name__)
            return
        left_s = request.asked_at_s + self._node.settings.commitment.give_up_after_s - time.time()
        new.give_up_at_s = time.monotonic() + left_s
        with self._lock:
            line = self._lines.setdefault(request.calling_ae_title, _Line())
            if all(item.path != new.path for item in line.waiting):
                line.waiting.append(new)

    def _start_due(self) -> None:
        with self._lock:
            self._lines = {name: line for name, line in self._lines.items() if line.waiting or line.works()}
            working = sum(line.works() for line in self._lines.values())
            for ae_title, line in self._lines.items():
                if working < _PEERS_AT_A_TIME and not line.works() and line.due():
                    # A daemon: the stop of the process does not wait for a peer's answer.
                    line.thread = threading.Thread(target=self._serve, args=(line,), name=ae_title, daemon=True)
                    line.thread.start()
                    working += 1

    def _serve(self, line: _Line) -> None:
        """Give what is due, up to the first report that the peer does not take."""
        while True:
            with self._lock:
                item = line.due()
            if item is None:
                return
            try:
                outcome = self._report(item)
            except Exception as error:  # noqa: BLE001 (the edge of the thread: one request must not end the others)
                self._log.error("commitment_report_failed", request=item.path.stem, error=type(error).__name__)
                outcome = _Outcome.POSTPONED
            again_s = time.monotonic() + self._node.settings.commitment.retry_s
            with self._lock:
                if outcome is _Outcome.DONE:
                    line.waiting.remove(item)
                elif outcome is _Outcome.POSTPONED:
                    for waiting in line.waiting:
                        waiting.due_s = again_s
                elif outcome is _Outcome.NO_WAY:
                    # Nothing but a restart with other settings changes that, so it is only kept until its time is over.
                    item.due_s = max(again_s, item.give_up_at_s)
                else:
                    # Whether the door still has the association is seen by the files alone, and less and less likely.
                    item.due_s = time.monotonic() + item.asked_s
                    item.asked_s = min(2 * item.asked_s, _LONGEST_PAUSE_S)

    def _report(self, item: _Waiting) -> _Outcome:
        try:
            request = read_request(item.path)
        except FileNotFoundError:
            # The door has removed it: its peer took the report.
            self._forget(item.path)
            return _Outcome.DONE
        try:
            outcome, reason = self._give(item.path, request, self._verdicts.on(request, item.rows_until_s))
        except CovnodeError as error:
            outcome, reason = _Outcome.POSTPONED, str(error)
        if outcome is _Outcome.DONE:
            return outcome
        if time.monotonic() >= item.give_up_at_s:
            self._give_up(item.path, reason)
            return _Outcome.DONE
        if outcome is not _Outcome.ASKED:
            ae_title = request.calling_ae_title
            self._log.warning("commitment_report_postponed", request=item.path.stem, ae_title=ae_title, reason=reason)
        return outcome

    def _give(self, path: Path, request: CommitmentRequest, report: Report) -> tuple[_Outcome, str]:
        """Report to the peer of that AE title, else on the association that the request came on; say why not."""
        peer = self._peer(request.calling_ae_title)
        outcome, reason = _Outcome.NO_WAY, _NO_WAY
        if peer is not None:
            try:
                self._send(self._node.settings.node.ae_title, peer, report)
            except (TransientError, DeliveryRefused) as error:
                outcome, reason = _Outcome.POSTPONED, str(error)
            else:
                self._forget(path)
                figures = {"stored": len(report.stored), "failed": len(report.failed)}
                self._log.info(
                    "commitment_reported", request=path.stem, ae_title=request.calling_ae_title, way="new", **figures
                )
                return _Outcome.DONE, ""
        write_report(report_file(path), report)
        if not self._ask_door(request.association_id, path.name):
            report_file(path).unlink(missing_ok=True)
        elif peer is None:
            outcome = _Outcome.ASKED
        return outcome, reason

    def _forget(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        report_file(path).unlink(missing_ok=True)

    def _peer(self, ae_title: str) -> Destination | None:
        settings = self._node.settings
        for name, peer in settings.peers_called(ae_title).items():
            return Destination(name, peer.ae_title, peer.host, peer.port, settings.deliver.timeout_s)
        return None

    def _give_up(self, path: Path, reason: str) -> None:
        folder = self._folder / GIVEN_UP
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            path.rename(folder / path.name)
            report_file(path).unlink(missing_ok=True)
        except OSError as error:
            self._log.error("commitment_not_moved", request=path.stem, error=type(error).__name__)
        self._log.error("commitment_report_given_up", request=path.stem, reason=reason, kept_in=GIVEN_UP)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
