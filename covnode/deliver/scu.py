"""C-STORE SCU: finished objects to one destination, each answered for on its own.

Comes from pipeline.delivery, after the interlock; goes to the PACS.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from pydicom import dcmread
from pynetdicom.association import Association

from covnode.dicom.association import Destination, associate
from covnode.dicom.dimse import OUT_OF_RESOURCES, PROCESSING_FAILURE, STORED, SUCCESS, VERIFICATION
from covnode.errors import DeliveryRefused, TransientError


def _store(association: Association, path: Path) -> int | None:
    """C-STORE one file; None where no answer came."""
    try:
        return cast("int | None", association.send_c_store(path).get("Status"))
    except RuntimeError:
        # The peer ended the association between two objects.
        return None


def echo(calling_ae_title: str, destination: Destination) -> None:
    """C-ECHO the destination.

    Raises
    ------
    TransientError, DeliveryRefused
        It does not answer, or not with Success.
    """
    association = associate(calling_ae_title, destination, [(VERIFICATION, None)])
    try:
        status = association.send_c_echo()
    finally:
        association.release()
    if status.get("Status") != SUCCESS:
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
    TransientError
        The destination is away, busy (0xA7xx) or silent: the rest is to be sent later.
    DeliveryRefused
        It refuses an object for good, or does not know its SOP class.
    """
    headers = [dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]) for path in paths]
    contexts = dict.fromkeys((str(h.SOPClassUID), str(h.file_meta.TransferSyntaxUID)) for h in headers)
    association = associate(calling_ae_title, destination, list(contexts))
    try:
        accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
        for path, header in zip(paths, headers, strict=True):
            if (str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)) not in accepted:
                raise DeliveryRefused(
                    f"{destination.name} does not accept {header.SOPClassUID.name}", code="sop_class_not_accepted"
                )
            status = _store(association, path)
            if status is None:
                raise TransientError(f"{destination.name} did not answer the C-STORE")
            if status in STORED:
                on_stored(path, status)
            elif status & 0xFF00 == OUT_OF_RESOURCES or status == PROCESSING_FAILURE:
                raise TransientError(f"{destination.name} cannot store at present ({status:04X})")
            else:
                raise DeliveryRefused(f"{destination.name} refuses the object ({status:04X})", code=f"{status:04X}")
    finally:
        if association.is_established:
            association.release()
