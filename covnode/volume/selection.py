"""Which frames of a series are the CT slices to analyse, or why there are none.

Comes from headers; goes to stack. Judges kind, pixel format and number of the images; where they lie is judged later.
"""

from collections.abc import Sequence

from covnode.errors import (
    LocalizerOnly,
    NotChestCT,
    PixelDataMissing,
    PixelDataUnreadable,
    TooFewSlices,
    WrongModality,
)
from covnode.volume.frames import Frame, named
from covnode.volume.headers import CT_CLASSES, MULTI_FRAME_CLASSES

LARGEST_MATRIX = 4096
"""Twice the largest matrix of any CT: a header that says more would only exhaust the memory."""

# Fragments of Body Part Examined (PS3.16 Annex L and what is found in practice) that name or include the chest.
_CHEST_WORDS = ("CHEST", "THORAX", "TORAX", "THORAC", "LUNG", "PULM", "TRUNK", "TORSO", "BODY", "HEART", "MEDIASTIN")

# Rescale Type: HU, or absent, is what CT Image Storage means by default (PS3.3 C.11.1.1.2); US is "unspecified".
_HOUNSFIELD, _UNSPECIFIED = (None, "HU"), "US"


def select_slices(frames: Sequence[Frame], *, min_slices: int) -> tuple[tuple[Frame, ...], tuple[str, ...]]:
    """Keep the slices and leave out localizers.

    Returns
    -------
    frames, cautions
        In the order given.

    Raises
    ------
    WrongModality, PixelDataMissing, PixelDataUnreadable, LocalizerOnly, NotChestCT, TooFewSlices
        With the instance numbers concerned.
    """
    _require_ct(frames)
    slices = tuple(frame for frame in frames if not _is_localizer(frame))
    if not slices:
        raise LocalizerOnly(f"all {len(frames)} images of the series are localizers")
    _require_pixels(slices)
    _require_hounsfield(slices)
    require_enough(slices, min_slices)
    return slices, tuple(_cautions(frames, slices))


def require_enough(slices: Sequence[Frame], min_slices: int) -> None:
    """Refuse a series that is too short to be a chest CT.

    Raises
    ------
    TooFewSlices
    """
    needed = max(min_slices, 2)  # one slice has no slice distance
    if len(slices) < needed:
        raise TooFewSlices(f"the series has {len(slices)} slices; at least {needed} are needed")


def _is_localizer(frame: Frame) -> bool:
    """Value 3 of Image Type (PS3.3 C.8.2.1.1.1) or of Frame Type (C.8.15.3.2); some writers put it further on."""
    return "LOCALIZER" in (value.upper() for value in frame.image_type[2:])


def _require_ct(frames: Sequence[Frame]) -> None:
    other = [frame for frame in frames if frame.image.modality != "CT" or frame.image.sop_class_uid not in CT_CLASSES]
    if not other:
        return
    if all(frame.image.modality == "CT" for frame in other):
        reason = "are neither CT Image, Enhanced CT Image nor Legacy Converted Enhanced CT Image Storage"
    else:
        reason = "are not of Modality CT"
    raise WrongModality(f"{len(other)} of {len(frames)} images {reason} ({named(other)})")


def _require_pixels(slices: Sequence[Frame]) -> None:
    if empty := [frame for frame in slices if frame.image.pixels is None]:
        raise PixelDataMissing(f"{len(empty)} of {len(slices)} slices hold no pixel data ({named(empty)})")
    for frame in slices:
        if reason := _unsupported_format(frame):
            raise PixelDataUnreadable(f"{frame.name}: {reason}")


def _unsupported_format(frame: Frame) -> str | None:
    """Why the pixels cannot be a CT's (PS3.3 C.8.2.1, C.8.15.2), or None."""
    image, pixels = frame.image, frame.image.pixel_format
    checks = (
        (pixels.rows > 0 and pixels.columns > 0, "Rows or Columns is missing"),
        (max(pixels.rows, pixels.columns) <= LARGEST_MATRIX, f"Rows or Columns exceeds {LARGEST_MATRIX}"),
        (pixels.samples_per_pixel == 1, "Samples per Pixel is not 1, so this is no CT image in Hounsfield units"),
        (
            pixels.photometric_interpretation == "MONOCHROME2",
            "Photometric Interpretation is not MONOCHROME2, as CT images must have",
        ),
        (pixels.bits_allocated in (8, 16), "Bits Allocated is neither 16 nor 8"),
        (0 < pixels.bits_stored <= pixels.bits_allocated, "Bits Stored is missing or exceeds Bits Allocated"),
        (pixels.high_bit == pixels.bits_stored - 1, "High Bit is not Bits Stored - 1"),
        (pixels.pixel_representation in (0, 1), "Pixel Representation is neither 0 nor 1"),
        (
            image.frame_count == 1 or image.sop_class_uid in MULTI_FRAME_CLASSES,
            "several frames in an image of a single-frame class",
        ),
    )
    return next((reason for passed, reason in checks if not passed), None)


def _require_hounsfield(slices: Sequence[Frame]) -> None:
    if missing := [frame for frame in slices if frame.rescale is None]:
        raise PixelDataUnreadable(
            "Rescale Slope or Rescale Intercept is missing, so stored values have no Hounsfield units "
            f"({named(missing)})"
        )
    if flat := [frame for frame in slices if frame.rescale and frame.rescale[0] == 0]:
        raise PixelDataUnreadable(f"Rescale Slope is 0 ({named(flat)})")
    if other := [frame for frame in slices if frame.rescale_type not in (*_HOUNSFIELD, _UNSPECIFIED)]:
        raise NotChestCT(f"by Rescale Type the values are not Hounsfield units ({named(other)})")


def _cautions(frames: Sequence[Frame], slices: Sequence[Frame]) -> list[str]:
    cautions = []
    if localizers := len(frames) - len(slices):
        cautions.append(f"{localizers} localizer image(s) of the series were left out.")
    if any(frame.rescale_type == _UNSPECIFIED for frame in slices):
        cautions.append("Rescale Type is 'unspecified'; the values were taken as Hounsfield units.")
    if masked := sum(frame.image.is_masked for frame in slices):
        cautions.append(
            f"What looked like text was overwritten with air in {masked} of {len(slices)} slices: "
            "figures there are of what is left."
        )
    body_parts = {frame.image.body_part.upper() for frame in slices if frame.image.body_part}
    if body_parts and not any(word in part for part in body_parts for word in _CHEST_WORDS):
        cautions.append("Body Part Examined does not name the chest.")
    return cautions
