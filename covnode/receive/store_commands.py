"""The command sets of C-STORE, read and written without pynetdicom's objects (PS3.7 sections 6.3.1 and 9.3.1).

Comes from upper_layer; goes back to it. Command sets are implicit VR little endian.
"""

import struct
from typing import NamedTuple

from covnode.receive.instance_facts import is_uid

_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED_TO = 0x0120
_PRIORITY = 0x0700
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000

_C_STORE_RQ = 0x0001
_C_STORE_RSP = 0x8001
_NO_DATA_SET = 0x0101
_HIGH = 0x0001
_P_DATA_TF = 0x04
_LAST_COMMAND_FRAGMENT = 0x03
_COMMENT_LENGTH = 64

_HEAD = struct.Struct("<HHL")
# Group, element, length and value of the four elements of 16 bits that stand between those of the two UIDs.
_ANSWER = struct.Struct("<" + 4 * "HHLH")


class StoreRequest(NamedTuple):
    """A C-STORE-RQ; UIDs are empty where the command has none that is valid."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    is_urgent: bool
    has_data_set: bool


def read_store_request(command: bytes) -> StoreRequest | None:
    """Return the request, or None where the command set is another message (or none at all)."""
    values: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(command):
        group, element, length = _HEAD.unpack_from(command, position)
        position += 8 + length
        if group != 0 or position > len(command):
            return None
        values[element] = command[position - length : position]
    message_id = _us(values, _MESSAGE_ID)
    if _us(values, _COMMAND_FIELD) != _C_STORE_RQ or message_id is None:
        return None
    return StoreRequest(
        message_id=message_id,
        sop_class_uid=_uid(values, _AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_uid(values, _AFFECTED_SOP_INSTANCE_UID),
        is_urgent=_us(values, _PRIORITY) == _HIGH,
        has_data_set=_us(values, _DATA_SET_TYPE) not in {None, _NO_DATA_SET},
    )


def store_response(request: StoreRequest, context_id: int, status: int, comment: str = "") -> bytes:
    """Return the P-DATA-TF PDU of the C-STORE-RSP; ``comment`` holds no identity."""
    body = b"".join(
        (
            _element(_AFFECTED_SOP_CLASS_UID, _padded(request.sop_class_uid, b"\0")) if request.sop_class_uid else b"",
            _ANSWER.pack(
                *(0, _COMMAND_FIELD, 2, _C_STORE_RSP),
                *(0, _MESSAGE_ID_RESPONDED_TO, 2, request.message_id),
                *(0, _DATA_SET_TYPE, 2, _NO_DATA_SET),
                *(0, _STATUS, 2, status),
            ),
            _element(_ERROR_COMMENT, _padded(comment[:_COMMENT_LENGTH], b" ")) if comment else b"",
            _element(_AFFECTED_SOP_INSTANCE_UID, _padded(request.sop_instance_uid, b"\0"))
            if request.sop_instance_uid
            else b"",
        )
    )
    message = _element(_GROUP_LENGTH, struct.pack("<L", len(body))) + body
    item = struct.pack(">LBB", len(message) + 2, context_id, _LAST_COMMAND_FRAGMENT) + message
    return struct.pack(">BBL", _P_DATA_TF, 0, len(item)) + item


def _element(element: int, value: bytes) -> bytes:
    return _HEAD.pack(0, element, len(value)) + value


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)


def _us(values: dict[int, bytes], element: int) -> int | None:
    raw = values.get(element, b"")
    return int.from_bytes(raw, "little") if len(raw) == 2 else None


def _uid(values: dict[int, bytes], element: int) -> str:
    text = values.get(element, b"").decode("latin-1").rstrip("\0 ")
    return text if is_uid(text) else ""
