"""Patients by keyed digest: which generation of keys each has for ever, and into whom a person merged them.

Comes from the intake, the first time that a patient's series is de-identified; a rotation changes no row's generation,
so that links, dates and pseudonyms stay. Holds no identity: the date offset is sealed, since it would undo the dates.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from covnode.errors import ConfigurationError, StaleClaim
from covnode.store.sealing import Sealed, Seals
from covnode.store.sessions import guarded
from covnode.store.tables import PatientRow


def known(session: Session, patient_digest: str) -> PatientRow | None:
    """Return the patient of that digest."""
    return session.get(PatientRow, patient_digest)


def add(session: Session, seals: Seals, row: PatientRow, date_offset_days: int) -> PatientRow:
    """Add a patient, or leave the row that is there: whoever comes first decides on the generation.

    Parameters
    ----------
    row
        Digest, generation and pseudonymous id.
    """
    sealed = seals.seal(str(date_offset_days).encode(), context_of(row.patient_digest))
    values = {
        "patient_digest": row.patient_digest,
        "key_generation": row.key_generation,
        "pseudonymous_patient_id": row.pseudonymous_patient_id,
        "sealed_offset": sealed.content,
        "sealed_with": sealed.generation,
    }
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(insert(PatientRow).values(values).on_conflict_do_nothing())
    return session.get_one(PatientRow, row.patient_digest, populate_existing=True)


def context_of(patient_digest: str) -> str:
    """Return what the sealed offset of a patient is bound to."""
    return f"patient:{patient_digest}"


def date_offset_days(seals: Seals, row: PatientRow) -> int:
    """Open the days to add to the patient's dates."""
    return int(seals.unseal(Sealed(row.sealed_offset, row.sealed_with), context_of(row.patient_digest)))


def by_pseudonym(session: Session, pseudonymous_patient_id: str, *, for_update: bool = False) -> PatientRow | None:
    """Return the patient of that pseudonymous id."""
    query = sa.select(PatientRow).where(PatientRow.pseudonymous_patient_id == pseudonymous_patient_id)
    # The database's word, not the session's memory: another process may have merged the patient meanwhile.
    query = query.execution_options(populate_existing=True)
    return session.scalars(query.with_for_update() if for_update else query).one_or_none()


def heading(session: Session, row: PatientRow) -> PatientRow:
    """Return the patient whom this one was merged into, at the end of the chain; itself where it was not."""
    while row.merged_into is not None:
        into = by_pseudonym(session, row.merged_into)
        if into is None:
            raise ConfigurationError(
                "a patient was merged into one that is not there: the database was changed by hand"
            )
        row = into
    return row


def group_of(session: Session, pseudonymous_patient_id: str) -> list[str]:
    """Return a patient's pseudonymous id and those of all that were merged into it, directly or not."""
    group = [pseudonymous_patient_id]
    newest = group
    while newest:
        query = sa.select(PatientRow.pseudonymous_patient_id).where(PatientRow.merged_into.in_(newest))
        newest = list(session.scalars(query))
        group = [*group, *newest]
    return group


def merge(session: Session, from_id: str, into_id: str) -> None:
    """Have the future series of one patient carry the pseudonymous id and the date offset of another.

    Both must be merged into nobody when their rows are locked, so that no order of merges makes a cycle.

    Raises
    ------
    StaleClaim
        Another process has merged one of them meanwhile.
    """
    locked = [by_pseudonym(session, each, for_update=True) for each in sorted((from_id, into_id))]
    if any(row is None or row.merged_into is not None for row in locked):
        raise StaleClaim("another process has merged one of the patients meanwhile: try again")
    row = PatientRow
    guarded(
        session,
        sa.update(row)
        .where(row.pseudonymous_patient_id == from_id, row.merged_into.is_(None))
        .values(merged_into=into_id),
    )
