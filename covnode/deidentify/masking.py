"""Overwrites text in the pixels of one copy: PS3.15 E.3.1, Clean Pixel Data Option.

Comes from the engine (an original and the boxes that burned_in found); goes to writing as the bytes of Pixel Data, not
compressed. Every pixel outside the boxes keeps its bits.
"""

from pathlib import Path

import numpy as np

from covnode.deidentify.burned_in import Boxes
from covnode.deidentify.pictures import Pictures, open_pictures
from covnode.dicom.decoding import Words
from covnode.imaging.text import Box


def masked_pixels(original: Path, boxes: Boxes, *, little_endian: bool) -> tuple[str, bytes] | None:
    """Overwrite the boxes in all frames of an instance; None when there are none for frames of its size.

    Written over them is Pixel Padding Value, where the image has one, else the lowest value of the frame: air.

    Returns
    -------
    tuple[str, bytes] | None
        VR and value of native Pixel Data (PS3.5 section A.2).

    Raises
    ------
    DeidentificationRefused
        ``pixel_data_unreadable``.
    OSError
        When the file cannot be read.
    """
    pictures = open_pictures(original)
    if not boxes.get(pictures.shape):
        return None
    order = "<" if little_endian else ">"
    frames = []
    for _, words in pictures.words(range(pictures.stored.frame_count)):
        masked = words.copy()
        fill = _fill(pictures, words)
        for box in boxes[pictures.shape]:
            _cover(masked, box, fill)
        frames.append(masked.astype(f"{order}u{pictures.bits_allocated // 8}").tobytes())
    return "OW" if pictures.bits_allocated > 8 else "OB", b"".join(frames)


def _fill(pictures: Pictures, words: Words) -> int:
    """Return the word that is written over text."""
    values = pictures.values(words)
    if pictures.padding_value is not None:
        is_padding = values == pictures.padding_value
        if is_padding.any():
            return int(words[is_padding][0])
    return int(words.flat[np.argmin(values)])


def _cover(words: Words, box: Box, fill: int) -> None:
    words[box.top : box.bottom, box.left : box.right] = fill
