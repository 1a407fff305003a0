"""Instances that lie in the spool and that nobody has told the receiver of: read back from their files.

Comes from the spool, after a process died between Success and its message; goes to wiring.reconciliation.
"""

from pathlib import Path

from pydicom.filereader import read_file_meta_info

from covnode.dicom.reading import MALFORMED, quietly
from covnode.errors import InstanceRefused
from covnode.receive import header
from covnode.receive.file_meta import StoreCommand, is_whole, start_of_data_set
from covnode.receive.instance_facts import uid
from covnode.receive.spool import Spool
from covnode.records.arrival import ArrivedInstance


def recovered(spool: Spool, path: Path, name: str) -> ArrivedInstance | None:
    """Return what the door would have told of a durable file; None where its bytes are not those that were received.

    Parameters
    ----------
    name
        Of the file, relative to the spool; it ends in the digest of the content.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    try:
        with quietly():
            meta = read_file_meta_info(path)
        with path.open("rb") as file:
            start = start_of_data_set(file)
        values = header.scan(lambda count: _first(path, start, count), str(meta.TransferSyntaxUID), spool.layouts)
        if not is_whole(path):
            return None
        # No digest covers the file meta information, and PostgreSQL takes no NUL.
        source = "".join(filter(str.isprintable, str(meta.get("SourceApplicationEntityTitle", "")))).strip()
        sop_class = uid(values, header.SOP_CLASS_UID, "SOPClassUID")
        sop_instance = uid(values, header.SOP_INSTANCE_UID, "SOPInstanceUID")
        command = StoreCommand(sop_class, sop_instance, str(meta.TransferSyntaxUID), source)
        return spool.arrived(values, command, path.stem, path.stat().st_size, name)
    except (InstanceRefused, *MALFORMED):
        return None


def _first(path: Path, start: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(count)
