"""Looks for text in the pixels of a series: in each frame that is suspicious, in the middle one of what is ordinary.

Comes from the engine with the originals, and with the copies that were masked; says where text is (as a refusal, or as
the boxes to mask), never what it says. Decodes, and changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covnode.deidentify.originals import Original
from covnode.deidentify.pictures import open_pictures, unreadable_pixels
from covnode.errors import DeidentificationRefused
from covnode.imaging.text import Box, find_text

Shape = tuple[int, int]
Boxes = Mapping[Shape, tuple[Box, ...]]
"""What to mask in every frame of so many rows and columns."""

_LEAST_MARGIN_PIXELS, _MOST_MARGIN_PIXELS = 4, 24


@dataclass(frozen=True)
class Sighting:
    """Text in one frame.

    Attributes
    ----------
    image
        The number that the copy of the image has.
    frame
        0-based.
    """

    image: int
    frame: int
    frame_count: int
    shape: Shape
    boxes: tuple[Box, ...]

    @property
    def place(self) -> str:
        """Name the frame by our numbers, and the first box in per cent of the picture."""
        (rows, columns), box = self.shape, self.boxes[0]
        frame = f"frame {self.frame + 1} of image {self.image}" if self.frame_count > 1 else f"image {self.image}"
        return (
            f"{frame}, {100 * box.left // columns} to {-(-100 * box.right // columns)} % from the left and "
            f"{100 * box.top // rows} to {-(-100 * box.bottom // rows)} % from the top"
        )


def refuse_text(originals: Sequence[Original]) -> None:
    """Hold a series back in whose pixels text is found.

    Raises
    ------
    DeidentificationRefused
        ``burned_in_text``, or ``pixel_data_unreadable``.
    OSError
        When a file cannot be read.
    """
    for sighting in _sightings(_paths(originals), originals, _frames_to_look_at(originals)):
        raise _refusal(sighting)


def boxes_to_mask(originals: Sequence[Original]) -> Boxes:
    """Find what to mask: with the first text, every frame is looked at.

    What is found in one frame is masked in all frames of its size, since a name that is drawn into a series stands at
    one place, and is easier found in one frame than in another.

    Raises
    ------
    DeidentificationRefused
        ``burned_in_text`` where the header speaks of text and none is found; ``pixel_data_unreadable``.
    OSError
        When a file cannot be read.
    """
    says_text = any(original.says_text for original in originals)
    if not says_text and next(_sightings(_paths(originals), originals, _frames_to_look_at(originals)), None) is None:
        return {}
    found: dict[Shape, set[Box]] = {}
    seen = set()
    for sighting in _sightings(_paths(originals), originals, _every_frame(originals)):
        seen.add(sighting.image)
        found.setdefault(sighting.shape, set()).update(_with_margin(box, sighting.shape) for box in sighting.boxes)
    if any(original.says_text and number not in seen for number, original in enumerate(originals, start=1)):
        raise DeidentificationRefused(
            "BurnedInAnnotation is YES, but no text was found that could be masked", "burned_in_text"
        )
    return {shape: tuple(sorted(boxes)) for shape, boxes in found.items()}


def refuse_text_left(copies: Sequence[Path], originals: Sequence[Original]) -> None:
    """Hold a masked series back if text is still found in any frame of it.

    Raises
    ------
    DeidentificationRefused
        As `refuse_text`.
    OSError
        When a file cannot be read.
    """
    for sighting in _sightings(copies, originals, _every_frame(originals)):
        raise _refusal(sighting)


def frames_looked_at(originals: Sequence[Original]) -> int:
    """Count the frames that are looked at before anything is found."""
    return sum(map(len, _frames_to_look_at(originals).values()))


def _frames_to_look_at(originals: Sequence[Original]) -> Mapping[int, Sequence[int]]:
    """0-based frames by 0-based original; of the ordinary ones that in the middle."""
    ordinary = [
        (number, frame)
        for number, original in enumerate(originals)
        if original.is_ordinary
        for frame in range(original.frame_count)
    ]
    wanted: dict[int, Sequence[int]] = {
        number: range(original.frame_count)
        for number, original in enumerate(originals)
        if original.frame_count and not original.is_ordinary
    }
    if ordinary:
        number, frame = ordinary[len(ordinary) // 2]
        wanted[number] = (frame,)
    return dict(sorted(wanted.items()))


def _paths(originals: Sequence[Original]) -> list[Path]:
    return [original.path for original in originals]


def _every_frame(originals: Sequence[Original]) -> Mapping[int, Sequence[int]]:
    return {number: range(original.frame_count) for number, original in enumerate(originals) if original.frame_count}


def _sightings(
    paths: Sequence[Path], originals: Sequence[Original], wanted: Mapping[int, Sequence[int]]
) -> Iterator[Sighting]:
    """Find text in the wanted frames of the files, which are the originals or their copies."""
    for number, frames in wanted.items():
        pictures = open_pictures(paths[number])
        if pictures.stored.frame_count != originals[number].frame_count:
            raise unreadable_pixels()
        for frame, words in pictures.words(frames):
            boxes = find_text(pictures.to_look_at(words))
            if boxes:
                yield Sighting(number + 1, frame, pictures.stored.frame_count, pictures.shape, boxes)


def _refusal(sighting: Sighting) -> DeidentificationRefused:
    return DeidentificationRefused(f"what looks like text is in the pixels: {sighting.place}", "burned_in_text")


def _with_margin(box: Box, shape: Shape) -> Box:
    """Room for what belongs to a line and is no glyph of its own: accents, points, the ends of the line."""
    line = min(box.bottom - box.top, box.right - box.left)
    margin = min(max(line, _LEAST_MARGIN_PIXELS), _MOST_MARGIN_PIXELS)
    rows, columns = shape
    return Box(
        max(0, box.top - margin),
        max(0, box.left - margin),
        min(rows, box.bottom + margin),
        min(columns, box.right + margin),
    )
