"""What is known of a series when it is complete: the values that the rules of the choice compare.

Comes from the facts that were recorded of every instance and from the headers of a few files of the spool; goes to
score, in memory only, since free text may hold an identity. Never reads pixel data; a header that cannot be read is
passed over, because the intake says so with a reason of its own.
"""

import errno
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.uid import UID

from covnode.choose.conditions import Value
from covnode.choose.geometry import (
    Extent,
    Placed,
    along_normal,
    extent_of,
    most_frequent_orientation,
)
from covnode.choose.names import SOP_CLASS, Kind, kind_of
from covnode.dicom.reading import quietly, read_header
from covnode.dicom.values import items, numbers, texts
from covnode.errors import NotDicom, StorageAway
from covnode.imaging.slice_axis import Orientation, Point, normal_of
from covnode.records.arrival import SliceFacts

_MOST_MULTI_FRAME_FILES = 16
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_PLACING = ("ImagePositionPatient", "ImageOrientationPatient", *_GROUPS)
_DAYS_OF_AGE = {"Y": 365.25, "M": 30.4375, "W": 7.0, "D": 1.0}


@dataclass(frozen=True)
class SpooledFile:
    """One instance of the series: its Part 10 file, and what was recorded of it."""

    path: Path
    facts: SliceFacts


@dataclass(frozen=True)
class SeriesFacts:
    """From a name of choose.names to its values; a name that is absent in the series is not there.

    ``headers_read`` counts the files behind it: 0 where none could be read.
    """

    values: dict[str, tuple[Value, ...]]
    headers_read: int


def facts_of(files: Sequence[SpooledFile], keywords: Collection[str]) -> SeriesFacts:
    """Collect the values of a series.

    Parameters
    ----------
    keywords
        DICOM keywords that the rules ask for.

    Raises
    ------
    StorageAway
        The storage fails (a file that is not there or no DICOM is passed over).
    """
    images = _without_localizers(files)
    with quietly():
        headers = _headers(_few_of(images), {*keywords, *_PLACING})
        values: dict[str, tuple[Value, ...]] = {}
        for keyword in sorted(keywords):
            if found := _most_frequent([_element(header, keyword) for header in headers]):
                values[keyword] = found
        extent = _extent(images, headers)
    if image_type := _most_frequent([_image_type(file) for file in images]):
        values["ImageType"] = image_type
    values["slices"] = (float(sum(file.facts.frames or 1 for file in images)),)
    for name, value in (
        ("axial", extent.axial),
        ("coverage_mm", extent.coverage_mm),
        ("spacing_mm", extent.spacing_mm),
    ):
        if value is not None:
            values[name] = (value,)
    return SeriesFacts(values, len(headers))


def _without_localizers(files: Sequence[SpooledFile]) -> list[SpooledFile]:
    """Leave out localizers that a scanner put in front of the slices, as the volume stage does."""
    return [file for file in files if "LOCALIZER" not in _image_type(file)[2:]] or list(files)


def _image_type(file: SpooledFile) -> tuple[str, ...]:
    return tuple(value.strip().upper() for value in (file.facts.image_type or "").split("\\") if value.strip())


def _few_of(images: Sequence[SpooledFile]) -> list[Path]:
    """Files whose headers stand for the series: first, middle and last along the slice axis; multi-frame ones all."""
    if any((image.facts.frames or 1) > 1 for image in images):
        return [image.path for image in images[:_MOST_MULTI_FRAME_FILES]]
    placed = [_placed(image) for image in images]
    orientation = most_frequent_orientation(placed)
    normal = (None if orientation is None else normal_of(orientation)) or (0.0, 0.0, 1.0)
    order = sorted(
        range(len(images)),
        key=lambda index: (
            round(along_normal(placed[index], normal), 2),
            images[index].facts.instance_number or 0,
            images[index].path.name,
        ),
    )
    few = dict.fromkeys((0, len(order) // 2, len(order) - 1)) if order else {}
    return [images[order[index]].path for index in few]


def _placed(file: SpooledFile) -> Placed:
    return Placed(file.facts.position_lps_mm, file.facts.orientation_lps)


def _headers(paths: Sequence[Path], keywords: Collection[str]) -> list[Dataset]:
    headers: list[Dataset] = []
    for path in paths:
        try:
            headers.append(read_header(path, keywords).dataset)
        except NotDicom:
            continue
        except OSError as error:
            if error.errno != errno.ENOENT:
                name = errno.errorcode.get(error.errno or 0, "no number")
                raise StorageAway(f"a file of the series cannot be read from storage ({name})") from error
    return headers


def _element(header: Dataset, keyword: str) -> tuple[Value, ...]:
    """All values of an element, of the header or else of its first functional groups (PS3.3 C.7.6.16)."""
    found = texts(header, keyword)
    if not found:
        found = next((values for group in _groups(header, 0) if (values := texts(group, keyword))), ())
    if keyword == SOP_CLASS:
        return tuple(UID(value).keyword or value for value in found)
    if kind_of(keyword) is Kind.TEXT:
        return tuple(value for value in found if value)
    is_age = dictionary_VR(keyword_dict[keyword]) == "AS"
    read = [_years(value) if is_age else _number(value) for value in found]
    return tuple(value for value in read if value is not None)


def _groups(header: Dataset, frame: int) -> list[Dataset]:
    """First items of all functional groups of a frame, the frame's own before the shared ones."""
    own, shared = items(header, _GROUPS[1])[frame : frame + 1], items(header, _GROUPS[0])[:1]
    return [
        item for part in (*own, *shared) for element in part if element.VR == "SQ" for item in list(element.value)[:1]
    ]


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _years(value: str) -> float | None:
    """Patient Age (VR AS, PS3.5 section 6.2) in years."""
    number, unit = value[:-1], value[-1:]
    return int(number) * _DAYS_OF_AGE[unit] / 365.25 if number.isdecimal() and unit in _DAYS_OF_AGE else None


def _most_frequent(found: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
    """Return the values that most files state; the first of equally frequent ones, () where none states any."""
    stated = Counter(values for values in found if values)
    return stated.most_common(1)[0][0] if stated else ()


def _extent(images: Sequence[SpooledFile], headers: Sequence[Dataset]) -> Extent:
    """Extent by what was recorded of every image; else by the headers, whole where all of them were read."""
    placed = [_placed(image) for image in images]
    if any(image.orientation_lps for image in placed):
        return extent_of(placed)
    placed = [place for header in headers for place in _places(header)]
    extent = extent_of(placed)
    return extent if len(headers) == len(images) else Extent(extent.axial)


def _places(header: Dataset) -> list[Placed]:
    frames = len(items(header, _GROUPS[1]))
    parts = [_groups(header, frame) for frame in range(frames)] if frames else [[header]]
    places = []
    for groups in parts:
        position = next((found for group in groups if (found := numbers(group, "ImagePositionPatient", 3))), None)
        turned = next((found for group in groups if (found := numbers(group, "ImageOrientationPatient", 6))), None)
        places.append(Placed(_point(position), _cosines(turned)))
    return places


def _point(values: tuple[float, ...] | None) -> Point | None:
    return None if values is None else (values[0], values[1], values[2])


def _cosines(values: tuple[float, ...] | None) -> Orientation | None:
    return None if values is None else (values[0], values[1], values[2], values[3], values[4], values[5])
