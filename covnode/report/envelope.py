"""What every result object has in common: equipment, dates, series attributes, and the file it is written to.

Comes from segmentation and structured_report; goes to disk. Never reads a clock: highdicom puts the present time and
chance UIDs into what it builds, and ``settle`` replaces them.
"""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from covnode import __version__
from covnode.records.result import DEMONSTRATION, AnalysisResult, ObjectKind
from covnode.report.codes import private_scheme
from covnode.report.uids import derived_uid, result_uids

MANUFACTURER = "covnode"
DEVICE_UID = derived_uid("covnode device")
_IMPLEMENTATION_CLASS_UID = UID(derived_uid("covnode implementation"))
_IMPLEMENTATION_VERSION = f"COVNODE_{__version__}"[:16]
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)")

_TITLES = {
    ObjectKind.SEG: "covnode segmentation",
    ObjectKind.SR: "covnode measurements",
    ObjectKind.SR_WITH_DEMONSTRATION: "covnode all figures",
}
_SERIES_NUMBERS = {ObjectKind.SEG: 9001, ObjectKind.SR: 9002, ObjectKind.SR_WITH_DEMONSTRATION: 9003}


@dataclass(frozen=True)
class Envelope:
    """Attributes of one object that do not depend on its content.

    Attributes
    ----------
    created_at
        In the time zone that the object's dates and times are in.
    states_offset
        Whether the source states that zone, so that the object states it too.
    """

    kind: ObjectKind
    sop_instance_uid: str
    series_instance_uid: str
    series_description: str
    created_at: datetime
    states_offset: bool

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments that every highdicom object takes."""
        return {
            "series_instance_uid": self.series_instance_uid,
            "series_number": _SERIES_NUMBERS[self.kind],
            "series_description": self.series_description,
            "sop_instance_uid": self.sop_instance_uid,
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": "covnode",
            "software_versions": __version__,
            "device_serial_number": DEVICE_UID.removeprefix("2.25."),
            "content_date": self.created_at.date(),
            "content_time": self.created_at.time(),
            "series_date": self.created_at.date(),
            "series_time": self.created_at.time(),
            # Sentences and restored names may hold any character; pydicom encodes them by this.
            "specific_character_set": "ISO_IR 192",
            "coding_schemes": [private_scheme()],
        }


def make_envelope(kind: ObjectKind, result: AnalysisResult, source: Dataset) -> Envelope:
    """Decide identity, date and description of one object.

    Date and time are those of the analysis, in the zone that the source states in Timezone Offset From UTC (PS3.3
    C.12.1.1), which also rules the study's own times. If the source states none they are in UTC and the object states
    no offset, since it would be read as the study's.
    """
    make_uid = result_uids(result)
    title = _TITLES[kind]
    offset = _offset(source)
    return Envelope(
        kind=kind,
        sop_instance_uid=make_uid(kind, "instance"),
        series_instance_uid=make_uid(kind, "series"),
        series_description=f"{title} - {DEMONSTRATION}" if result.demonstration else title,
        created_at=_aware(result.created_at).astimezone(offset or UTC).replace(tzinfo=None),
        states_offset=offset is not None,
    )


def settle(dataset: Dataset, envelope: Envelope, source: Dataset) -> None:
    """Replace in place whatever highdicom took from the clock, from chance or from its own identity."""
    dataset.InstanceCreationDate = envelope.created_at.strftime("%Y%m%d")
    dataset.InstanceCreationTime = envelope.created_at.strftime("%H%M%S.%f")
    if envelope.states_offset:
        dataset.TimezoneOffsetFromUTC = source.TimezoneOffsetFromUTC
    if "ContributingEquipmentSequence" in dataset:
        del dataset.ContributingEquipmentSequence
    dataset.file_meta.ImplementationClassUID = _IMPLEMENTATION_CLASS_UID
    dataset.file_meta.ImplementationVersionName = _IMPLEMENTATION_VERSION


def write_durably(dataset: Dataset, path: Path) -> None:
    """Write a Part 10 file so that ``path`` holds the whole object or is as it was."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        dataset.save_as(file, enforce_file_format=True)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _offset(source: Dataset) -> timezone | None:
    match = _OFFSET.fullmatch(str(source.get("TimezoneOffsetFromUTC", "")))
    if match is None:
        return None
    sign, hours, minutes = match.groups()
    minutes_east = int(hours) * 60 + int(minutes)
    return timezone(timedelta(minutes=-minutes_east if sign == "-" else minutes_east))
