"""C-STORE SCU: finished objects to one destination, each answered for on its own.

Comes from pipeline.delivery, after the interlock; goes to the PACS.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom.association import Association

from covnode.dicom.association import Destination, associate
from covnode.dicom.dimse import SUCCESS, VERIFICATION, StoreAnswer, store_answer
from covnode.errors import DeliveryRefused, PeerAway, TransientError


def _answer_of(request: Callable[[], Dataset]) -> int | None:
    """Make a request and return the status of its answer; None where none came."""
    try:
        return cast("int | None", request().get("Status"))
    except RuntimeError:
        # The peer ended the association between two requests.
        return None


def echo(calling_ae_title: str, destination: Destination) -> None:
    """C-ECHO the destination.

    Raises
    ------
    PeerAway
        It is not there, or the association broke.
    TransientError, DeliveryRefused
        It answers otherwise than with Success.
    """
    association = associate(calling_ae_title, destination, [(VERIFICATION, None)])
    try:
        status = _answer_of(association.send_c_echo)
    finally:
        association.release()
    if status is None:
        raise PeerAway(f"{destination.name} did not answer the C-ECHO")
    if status != SUCCESS:
        raise TransientError(f"{destination.name} does not answer the C-ECHO with Success")


def send(
    calling_ae_title: str,
    destination: Destination,
    paths: Sequence[Path],
    on_stored: Callable[[Path, int], None],
) -> None:
    """C-STORE ``paths`` on one association; ``on_stored(path, status)`` follows each that the destination holds.

    Raises
    ------
    PeerAway
        The destination is not there, or the association broke before all was answered for.
    TransientError
        It answers, and cannot store now: what it does not hold is to be sent later.
    DeliveryRefused
        It refuses an object for good, or takes the SOP class of one not at all; then it gets none.
    """
    headers = [dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]) for path in paths]
    wanted = [(str(h.SOPClassUID), str(h.file_meta.TransferSyntaxUID)) for h in headers]
    association = associate(calling_ae_title, destination, list(dict.fromkeys(wanted)))
    try:
        _require_accepted(association, destination, wanted)
        for path in paths:
            status = _answer_of(partial(association.send_c_store, path))
            if status is None:
                raise PeerAway(f"{destination.name} did not answer the C-STORE")
            match store_answer(status):
                case StoreAnswer.STORED:
                    on_stored(path, status)
                case StoreAnswer.LATER:
                    raise TransientError(f"{destination.name} cannot store at present ({status:04X})")
                case StoreAnswer.REFUSED:
                    raise DeliveryRefused(f"{destination.name} refuses the object ({status:04X})", code=f"{status:04X}")
    finally:
        if association.is_established:
            association.release()


def _require_accepted(association: Association, destination: Destination, wanted: Iterable[tuple[str, str]]) -> None:
    """Refuse before the first object leaves, so that none arrives without the others."""
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    refused = {UID(sop_class).name for sop_class, syntax in wanted if (sop_class, syntax) not in accepted}
    if refused:
        raise DeliveryRefused(
            f"{destination.name} does not accept {', '.join(sorted(refused))}", code="sop_class_not_accepted"
        )
