"""Instances that a door has made durable in the spool, with their files."""

import io

from pydicom import Dataset, dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from covnode.receive.file_meta import StoreCommand
from covnode.receive.spool import Spool
from covnode.records.arrival import ArrivedInstance

ROOT = "1.2.826.0.1.3680043.9"


def keep(spool: Spool, number: int, series: int = 1) -> ArrivedInstance:
    """Make an instance durable, as a door does, and return what the door would have told."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{ROOT}.3.{series}.{number}"
    ds.StudyInstanceUID = f"{ROOT}.1"
    ds.SeriesInstanceUID = f"{ROOT}.2.{series}"
    ds.PatientID = "MRN"
    ds.PatientName = "DOE^JANE"
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    file = spool.begin(StoreCommand(CTImageStorage, ds.SOPInstanceUID, ExplicitVRLittleEndian, "CT"))
    file.write(buffer.getvalue())
    kept = file.keep()
    file.close()
    return kept
