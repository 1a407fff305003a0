"""A new generation of keys: appended to the key file, then the vault is sealed anew with it, batch by batch.

Whatever it is killed at, every row opens: the key file keeps all generations, and each row says which one sealed it.
Before the second generation is made, the identities of older releases are tied to their pseudonyms, so that every
patient who is known keeps the first.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from covnode.deidentify import key_file
from covnode.deidentify.key_file import KeyFile
from covnode.deliver.dicom_json import element_from_json
from covnode.errors import ConfigurationError
from covnode.records.identity import Identity
from covnode.store import audit, patients, vault
from covnode.store.sealing import Sealed, Seals
from covnode.store.tables import IdentityRow, PatientRow
from covnode.wiring.node import Node
from covnode.wiring.patients import add_patient

Progress = Callable[[int, int], None]
"""Told how many rows are done, and of how many."""

_BATCH = 200
_PATIENT_ID, _ISSUER = 0x00100020, 0x00100021


class Rotated(NamedTuple):
    """What a rotation came to.

    Attributes
    ----------
    sealed, left
        How many rows were sealed anew, and how many an older generation still seals: what does not open, and what
        the intake was just sealing.
    """

    generation: int
    sealed: int
    left: int


def rotate(node: Node, access: audit.Access, progress: Progress) -> Rotated:
    """Append a generation and seal everything with it.

    Raises
    ------
    ConfigurationError
        The key file cannot be read or written.
    """
    keys = KeyFile(node.home.keys)
    tie_all(node, keys, access, progress)
    with node.transaction() as session:
        audit.write(session, access, audit.Outcome.BEGUN)
    key_file.rotate(node.home.keys)
    return seal_anew(node, access, progress)


def seal_anew(node: Node, access: audit.Access, progress: Progress) -> Rotated:
    """Seal with the newest generation what an older one sealed; what a killed rotation left, too."""
    keys = KeyFile(node.home.keys)
    seals, newest = Seals(keys), keys.newest_generation
    with node.transaction() as session:
        total = behind(session, newest)
    done = 0
    for number in itertools.chain(_renewed_identities(node, seals, newest), _renewed_offsets(node, seals, newest)):
        done += number
        progress(done, total)
    with node.transaction() as session:
        left = behind(session, newest)
        sealed = max(0, total - left)
        audit.write(session, access, audit.Outcome.DONE, identities=sealed)
    return Rotated(newest, sealed, left)


def behind(session: Session, newest: int) -> int:
    """Return how many rows an older generation sealed."""
    counts = [
        session.scalar(sa.select(sa.func.count()).select_from(row).where(row.sealed_with < newest))
        for row in (IdentityRow, PatientRow)
    ]
    return sum(count or 0 for count in counts)


def _renewed_identities(node: Node, seals: Seals, newest: int) -> Iterator[int]:
    last = ("", 0)
    while True:
        with node.transaction() as session:
            rows = vault.after(session, last, _BATCH)
            old = [row for row in rows if row.sealed_with < newest]
            for row in old:
                sealed = Sealed(row.sealed, row.sealed_with)
                new = _renewed(seals, sealed, vault.context_of(row.series_id, row.revision))
                key = sa.and_(IdentityRow.series_id == row.series_id, IdentityRow.revision == row.revision)
                _swap(session, key, IdentityRow.sealed, sealed, new)
        if not rows:
            return
        last = (rows[-1].series_id, rows[-1].revision)
        yield len(old)


def _renewed_offsets(node: Node, seals: Seals, newest: int) -> Iterator[int]:
    last = ""
    while True:
        with node.transaction() as session:
            query = sa.select(PatientRow).where(PatientRow.patient_digest > last).order_by(PatientRow.patient_digest)
            rows = list(session.scalars(query.limit(_BATCH)))
            old = [row for row in rows if row.sealed_with < newest]
            for row in old:
                sealed = Sealed(row.sealed_offset, row.sealed_with)
                new = _renewed(seals, sealed, patients.context_of(row.patient_digest))
                key = PatientRow.patient_digest == row.patient_digest
                _swap(session, key, PatientRow.sealed_offset, sealed, new)
        if not rows:
            return
        last = rows[-1].patient_digest
        yield len(old)


def _renewed(seals: Seals, sealed: Sealed, context: str) -> Sealed:
    """Seal anew; what does not open stays as it is, and holds nothing else up: `behind` goes on to count it."""
    try:
        return seals.renewed(sealed, context)
    except ConfigurationError:
        return sealed


def _swap(
    session: Session, key: sa.ColumnElement[bool], column: InstrumentedAttribute[bytes], old: Sealed, new: Sealed
) -> None:
    """Replace what is sealed, unless the intake has put something newer there since it was read."""
    statement = sa.update(column.class_).where(key, column == old.content)
    session.execute(statement.values({column.key: new.content, "sealed_with": new.generation}))


def tie_all(node: Node, keys: KeyFile, access: audit.Access, progress: Progress) -> int:
    """Tie the identities that older releases sealed to their pseudonyms, and note their patients; return how many.

    It can be broken off and done again: each batch is one transaction with its row in the audit trail.
    """
    with node.transaction() as session:
        total = untied(session)
    tied = audit.Access(access.actor, audit.Action.TIE, "an older release sealed them")
    done, last = 0, ("", 0)
    while total:
        with node.transaction() as session:
            rows = vault.after(session, last, _BATCH, vault.IS_UNTIED)
            if not rows:
                break
            audit.write(session, tied, audit.Outcome.DONE, identities=len(rows))
            done += sum(_tie(session, Seals(keys), keys, row) for row in rows)
        last = (rows[-1].series_id, rows[-1].revision)
        progress(done, total)
    return done


def untied(session: Session) -> int:
    """Return how many identities are not tied to their pseudonyms."""
    return session.scalar(sa.select(sa.func.count()).select_from(IdentityRow).where(vault.IS_UNTIED)) or 0


def _tie(session: Session, seals: Seals, keys: KeyFile, row: IdentityRow) -> bool:
    """Tie one; what does not open is left, and holds nothing else up: `untied` goes on to count it."""
    try:
        identity = vault.unsealed(seals, row)
        # Releases that do not tie know one generation.
        patient = add_patient(session, seals, keys.ring, _whose(identity), generation=1)
    except ConfigurationError:
        return False
    vault.tie(row, identity, patient.pseudonymous_patient_id)
    return True


def _whose(identity: Identity) -> tuple[str, str]:
    """Return what the engine names the patient by: issuer and id, or the study where there is no id."""
    patient_id, issuer = _text(identity, _PATIENT_ID), _text(identity, _ISSUER)
    return (issuer, patient_id) if patient_id.strip() else ("study", identity.study_instance_uid)


def _text(identity: Identity, tag: int) -> str:
    json = identity.attributes.get(f"{tag:08X}")
    try:
        return "" if json is None else str(element_from_json(tag, json).value or "")
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError("an identity of the vault is not of the form that releases wrote") from None
