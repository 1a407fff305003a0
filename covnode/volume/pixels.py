"""Stored frames -> Hounsfield units.

Comes from loading (frames in stack order, with their place in the volume); fills the volume. Frames are read one after
the other and decoded by two threads; only a few are in memory at a time.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covnode.dicom.decoding import words_of
from covnode.dicom.reading import MALFORMED
from covnode.dicom.stored_frames import bytes_of_frames
from covnode.errors import NotDicom, PixelDataUnreadable, TransientError
from covnode.imaging.orientation import to_native
from covnode.records.volume import AIR_HU, InPlane
from covnode.volume.frames import Frame, PixelFormat

_DECODERS = 2
_MOST_PENDING = 8


def read_voxels_hu(frames: tuple[Frame, ...], in_plane: InPlane) -> NDArray[np.int16]:
    """Decode all frames into one volume.

    Returns
    -------
    NDArray
        int16, shape (k, j, i), canonical order, Hounsfield units; k follows `frames`.

    Raises
    ------
    PixelDataUnreadable
        With the name of the slice.
    TransientError
        When the storage fails.
    """
    pixels = frames[0].image.pixel_format
    shape = (pixels.columns, pixels.rows) if in_plane.transpose else (pixels.rows, pixels.columns)
    voxels_hu = np.empty((len(frames), *shape), dtype=np.int16)

    def fill(k: int, data: bytes) -> None:
        _fill_hu(to_native(voxels_hu[k], in_plane), frames[k], data)

    with ThreadPoolExecutor(_DECODERS) as pool:
        pending: deque[Future[None]] = deque()
        for k, data in _stored_frames(frames):
            pending.append(pool.submit(fill, k, data))
            if len(pending) > _MOST_PENDING:
                pending.popleft().result()
        for future in pending:
            future.result()
    return voxels_hu


def read_frame_hu(frame: Frame) -> NDArray[np.int16]:
    """One frame, int16 Hounsfield units, shape (rows, columns), stored order.

    Raises
    ------
    PixelDataUnreadable, TransientError
        As `read_voxels_hu`.
    """
    [(_, data)] = _stored_frames((frame,))
    plane_hu = np.empty((frame.image.pixel_format.rows, frame.image.pixel_format.columns), dtype=np.int16)
    _fill_hu(plane_hu, frame, data)
    return plane_hu


def _fill_hu(plane_hu: NDArray[np.int16], frame: Frame, data: bytes) -> None:
    try:
        pixels = frame.image.pixel_format
        words = words_of(data, (pixels.rows, pixels.columns), pixels.bits_allocated, frame.image.transfer_syntax_uid)
    except PixelDataUnreadable as error:
        raise PixelDataUnreadable(f"{frame.name}: {error}") from error
    if frame.rescale is None:
        raise PixelDataUnreadable(f"{frame.name}: Rescale Slope or Rescale Intercept is missing")
    # The table has a value for every word, so nothing is ever clipped: "clip" lets numpy write without a copy.
    np.take(_hounsfield_of_words(frame.image.pixel_format, *frame.rescale), words, out=plane_hu, mode="clip")


@lru_cache(maxsize=8)
def _hounsfield_of_words(pixels: PixelFormat, slope: float, intercept: float) -> NDArray[np.int16]:
    """Table from pixel word to Hounsfield units: rescaled (PS3.3 C.11.1.1.2), rounded half to even, clipped to int16.

    Bits above High Bit are no part of the value (PS3.5 section 8.1.1: they may hold overlays).
    """
    words = np.arange(1 << pixels.bits_allocated)
    stored = _as_number(words, pixels.bits_stored, pixels)
    rescaled = np.clip(np.rint(stored * slope + intercept), AIR_HU, np.iinfo(np.int16).max)
    hounsfield: NDArray[np.int16] = rescaled.astype(np.int16)
    if pixels.padding_value is not None:
        # The VR of the padding elements depends on the writer (-2000 may come as 63536): compare them as words. A
        # value that Bits Stored cannot hold can only be meant as a whole word, with the bits above High Bit.
        limit = pixels.padding_value if pixels.padding_limit is None else pixels.padding_limit
        paddings = _as_number(np.array([pixels.padding_value, limit]), pixels.bits_allocated, pixels)
        fits = stored.min() <= paddings.min() and paddings.max() <= stored.max()
        values = stored if fits else _as_number(words, pixels.bits_allocated, pixels)
        hounsfield[(values >= paddings.min()) & (values <= paddings.max())] = AIR_HU
    return hounsfield


def _as_number(words: NDArray[np.int64], bits: int, pixels: PixelFormat) -> NDArray[np.int64]:
    """Read the lowest `bits` as an unsigned or two's complement number, by Pixel Representation."""
    values = words & ((1 << bits) - 1)
    return values - ((values >> (bits - 1)) << bits) if pixels.pixel_representation else values


def _stored_frames(frames: Sequence[Frame]) -> Iterator[tuple[int, bytes]]:
    """Place in `frames` and stored bytes of each frame; the frames of one instance in stored order, in one pass."""
    places: dict[Path, dict[int, int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.image.path, {})[(frame.number or 1) - 1] = place
    for place_of_index in places.values():
        first = frames[next(iter(place_of_index.values()))]
        try:
            for index, data in bytes_of_frames(first.image.stored, place_of_index):
                yield place_of_index[index], data
        except OSError as error:
            raise TransientError("a file of the series cannot be read from storage") from error
        except PixelDataUnreadable as error:
            raise PixelDataUnreadable(f"{first.name}: {error}") from error
        except (NotDicom, *MALFORMED) as error:
            raise PixelDataUnreadable(f"{first.name}: the pixel data are damaged") from error
