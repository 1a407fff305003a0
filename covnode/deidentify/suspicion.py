"""What the header says about text in the pixels: held back unseen, looked at frame by frame, or looked at in samples.

Comes from the root of each original; goes to originals, and from there to burned_in. Data and rules, no pixels.

Text is drawn by programs, not measured by scanners: screens, dose reports and captures are pictures of text; derived
and secondary images, reformats and localizers come from workstations, which like to label them. Of ordinary axial
slices one of a series is looked at: what draws a name into slices draws it into each.
"""

from collections.abc import Mapping

from covnode.deidentify.options import BurnedInText
from covnode.deidentify.values import registered_name
from covnode.dicom.dimse import CT_SOP_CLASSES
from covnode.errors import DeidentificationRefused

IMAGE_TYPE, SOP_CLASS_UID, MODALITY, CONVERSION_TYPE = 0x00080008, 0x00080016, 0x00080060, 0x00080064
NUMBER_OF_FRAMES, PHOTOMETRIC_INTERPRETATION, BITS_ALLOCATED = 0x00280008, 0x00280004, 0x00280100
BURNED_IN, RECOGNIZABLE_FEATURES = 0x00280301, 0x00280302
WANTED = frozenset(
    {IMAGE_TYPE, SOP_CLASS_UID, MODALITY, CONVERSION_TYPE, NUMBER_OF_FRAMES, PHOTOMETRIC_INTERPRETATION}
    | {BITS_ALLOCATED, BURNED_IN, RECOGNIZABLE_FEATURES}
)
"""The attributes that the rules read."""

_SCREENS = ("SCREEN", "DOSE_INFO", "DOSE REPORT", "CT_SOM5 PROT", "CT_SOM7 PROT", "CT_SOM8 PROT")
_OVERLAY_DATA = 0x3000
_COLOUR = ("RGB", "YBR", "PALETTE", "XYB")
_AS_SCANNED = ("ORIGINAL", "PRIMARY")
_SIXTEEN_BITS = b"\x10"  # of either byte order, without its zero
_AXIAL = frozenset({"AXIAL", "VOLUME"})  # the latter in an Enhanced CT, PS3.3 C.8.16.1.3


def refuse_unseen(found: Mapping[int, bytes], policy: BurnedInText) -> None:
    """Hold back what is a picture of a screen, whatever the policy, and what is said to show text (PS3.15 E.3.1).

    Raises
    ------
    DeidentificationRefused
        ``burned_in_text``, ``secondary_capture`` or ``embedded_overlay``.
    """
    if says_text(found) and policy is BurnedInText.QUARANTINE:
        raise DeidentificationRefused("BurnedInAnnotation is YES: the pixels may show an identity", "burned_in_text")
    if any(value.startswith(_SCREENS) or value.endswith("PROT") for value in _values(found, IMAGE_TYPE)):
        raise DeidentificationRefused("ImageType names a screen: the pixels may show an identity", "burned_in_text")
    if "Secondary Capture" in registered_name(found.get(SOP_CLASS_UID, b"").decode("latin-1")):
        raise DeidentificationRefused("a Secondary Capture may show an identity", "secondary_capture")
    if _values(found, PHOTOMETRIC_INTERPRETATION)[0].startswith(_COLOUR):
        raise DeidentificationRefused(
            "a picture in colour is no measurement: it may show an identity", "burned_in_text"
        )
    for tag, value in found.items():
        if value == b"embedded" and tag >> 24 == 0x60 and (tag & 0xFFFF0000 | _OVERLAY_DATA) not in found:
            raise DeidentificationRefused("an overlay lies in unused bits of the pixels", "embedded_overlay")


def says_text(found: Mapping[int, bytes]) -> bool:
    """Whether the header says that text is burned in."""
    return _values(found, BURNED_IN) == ["YES"]


def is_ordinary(found: Mapping[int, bytes]) -> bool:
    """Whether it is what a scanner measured, in axial slices, and nothing that a workstation made of it."""
    image_type = _values(found, IMAGE_TYPE)
    return (
        found.get(SOP_CLASS_UID, b"").decode("latin-1") in CT_SOP_CLASSES
        and _values(found, MODALITY) == ["CT"]
        and tuple(image_type[:2]) == _AS_SCANNED
        and bool(_AXIAL.intersection(image_type[2:3]))
        and _values(found, PHOTOMETRIC_INTERPRETATION) == ["MONOCHROME2"]
        and found.get(BITS_ALLOCATED) == _SIXTEEN_BITS
        and not found.get(CONVERSION_TYPE)
        and not says_text(found)
        and _values(found, RECOGNIZABLE_FEATURES) != ["YES"]
    )


def frame_count(found: Mapping[int, bytes]) -> int:
    """Return Number of Frames; 1 where it is absent or no number (the reader of the frames then says so)."""
    text = _values(found, NUMBER_OF_FRAMES)[0]
    return max(1, int(text)) if text.isascii() and text.isdigit() else 1


def _values(found: Mapping[int, bytes], tag: int) -> list[str]:
    text = found.get(tag, b"").decode("latin-1").upper()
    return [value.strip(" \0") for value in text.split("\\")]
