"""Series of small phantoms, each a study of its own, pushed as a modality would: until every instance is answered for.

Made of covnode.learn's phantoms; goes to the node by C-STORE or STOW-RS. What it answers with Success is what must not
be lost.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import CTImageStorage, generate_uid

from covnode.chaos.points import Need
from covnode.chaos.requests import ask_to_commit, store_by_http
from covnode.deliver.scu import send
from covnode.dicom.association import Destination
from covnode.errors import DeliveryRefused, TransientError
from covnode.learn.phantom import make_phantom, write_phantom
from covnode.learn.phantom_records import Phantom, PhantomPreset

_SLICES = 12
_SIZE = 64
_BODIES = 4
_TOO_FEW = 4
_AGAIN_S = 0.3
_ANSWER_S = 20.0
LOOPBACK = "127.0.0.1"


@dataclass
class PushedSeries:
    """One series on its way into the node.

    Attributes
    ----------
    files
        By SOP Instance UID, in the order in which they are sent.
    by_stow
        Sent by STOW-RS, and not by C-STORE.
    transaction_uid
        Of the storage commitment that is asked for once all is sent; None: it is not.
    is_asked_for
        Whether the node took that request, or there is none to make.
    answered
        SOP Instance UIDs that the node answered for with Success.
    refusals
        How often an association ended before everything was answered.
    settled_at_s
        When it was seen first that it came to its end.
    """

    number: int
    study_uid: str
    files: dict[str, Path]
    by_stow: bool = False
    transaction_uid: str | None = None
    pushed_at_s: float = field(default_factory=time.monotonic)
    answered: set[str] = field(default_factory=set)
    is_asked_for: bool = False
    refusals: int = 0
    settled_at_s: float | None = None


@dataclass(frozen=True)
class Doors:
    """Where the node takes instances in.

    Attributes
    ----------
    stow_port
        Of STOW-RS; 0: it does not listen for that.
    commitment_ae_title
        Who asks for storage commitment, and is told at its own address.
    """

    ae_title: str
    port: int
    stow_port: int
    commitment_ae_title: str

    @property
    def dicom(self) -> Destination:
        """As an SCU wants it."""
        return Destination("node", self.ae_title, LOOPBACK, self.port, _ANSWER_S)


@cache
def _body(seed: int) -> Phantom:
    return make_phantom(PhantomPreset.COVID_SEVERE, slices=_SLICES, seed=seed, size=_SIZE)


class Modality:
    """Makes series and pushes them; its methods may be called by several threads.

    Parameters
    ----------
    numbers
        Of the series.
    """

    def __init__(self, folder: Path, doors: Doors, numbers: Iterator[int], stopping: threading.Event) -> None:
        self._folder = folder
        self._doors = doors
        self._numbers = numbers
        self._stopping = stopping
        self.series: list[PushedSeries] = []

    def make(self, need: Need = Need.SERIES) -> PushedSeries:
        """Write a series to disk, of the kind that a point needs to be reached."""
        number = next(self._numbers)
        uids = (generate_uid(prefix=None, entropy_srcs=[str(self._folder), str(number), of]) for of in ("study", "ask"))
        study_uid, transaction_uid = map(str, uids)
        attributes: dict[str, object] = {"StudyInstanceUID": study_uid, "PatientID": f"CHAOS-{number}"}
        if need is Need.REFUSED_SERIES:
            attributes["BurnedInAnnotation"] = "YES"
        written = write_phantom(_body(number % _BODIES), self._folder / f"{number:04d}", attributes=attributes).dicom
        sent = written[: _TOO_FEW if need is Need.UNUSABLE_SERIES else None]
        series = PushedSeries(
            number,
            study_uid,
            {_sop_instance_uid(path): path for path in sent},
            by_stow=need is Need.STOW,
            transaction_uid=transaction_uid if need is Need.COMMITMENT else None,
        )
        self.series.append(series)
        return series

    def push(self, series: PushedSeries, *, but: int = 0) -> None:
        """Send what is not answered for yet, again and again; then have its storage committed to, if that is wanted.

        Parameters
        ----------
        but
            So many of the last instances are kept back.
        """
        wanted = list(series.files.items())[: len(series.files) - but]

        while not self._stopping.is_set():
            left = {path: uid for uid, path in wanted if uid not in series.answered}
            if not left and (but or series.is_asked_for):
                return
            try:
                self._send(series, left) if left else self._ask(series)
            except (TransientError, DeliveryRefused):
                series.refusals += 1
                self._stopping.wait(_AGAIN_S)

    def _send(self, series: PushedSeries, left: Mapping[Path, str]) -> None:
        if series.by_stow:
            series.answered |= store_by_http(self._doors.stow_port, list(left), _ANSWER_S)
        else:
            send("CHAOS", self._doors.dicom, list(left), partial(_answered, series, left))

    def _ask(self, series: PushedSeries) -> None:
        if series.transaction_uid is not None:
            classes = {uid: str(CTImageStorage) for uid in series.files}
            ask_to_commit(self._doors.commitment_ae_title, self._doors.dicom, series.transaction_uid, classes)
        series.is_asked_for = True


def _answered(series: PushedSeries, uids: Mapping[Path, str], path: Path, _status: int) -> None:
    series.answered.add(uids[path])


def _sop_instance_uid(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
