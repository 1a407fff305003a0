"""What a peer may send to a DICOM port, broken in the ways that the structure of the stream suggests.

A session (A-ASSOCIATE-RQ, C-ECHO, C-STORE, A-RELEASE-RQ) is built of parts; each part is mutated with some chance.
Everything follows from one random generator, so that a seed is a stream.
"""

import random
import struct
import zlib
from collections.abc import Callable

from dicom_instances import CT_IMAGE, SyntheticSeries
from dicom_sender import (
    EXPLICIT_LE,
    VERIFICATION,
    Peer,
    associate_request,
    command_set,
    echo_command,
    element,
    pdus,
    store_command,
    uid_value,
)

IMPLICIT_LE, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN, DEFLATED, JPEG_LOSSLESS)
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
CONTEXTS = {2 * number + 1: (CT_IMAGE, syntax) for number, syntax in enumerate(SYNTAXES)}
CONTEXTS |= {21: (VERIFICATION, IMPLICIT_LE), 23: (STORAGE_COMMITMENT, IMPLICIT_LE)}
ODD_LENGTHS = (0, 1, 2, 5, 6, 7, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

_SERIES = SyntheticSeries(77, 16)
_LONG_VRS = {b"OB", b"OW", b"UN", b"UT", b"SQ"}


def stream(rng: random.Random, called: str) -> list[bytes]:
    """Return the pieces of one connection's bytes, to be sent one after the other."""
    if rng.random() < 0.05:
        return [rng.randbytes(rng.randint(0, 4000))]
    request = associate_request(Peer(0, called, f"FUZZ{rng.randint(0, 999)}"), CONTEXTS)
    if rng.random() < 0.15:
        request = rng.choice((_flip, _cut, _odd_item))(rng, request)
    messages = [_message(rng) for _ in range(rng.randint(1, 4))]
    parts = [request, *messages, struct.pack(">BxI4x", rng.choice((5, 5, 5, 7, 6, 2, 1)), 4)]
    if rng.random() < 0.1:
        rng.shuffle(parts)
    if rng.random() < 0.1:
        parts.insert(rng.randrange(len(parts)), rng.choice(parts))
    return [parts[0], *_pieces(rng, b"".join(parts[1:]))]


def _pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """Cut at random places, as networks do; sometimes the rest never comes."""
    places = sorted(rng.sample(range(len(data) + 1), min(len(data), rng.randint(0, 4))))
    pieces = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    return pieces[: rng.randint(1, len(pieces))] if rng.random() < 0.2 else pieces


def _message(rng: random.Random) -> bytes:
    """Return the PDUs of one message, broken or not."""
    context = rng.choice(list(CONTEXTS))
    if context == 21:
        whole = pdus(21, 1, _broken_command(rng, echo_command()), 16384)
    else:
        syntax = SYNTAXES[min(context // 2, len(SYNTAXES) - 1)]
        instance = rng.randint(0, 50)
        command = store_command(rng.choice((CT_IMAGE, CT_IMAGE, VERIFICATION, "1.2.x")), _SERIES.uid(instance))
        data = broken_data_set(rng, instance, syntax)
        size = rng.choice((7, 8, 64, 4096, 16384, 65536))
        whole = pdus(context, 1, _broken_command(rng, command), max(size, 64)) + pdus(context, 0, data, size)
    return _broken_pdus(rng, whole) if rng.random() < 0.4 else whole


def _broken_pdus(rng: random.Random, whole: bytes) -> bytes:
    """Break headers of PDUs and of presentation data values, or the order of PDUs."""
    found = []
    place = 0
    while place < len(whole):
        end = place + 6 + struct.unpack_from(">I", whole, place + 2)[0]
        found.append(bytearray(whole[place:end]))
        place = end
    one = rng.choice(found)
    match rng.randrange(8):
        case 0:
            one[0] = rng.randrange(256)
        case 1:
            one[2:6] = struct.pack(">I", rng.choice((*ODD_LENGTHS, len(one), len(one) - 7)))
        case 2:
            one[6:10] = struct.pack(">I", rng.choice((*ODD_LENGTHS, len(one), len(one) - 11)))
        case 3:
            one[10] = rng.randrange(256)
        case 4:
            one[11] = rng.randrange(256)
        case 5:
            found.remove(one)
        case 6:
            found.insert(rng.randrange(len(found) + 1), one)
        case 7:
            rng.shuffle(found)
    return b"".join(found)


def _broken_command(rng: random.Random, command: bytes) -> bytes:
    match rng.randrange(12):
        case 0:
            return _flip(rng, command)
        case 1:
            return _cut(rng, command)
        case 2:
            field = rng.choice((0x0020, 0x0021, 0x0010, 0x0130, 0x0FFF, 0x8001, 0x8030, 0x0140, rng.randrange(65536)))
            return command_set(
                element(0, 0x0002, uid_value(rng.choice((VERIFICATION, STORAGE_COMMITMENT, CT_IMAGE)))),
                element(0, 0x0100, struct.pack("<H", field)),
                element(0, 0x0110, struct.pack("<H", 7)),
                element(0, 0x0800, struct.pack("<H", rng.choice((0x0101, 0x0001)))),
            )
        case 3:
            return command + element(rng.choice((0, 8)), rng.randrange(65536), rng.randbytes(rng.randint(0, 70000)))
        case _:
            return command


def broken_data_set(rng: random.Random, instance: int, syntax: str) -> bytes:
    """Return a data set in a transfer syntax, mutated with some chance."""
    data = in_syntax(_SERIES.data_set(instance), syntax)
    if rng.random() < 0.4:
        return data
    breakers: list[Callable[[random.Random, bytes], bytes]] = [_flip, _cut, _odd_length, _sequences, _noise]
    for _ in range(rng.randint(1, 3)):
        data = rng.choice(breakers)(rng, data)
    if syntax == DEFLATED and rng.random() < 0.5:
        data = deflated(rng.choice(breakers)(rng, _SERIES.data_set(instance)))
    return data


def in_syntax(data: bytes, syntax: str) -> bytes:
    """Encode a data set of explicit VR little endian in another of the syntaxes (its values as they are)."""
    if syntax == DEFLATED:
        return deflated(data)
    if syntax not in {IMPLICIT_LE, BIG_ENDIAN}:
        return data
    out = []
    place = 0
    while place < len(data):
        group, number = struct.unpack_from("<HH", data, place)
        vr = data[place + 4 : place + 6]
        long = vr in _LONG_VRS
        length = struct.unpack_from("<I" if long else "<H", data, place + (8 if long else 6))[0]
        start = place + (12 if long else 8)
        value = data[start : start + length]
        if syntax == IMPLICIT_LE:
            out.append(struct.pack("<HHI", group, number, length) + value)
        else:
            head = struct.pack(">HH2sxxI" if long else ">HH2sH", group, number, vr, length)
            out.append(head + (_swapped(value) if vr in {b"US", b"OW"} else value))
        place = start + length
    return b"".join(out)


def _swapped(value: bytes) -> bytes:
    return struct.pack(f">{len(value) // 2}H", *struct.unpack(f"<{len(value) // 2}H", value))


def deflated(data: bytes) -> bytes:
    """Deflate as PS3.5 A.5 says."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[int(len(changed) * rng.random() ** 2)] = rng.randrange(256)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _noise(rng: random.Random, data: bytes) -> bytes:
    place = rng.randint(0, min(len(data), 600))
    return data[:place] + rng.randbytes(rng.randint(0, 3000)) + data[place:]


def _odd_length(rng: random.Random, data: bytes) -> bytes:
    """Give some element of the header another length."""
    place = rng.randrange(4, min(600, max(5, len(data)))) & ~1
    odd = struct.pack(rng.choice("<>") + "I", rng.choice(ODD_LENGTHS))
    return data[:place] + odd + data[place + 4 :]


def _sequences(rng: random.Random, data: bytes) -> bytes:
    """Open sequences and items of undefined length, deep, and close some of them."""
    depth = rng.choice((1, 3, 70, 3000))
    opened = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * rng.choice((0, depth, depth + 1, depth // 2))
    place = rng.choice((0, len(data) // 4))
    return data[:place] + opened + closed + data[place:]


def _odd_item(rng: random.Random, request: bytes) -> bytes:
    """Add an item of a kind and length of its own to an A-ASSOCIATE-RQ, or break a length in it."""
    if rng.random() < 0.5:
        place = rng.randrange(74, len(request) - 2)
        return request[:place] + struct.pack(">H", rng.choice((0, 1, 0xFFFF, 5))) + request[place + 2 :]
    value = rng.randbytes(rng.randint(0, 300))
    item = struct.pack(">BxH", rng.choice((0x10, 0x20, 0x30, 0x50, 0x53, 0x54, 0x56, 0x58, 0xAA)), len(value)) + value
    body = request[6:] + item * rng.choice((1, 3, 300))
    return struct.pack(">BxI", 1, len(body)) + body
