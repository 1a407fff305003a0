"""The audit trail of identities: who looked, when, why, at what, and what came of it; rows are only ever added.

Comes from the vault and from the commands on identities, in the transaction of what they did: without the row, no
look-up. Holds our own ids and pseudonyms, never an identity. Triggers in both databases refuse a change of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.store.tables import AuditRow


class Action(StrEnum):
    """What was done with identities."""

    INIT = "init"
    TIE = "tie"
    ROTATE = "rotate"
    DELIVER = "deliver"
    LOOKUP = "lookup"
    EXPORT = "export"
    MERGE = "merge"
    ERASE = "erase"


class Outcome(StrEnum):
    """What came of it; work that takes long has a row when it begins and one when it is done."""

    BEGUN = "begun"
    DONE = "done"
    NOT_FOUND = "not_found"
    REFUSED = "refused"


@dataclass(frozen=True)
class Access:
    """Who does what, and why.

    Attributes
    ----------
    actor
        An OS user, or a role of the node.
    reason
        In the words of a person, or the delivery that needs it.
    """

    actor: str
    action: Action
    reason: str


def write(
    session: Session, access: Access, outcome: Outcome, subjects: Sequence[str] = (), *, identities: int = 0
) -> None:
    """Add one row, at once: where it cannot be written the transaction fails before anything is read.

    Parameters
    ----------
    subjects
        Our ids and pseudonyms.
    identities
        How many identities were read or changed.
    """
    row = AuditRow(
        at=utc_now(),
        actor=access.actor,
        action=access.action,
        subjects=list(subjects),
        reason=access.reason,
        outcome=outcome,
        identities=identities,
    )
    session.add(row)
    session.flush()


def newest(session: Session, limit: int | None) -> list[AuditRow]:
    """Return the rows, newest first; all where there is no limit."""
    return list(session.scalars(sa.select(AuditRow).order_by(AuditRow.audit_id.desc()).limit(limit)))
