"""What the database knows of instances that a storage commitment asks for."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.store.tables import InstanceRow, SeriesRow

_AT_A_TIME = 500


class HeldFile(NamedTuple):
    """One recorded file of an instance; the rest as in its series."""

    file_name: str
    size_bytes: int
    sop_class_uid: str
    spool: str | None = None
    receiver: str | None = None
    files_held: bool = True


def files_of(session: Session, sop_digests: Sequence[str]) -> dict[str, list[HeldFile]]:
    """Return the recorded files of each instance, of whatever series, by the digest of its SOP Instance UID."""
    found: dict[str, list[HeldFile]] = {}
    for start in range(0, len(sop_digests), _AT_A_TIME):
        query = (
            sa.select(InstanceRow.sop_digest, InstanceRow.file_name, InstanceRow.size_bytes, InstanceRow.sop_class_uid)
            .join(SeriesRow)
            .add_columns(SeriesRow.spool, SeriesRow.receiver, SeriesRow.files_held)
            .where(InstanceRow.sop_digest.in_(sop_digests[start : start + _AT_A_TIME]))
        )
        for digest, *held in session.execute(query):
            found.setdefault(digest, []).append(HeldFile(*held))
    return found
