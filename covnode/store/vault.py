"""The identity vault: the receiver puts identities in, the sender takes them out; the worker cannot import it.

No identity is read without a row in the audit trail, written in the same transaction before anything is opened. Rows
are found by the pseudonyms that they are tied to, without opening them.
"""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from covnode.errors import ConfigurationError, DeliveryRefused
from covnode.records.identity import Identity
from covnode.store import audit
from covnode.store.sealing import Sealed, Seals
from covnode.store.tables import AnalysisRow, DeliveredObjectRow, DeliveryRow, IdentityRow


class IdentityVault:
    """Identities of series revisions, sealed with the site's keys."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals

    def keep(self, session: Session, series_id: str, revision: int, identity: Identity) -> None:
        """Seal and store, tied to the pseudonyms of the copy; a repeat replaces."""
        sealed = self._seals.seal(identity.model_dump_json().encode(), context_of(series_id, revision))
        row = IdentityRow(series_id=series_id, revision=revision, sealed=sealed.content, sealed_with=sealed.generation)
        tie(row, identity, identity.pseudonymous_patient_id)
        session.merge(row)

    def read(
        self, session: Session, series_id: str, revision: int, access: audit.Access, subjects: Sequence[str] = ()
    ) -> Identity:
        """Unseal one, audited.

        Parameters
        ----------
        subjects
            Our ids of what it is needed for, beside the series.

        Raises
        ------
        DeliveryRefused
            ``no_identity``: there is none, or not any more.
        ConfigurationError
            The key is another one.
        """
        row = session.get(IdentityRow, (series_id, revision))
        if row is None:
            raise DeliveryRefused(
                f"the vault holds no identity for {series_id} revision {revision}: was it erased?", "no_identity"
            )
        (identity,) = self.read_all(session, [row], access, subjects)
        return identity

    def read_all(
        self, session: Session, rows: Sequence[IdentityRow], access: audit.Access, subjects: Sequence[str] = ()
    ) -> list[Identity]:
        """Unseal several, audited by one row."""
        series_ids = sorted({row.series_id for row in rows})
        named = list(dict.fromkeys([*subjects, *series_ids]))
        audit.write(session, access, audit.Outcome.DONE, named, identities=len(rows))
        return [unsealed(self._seals, row) for row in rows]


def context_of(series_id: str, revision: int) -> str:
    """Return what a sealed identity is bound to."""
    return f"{series_id}:{revision}"


def unsealed(seals: Seals, row: IdentityRow) -> Identity:
    """Open a row; for the vault itself and its upkeep, which audit it.

    Raises
    ------
    ConfigurationError
        The key is another one, or the row is of a newer release.
    """
    plain = seals.unseal(Sealed(row.sealed, row.sealed_with), context_of(row.series_id, row.revision))
    try:
        return Identity.model_validate_json(plain)
    except ValidationError:
        # its cause would quote the identity
        raise ConfigurationError("a sealed identity has fields that this covnode does not know") from None


def tie(row: IdentityRow, identity: Identity, pseudonymous_patient_id: str) -> None:
    """Write the pseudonyms that the row is found by into its columns."""
    pseudonyms = {original: pseudonym for pseudonym, original in identity.uid_map.items()}
    row.pseudonymous_patient_id = pseudonymous_patient_id
    row.pseudonymous_study_uid = pseudonyms.get(identity.study_instance_uid)
    row.pseudonymous_series_uid = pseudonyms.get(identity.series_instance_uid)


def of_patients(session: Session, pseudonymous_patient_ids: Collection[str]) -> list[IdentityRow]:
    """Return the rows of those patients."""
    return _rows(session, IdentityRow.pseudonymous_patient_id.in_(pseudonymous_patient_ids))


def of_series(session: Session, series_id: str) -> list[IdentityRow]:
    """Return the rows of all revisions of a series."""
    return _rows(session, IdentityRow.series_id == series_id)


def of_uid(session: Session, uid: str) -> list[IdentityRow]:
    """Return the rows of a pseudonymous study or series, or of the series that a delivered object is a result of."""
    result_of = (
        sa.select(IdentityRow)
        .join(
            AnalysisRow,
            sa.and_(AnalysisRow.series_id == IdentityRow.series_id, AnalysisRow.revision == IdentityRow.revision),
        )
        .join(DeliveryRow, DeliveryRow.analysis_id == AnalysisRow.analysis_id)
        .join(DeliveredObjectRow, DeliveredObjectRow.delivery_id == DeliveryRow.delivery_id)
        .where(DeliveredObjectRow.sop_instance_uid == uid)
    )
    named = _rows(
        session, sa.or_(IdentityRow.pseudonymous_study_uid == uid, IdentityRow.pseudonymous_series_uid == uid)
    )
    return named or list(session.scalars(result_of).unique())


IS_UNTIED = IdentityRow.pseudonymous_patient_id.is_(None)
"""An older release sealed it, and nobody with the key has tied it to its pseudonyms since."""


def after(
    session: Session, last: tuple[str, int], limit: int, which: sa.ColumnElement[bool] | None = None
) -> list[IdentityRow]:
    """Return the next rows, or those of one kind, in the order of series and revision."""
    key = sa.tuple_(IdentityRow.series_id, IdentityRow.revision)
    query = sa.select(IdentityRow).where(key > last, sa.true() if which is None else which)
    query = query.order_by(IdentityRow.series_id, IdentityRow.revision).limit(limit)
    return list(session.scalars(query))


def count(session: Session) -> int:
    """Return how many identities the vault holds."""
    return session.scalar(sa.select(sa.func.count()).select_from(IdentityRow)) or 0


def erase(session: Session, rows: Collection[IdentityRow]) -> None:
    """Remove rows from the vault."""
    for row in rows:
        session.delete(row)
    session.flush()


def _rows(session: Session, which: sa.ColumnElement[bool]) -> list[IdentityRow]:
    query = sa.select(IdentityRow).where(which).order_by(IdentityRow.series_id, IdentityRow.revision)
    return list(session.scalars(query))
