"""Series of small phantoms, each a study of its own, pushed as a modality would: until every instance is answered for.

Made of covnode.learn's phantoms; goes to the node by C-STORE. What it answers with Success is what must not be lost.
"""

import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid

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


@dataclass
class PushedSeries:
    """One series on its way into the node.

    Attributes
    ----------
    files
        By SOP Instance UID, in the order in which they are sent.
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
    pushed_at_s: float = field(default_factory=time.monotonic)
    answered: set[str] = field(default_factory=set)
    refusals: int = 0
    settled_at_s: float | None = None


@cache
def _body(seed: int) -> Phantom:
    return make_phantom(PhantomPreset.COVID_SEVERE, slices=_SLICES, seed=seed, size=_SIZE)


class Modality:
    """Makes series and pushes them; its methods may be called by several threads."""

    def __init__(self, folder: Path, destination: Destination, stopping: threading.Event) -> None:
        self._folder = folder
        self._destination = destination
        self._stopping = stopping
        self._numbers = itertools.count(1)
        self.series: list[PushedSeries] = []

    def make(self, *, unusable: bool = False) -> PushedSeries:
        """Write a series to disk; an unusable one has fewer slices than an analysis takes."""
        number = next(self._numbers)
        study_uid = generate_uid(prefix=None, entropy_srcs=[str(self._folder), str(number)])
        attributes = {"StudyInstanceUID": study_uid, "PatientID": f"CHAOS-{number}"}
        written = write_phantom(_body(number % _BODIES), self._folder / f"{number:04d}", attributes=attributes).dicom
        files = {_sop_instance_uid(path): path for path in written[: _TOO_FEW if unusable else None]}
        series = PushedSeries(number, str(study_uid), files)
        self.series.append(series)
        return series

    def push(self, series: PushedSeries, *, but: int = 0) -> None:
        """Send what is not answered for yet, again and again.

        Parameters
        ----------
        but
            So many of the last instances are kept back.
        """
        wanted = list(series.files.items())[: len(series.files) - but]
        while not self._stopping.is_set():
            left = {path: uid for uid, path in wanted if uid not in series.answered}
            if not left:
                return
            try:
                send("CHAOS", self._destination, list(left), partial(_answered, series, left))
            except (TransientError, DeliveryRefused):
                series.refusals += 1
                self._stopping.wait(_AGAIN_S)


def _answered(series: PushedSeries, uids: Mapping[Path, str], path: Path, _status: int) -> None:
    series.answered.add(uids[path])


def modality_of(folder: Path, ae_title: str, port: int, stopping: threading.Event) -> Modality:
    """Return a modality that pushes to a node on the loopback address."""
    return Modality(folder, Destination("node", ae_title, "127.0.0.1", port, _ANSWER_S), stopping)


def _sop_instance_uid(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
