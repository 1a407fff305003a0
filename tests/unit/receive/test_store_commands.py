import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu import P_DATA_TF

from covnode.receive.store_commands import StoreRequest, read_store_request, store_response


def command_of(message, primitive):
    message.primitive_to_message(primitive)
    fragment = next(iter(message.encode_msg(1, 16384)))
    return fragment.presentation_data_value_list[0][1][1:]


def store_primitive(priority=0):
    primitive = C_STORE()
    primitive.MessageID = 65535
    primitive.AffectedSOPClassUID = CTImageStorage
    primitive.AffectedSOPInstanceUID = "1.2.3"
    primitive.Priority = priority
    primitive.DataSet = BytesIO(b"\0" * 8)
    return primitive


@pytest.mark.parametrize(("priority", "urgent"), [(0, False), (1, True), (2, False)])
def test_a_request_of_another_implementation_is_read(priority, urgent):
    command = command_of(C_STORE_RQ(), store_primitive(priority))
    assert read_store_request(command) == StoreRequest(65535, str(CTImageStorage), "1.2.3", urgent, has_data_set=True)


def test_another_message_is_left_to_pynetdicom():
    echo = C_ECHO()
    echo.MessageID = 1
    echo.AffectedSOPClassUID = "1.2.840.10008.1.1"
    assert read_store_request(command_of(C_ECHO_RQ(), echo)) is None


def test_a_response_is_read_by_another_implementation():
    request = StoreRequest(77, str(CTImageStorage), "1.2.3", is_urgent=False, has_data_set=True)
    pdu = P_DATA_TF()
    pdu.decode(store_response(request, 5, 0xA700, "no room"))
    message = DIMSEMessage()
    assert message.decode_msg(pdu.to_primitive())
    response = message.message_to_primitive()
    assert message.context_id == 5
    assert (response.MessageIDBeingRespondedTo, response.Status) == (77, 0xA700)
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == (CTImageStorage, "1.2.3")
    assert response.ErrorComment == "no room"


def test_a_uid_that_is_none_is_not_echoed():
    raw = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in {0x0002: b"<script>", 0x0100: b"\1\0", 0x0110: b"\1\0", 0x0800: b"\0\0"}.items()
    )
    request = read_store_request(raw)
    assert request is not None
    assert request.sop_class_uid == ""
    assert b"script" not in store_response(request, 1, 0xC000)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_none(raw):
    request = read_store_request(raw)
    assert request is None or 0 <= request.message_id <= 0xFFFF
