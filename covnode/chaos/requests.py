"""What a modality asks of the node beside C-STORE: STOW-RS, and storage commitment."""

import http.client
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom import Dataset

from covnode.dicom.association import Destination, associate
from covnode.dicom.dimse import STORAGE_COMMITMENT, SUCCESS
from covnode.errors import PeerAway, TransientError
from covnode.receive.commitment_report import INSTANCE

_REQUEST = 1
_REFERENCED_SOP_SEQUENCE = "00081199"
_REFERENCED_SOP_INSTANCE = "00081155"


def store_by_http(port: int, paths: Sequence[Path], timeout_s: float) -> set[str]:
    """Send files in one Store transaction (PS3.18 10.5) and return the SOP Instance UIDs that are answered as stored.

    Raises
    ------
    TransientError
        No answer came, or one without instances.
    """
    boundary = secrets.token_hex(16)
    head = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(head + path.read_bytes() for path in paths) + f"\r\n--{boundary}--\r\n".encode()
    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", "/studies", body, {"Content-Type": content_type})
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        raise TransientError("the Store transaction was not answered") from None
    finally:
        connection.close()
    items = answer.get(_REFERENCED_SOP_SEQUENCE, {}).get("Value", ())
    return {item[_REFERENCED_SOP_INSTANCE]["Value"][0] for item in items}


def ask_to_commit(ae_title: str, node: Destination, transaction_uid: str, classes: Mapping[str, str]) -> None:
    """Ask for storage commitment (PS3.4 J.3.2) and return when the node has taken the request.

    Parameters
    ----------
    classes
        SOP Class UID by SOP Instance UID.

    Raises
    ------
    TransientError
        It did not take it.
    """
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = []
    for uid, sop_class_uid in classes.items():
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class_uid
        item.ReferencedSOPInstanceUID = uid
        information.ReferencedSOPSequence.append(item)
    association = associate(ae_title, node, [(STORAGE_COMMITMENT, None)])
    try:
        status, _ = association.send_n_action(information, _REQUEST, STORAGE_COMMITMENT, INSTANCE)
    except RuntimeError:
        raise PeerAway("the association ended") from None
    finally:
        if association.is_established:
            association.release()
    if status.get("Status") != SUCCESS:
        raise TransientError("the request for storage commitment was not taken")
