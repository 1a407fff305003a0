"""One stored frame's bytes -> its pixel words, by the transfer syntax.

Called by deidentify and by volume. imagecodecs decodes, since it frees the interpreter lock; every frame is checked for
its end and its size first, because some decoders fill up a truncated image with grey. Never interprets a value.
"""

from collections.abc import Callable, Mapping
from typing import Any

import imagecodecs
import numpy as np
import pydicom.uid as uids
from numpy.typing import NDArray

from covnode.errors import PixelDataUnreadable

Words = NDArray[np.uint8] | NDArray[np.uint16]

_END_OF_IMAGE = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000

_NATIVE: Mapping[str, str] = {
    uids.ImplicitVRLittleEndian: "<",
    uids.ExplicitVRLittleEndian: "<",
    uids.DeflatedExplicitVRLittleEndian: "<",
    uids.ExplicitVRBigEndian: ">",
}

# High-throughput JPEG 2000 goes to OpenJPEG, though OpenJPH needs half the time: imagecodecs lets the latter's errors
# pass and returns what was there before.
_DECODERS: Mapping[str, Callable[[bytes], NDArray[Any]]] = {
    uids.JPEGBaseline8Bit: imagecodecs.jpeg8_decode,
    uids.JPEGExtended12Bit: imagecodecs.jpeg8_decode,
    uids.JPEGLossless: imagecodecs.jpeg8_decode,
    uids.JPEGLosslessSV1: imagecodecs.jpeg8_decode,
    uids.JPEGLSLossless: imagecodecs.jpegls_decode,
    uids.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uids.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uids.JPEG2000: imagecodecs.jpeg2k_decode,
    uids.HTJ2KLossless: imagecodecs.jpeg2k_decode,
    uids.HTJ2KLosslessRPCL: imagecodecs.jpeg2k_decode,
    uids.HTJ2K: imagecodecs.jpeg2k_decode,
}


def is_native(transfer_syntax_uid: str) -> bool:
    """Whether pixels are stored uncompressed (PS3.5 section 8.1.1)."""
    return transfer_syntax_uid in _NATIVE


def words_of(data: bytes, shape: tuple[int, int], bits_allocated: int, transfer_syntax_uid: str) -> Words:
    """Pixel words of one frame, bit for bit as allocated.

    Parameters
    ----------
    shape
        Rows and columns.

    Returns
    -------
    Words
        uint8 or uint16 (Bits Allocated), shape (rows, columns), stored order. Signed values are left as the
        two's complement words that they are.

    Raises
    ------
    PixelDataUnreadable
        When data is truncated, damaged, of another size than the header says, or in an unknown transfer syntax.
    """
    bytes_per_pixel = bits_allocated // 8
    if byte_order := _NATIVE.get(transfer_syntax_uid):
        return np.frombuffer(data, f"{byte_order}u{bytes_per_pixel}").reshape(shape)
    decoded = _decoded(data, bytes_per_pixel, shape, transfer_syntax_uid)
    if decoded.shape != shape:
        raise PixelDataUnreadable(f"the compressed image is {_size(decoded.shape)}, the header says {_size(shape)}")
    if decoded.dtype.kind not in "iu" or decoded.itemsize > bytes_per_pixel:
        raise PixelDataUnreadable("the compressed image has deeper pixels than Bits Allocated says")
    if decoded.dtype.kind == "i":  # widen by value first: a negative 8 bit word in 16 bits allocated keeps its sign
        return decoded.astype(f"i{bytes_per_pixel}").view(f"u{bytes_per_pixel}")
    return decoded


def _decoded(data: bytes, bytes_per_pixel: int, shape: tuple[int, int], transfer_syntax_uid: str) -> NDArray[Any]:
    try:
        if transfer_syntax_uid == uids.RLELossless:
            return _run_lengths(data, bytes_per_pixel, shape)
        decode = _DECODERS.get(transfer_syntax_uid)
        if decode is None:
            raise PixelDataUnreadable(f"the transfer syntax is not supported ({uids.UID(transfer_syntax_uid).name})")
        if _END_OF_IMAGE not in data.rstrip(b"\0")[-16:]:
            raise PixelDataUnreadable("the compressed image is truncated: it has no end marker")
        return decode(data)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:  # what imagecodecs' decoders raise
        raise PixelDataUnreadable("the compressed image is damaged") from error


def _run_lengths(data: bytes, bytes_per_pixel: int, shape: tuple[int, int]) -> NDArray[Any]:
    decoded = np.frombuffer(imagecodecs.dicomrle_decode(data, f"<u{bytes_per_pixel}"), f"<u{bytes_per_pixel}")
    if decoded.size < shape[0] * shape[1]:
        raise PixelDataUnreadable("the compressed image is truncated")
    return decoded[: shape[0] * shape[1]].reshape(shape)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
