"""Reads what must be known of the originals before any of them is rewritten.

Comes from the files of the spool; goes to the engine. Refuses a series that is not one patient's, or whose headers
say that its pixels may show text; never quotes a value.
"""

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from covnode.deidentify import suspicion
from covnode.deidentify.elements import PIXEL_DATA, Element, Part10, UnreadableError, elements, open_part10
from covnode.deidentify.options import BurnedInText
from covnode.deidentify.values import is_uid, strip
from covnode.dicom.reading import MALFORMED, quietly
from covnode.errors import DeidentificationRefused
from covnode.records.series import ReceivedInstance

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_PATIENT_NAME, _PATIENT_ID, _ISSUER = 0x00100010, 0x00100020, 0x00100021
_STUDY_UID, _SERIES_UID, _FRAME_OF_REFERENCE_UID = 0x0020000D, 0x0020000E, 0x00200052
_WANTED = suspicion.WANTED | {
    *(_SOP_CLASS_UID, _SOP_INSTANCE_UID, _PATIENT_NAME, _PATIENT_ID, _ISSUER),
    *(_STUDY_UID, _SERIES_UID, _FRAME_OF_REFERENCE_UID),
}
_SAME_IN_SERIES = {
    _PATIENT_ID: "PatientID",
    _ISSUER: "IssuerOfPatientID",
    _PATIENT_NAME: "PatientName",
    _STUDY_UID: "StudyInstanceUID",
    _SERIES_UID: "SeriesInstanceUID",
}
_OVERLAY_GROUPS, _OVERLAY_BITS_ALLOCATED, _OVERLAY_DATA = 0x60, 0x0100, 0x3000

Root = tuple[Part10, tuple[Element, ...]]
"""A file, mapped into memory, and the elements of its root up to Pixel Data."""


@dataclass(frozen=True, slots=True)
class Original:
    """What is known of one original before it is rewritten (identity inside, never logged).

    Attributes
    ----------
    frame_of_reference_uid
        Empty when the original names none.
    frame_count
        0 where there are no pixel data.
    is_ordinary, says_text
        What its header says about text in its pixels: see suspicion.
    root
        None where the file is deflated: kept for a whole series, what it inflates to would fill the memory.
    """

    path: Path
    content_digest: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    frame_count: int
    is_ordinary: bool
    says_text: bool
    root: Root | None


def unreadable(reason: str) -> DeidentificationRefused:
    """Make the refusal of an original whose bytes are not what they promise."""
    return DeidentificationRefused(f"an instance cannot be read: {reason}", "unreadable_instance")


@contextmanager
def read_with_pydicom(reason: str) -> Iterator[None]:
    """Use pydicom without its warnings, and refuse what it cannot read.

    Raises
    ------
    DeidentificationRefused
        ``unreadable_instance``.
    OSError
        When the disk is at fault.
    """
    with quietly():
        try:
            yield
        except MALFORMED as error:
            raise unreadable(reason) from error
        except OSError as error:
            if error.errno not in {None, errno.EINVAL}:  # pydicom's own has no number; a length may lead to no place
                raise
            raise unreadable(reason) from error


def read_originals(
    instances: tuple[ReceivedInstance, ...], burned_in_text: BurnedInText = BurnedInText.QUARANTINE
) -> tuple[Original, ...]:
    """Read the root of every instance, each content once, in the order of ``content_digest``.

    Raises
    ------
    DeidentificationRefused
        ``unreadable_instance``, ``burned_in_text``, ``secondary_capture``, ``embedded_overlay`` or
        ``conflicting_identity``.
    """
    unique = {instance.content_digest: instance for instance in instances}
    if not unique:
        raise unreadable("the series has no instances")
    originals, first = [], None
    for content_digest in sorted(unique):
        path = unique[content_digest].path
        found, root = _root(path)
        suspicion.refuse_unseen(found, burned_in_text)
        if first is None:
            first = found
        _refuse_conflict(first, found)
        originals.append(_original(path, content_digest, found, root))
    return tuple(originals)


def _root(path: Path) -> tuple[dict[int, bytes], Root | None]:
    """Wanted values of the root, and of overlays their bits; the last of a repeated element counts. And the root."""
    try:
        opened = open_part10(path)
        found: dict[int, bytes] = {}
        read: list[Element] = []
        for element in elements(opened.data, opened.start, len(opened.data), opened.encoding):
            tag = element.tag
            read.append(element)
            if tag in _WANTED:
                found[tag] = strip(opened.data[element.start : element.stop])
            elif tag >> 24 == _OVERLAY_GROUPS:
                found |= _of_overlay(element, opened)
            elif tag in PIXEL_DATA:
                found[tag] = b""
                break
    except (UnreadableError, RecursionError) as error:
        raise unreadable(
            str(error) if isinstance(error, UnreadableError) else "sequences are nested too deeply"
        ) from error
    return found, None if opened.deflated else (opened, tuple(read))


def _of_overlay(element: Element, opened: Part10) -> dict[int, bytes]:
    """Tell of an overlay whether it has data of its own, or bits among those of the pixels; no other element counts."""
    number = element.tag & 0xFFFF
    if number == _OVERLAY_BITS_ALLOCATED and element.stop - element.start == 2:
        order = "<" if opened.encoding.little else ">"
        bits = struct.unpack_from(f"{order}H", opened.data, element.start)[0]
        return {element.tag: b"embedded" if bits > 1 else b""}
    return {element.tag: b""} if number in {_OVERLAY_BITS_ALLOCATED, _OVERLAY_DATA} else {}


def _refuse_conflict(first: dict[int, bytes], other: dict[int, bytes]) -> None:
    for tag, keyword in _SAME_IN_SERIES.items():
        if first.get(tag, b"").rstrip(b"^= ") != other.get(tag, b"").rstrip(b"^= "):
            raise DeidentificationRefused(f"instances of one series differ in {keyword}", "conflicting_identity")


def _original(path: Path, content_digest: str, found: dict[int, bytes], root: Root | None) -> Original:
    def uid(tag: int, name: str) -> str:
        value = found.get(tag, b"").decode("latin-1")
        if not is_uid(value):
            raise unreadable(f"{name} is missing or no UID")
        return value

    uid(_SOP_CLASS_UID, "SOPClassUID")
    frame_of_reference = found.get(_FRAME_OF_REFERENCE_UID, b"").decode("latin-1")
    return Original(
        path=path,
        content_digest=content_digest,
        sop_instance_uid=uid(_SOP_INSTANCE_UID, "SOPInstanceUID"),
        study_instance_uid=uid(_STUDY_UID, "StudyInstanceUID"),
        series_instance_uid=uid(_SERIES_UID, "SeriesInstanceUID"),
        frame_of_reference_uid=frame_of_reference,
        frame_count=suspicion.frame_count(found) if PIXEL_DATA.intersection(found) else 0,
        is_ordinary=suspicion.is_ordinary(found),
        says_text=suspicion.says_text(found),
        root=root,
    )
