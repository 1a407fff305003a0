"""A PACS that counts: every C-STORE that it answers for, with a digest of its bytes and what it was made of.

It also hears what the node commits to store: requests are made under its name.

Lives in the chaos's own process, so that what it holds outlives whatever happens to the node.
"""

import hashlib
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial

from pydicom import Dataset
from pydicom.uid import SegmentationStorage
from pynetdicom import AE, StoragePresentationContexts, evt

from covnode.chaos.pushes import LOOPBACK, PushedSeries
from covnode.dicom.dimse import STORAGE_COMMITMENT, SUCCESS, VERIFICATION


@dataclass(frozen=True)
class StoredObject:
    """One C-STORE.

    Attributes
    ----------
    sha256
        Of the data set as it came.
    made_of
        SOP Instance UIDs of the images that the object names as its source.
    at_s
        Of the machine's monotonic clock.
    """

    study_uid: str
    sop_instance_uid: str
    modality: str
    sha256: str
    made_of: frozenset[str]
    at_s: float


@dataclass
class CountingPacs:
    """A storage SCP on the loopback address that can go away and come back on the same port."""

    port: int
    ae_title: str = "CHAOS_PACS"
    _stored: list[StoredObject] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)
    _entity: AE | None = None
    _committed: defaultdict[str, set[str]] = field(default_factory=partial(defaultdict, set))

    @property
    def address(self) -> str:
        """AE@HOST:PORT."""
        return f"{self.ae_title}@{LOOPBACK}:{self.port}"

    def back(self) -> None:
        """Listen."""
        entity = AE(ae_title=self.ae_title)
        for context in StoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax))
        entity.add_supported_context(VERIFICATION)
        # The node opens the association, and is its SCP (PS3.7 D.3.3.4).
        entity.add_supported_context(STORAGE_COMMITMENT, scu_role=True, scp_role=True)
        entity.start_server(
            (LOOPBACK, self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_N_EVENT_REPORT, self._commit)],
        )
        self._entity = entity

    def away(self) -> None:
        """Listen no more, and abort what is open."""
        if self._entity is not None:
            self._entity.shutdown()
            self._entity = None

    def of_study(self, study_uid: str) -> list[StoredObject]:
        """Return what came for a study, in order."""
        with self._arrived:
            return [item for item in self._stored if item.study_uid == study_uid]

    def has_committed(self, series: PushedSeries) -> bool:
        """Whether the node has committed to store all instances that it answered for, or was not asked to."""
        with self._arrived:
            return series.transaction_uid is None or series.answered <= self._committed[series.transaction_uid]

    def wait(self, timeout_s: float) -> None:
        """Return when something has come, or after the timeout."""
        with self._arrived:
            self._arrived.wait(timeout_s)

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        item = StoredObject(
            study_uid=str(dataset.StudyInstanceUID),
            sop_instance_uid=str(dataset.SOPInstanceUID),
            modality=str(dataset.Modality),
            sha256=hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest(),
            made_of=frozenset(_sources(dataset)),
            at_s=time.monotonic(),
        )
        with self._arrived:
            self._stored.append(item)
            self._arrived.notify_all()
        return SUCCESS

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        information = event.event_information
        stored = {str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or ()}
        with self._arrived:
            self._committed[str(information.TransactionUID)] |= stored
            self._arrived.notify_all()
        return SUCCESS, None


def _sources(dataset: Dataset) -> set[str]:
    """Return the images that a Segmentation (PS3.3 C.12.4) or a report (PS3.3 C.17.2.3) says that it was made of.

    A report also names the Segmentation that it was made with.
    """
    series = list(dataset.get("ReferencedSeriesSequence") or ())
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ():
        series += study.ReferencedSeriesSequence
    return {
        str(item.ReferencedSOPInstanceUID)
        for one in series
        for item in one.get("ReferencedInstanceSequence") or one.get("ReferencedSOPSequence") or ()
        if item.ReferencedSOPClassUID != SegmentationStorage
    }
