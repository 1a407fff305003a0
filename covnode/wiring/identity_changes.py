"""What a person changes about patients, audited: two are one, or the identities of one are erased.

Comes from the command line. Says what it found by our own ids and pseudonyms. Received images are not touched: the
spool is the site's to empty.
"""

import contextlib
import shutil
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.errors import ConfigurationError
from covnode.records.job import OPEN_ANALYSES, OPEN_DELIVERIES, SeriesState
from covnode.store import audit, patients, series, vault
from covnode.store.tables import AnalysisRow, DeliveryRow, IdentityRow, InstanceRow, PatientRow, SeriesRow
from covnode.wiring.identities import PATIENT, OpenVault, refuse_identity
from covnode.wiring.node import Node

_ON_ITS_WAY = (SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.CHOSEN)
_UNKNOWN = "is no pseudonymous Patient ID (CN-…) of this node."


def merge(opened: OpenVault, from_id: str, into_id: str, access: audit.Access) -> str:
    """Take two pseudonymous patients for one person; return the id that series to come will carry.

    Raises
    ------
    ConfigurationError
        One is unknown or was merged before; or both are one already.
    StaleClaim
        Another process has merged one of them meanwhile.
    """
    with opened.audited(access) as session:
        rows = [_patient(session, each) for each in (from_id, into_id)]
        refusal, heading = _merge_refusal(session, *rows)
        subjects = [row.pseudonymous_patient_id for row in rows if row is not None]
        _check_reason(opened, vault.of_patients(session, subjects), access)
        audit.write(session, access, audit.Outcome.REFUSED if refusal else audit.Outcome.DONE, subjects)
        if not refusal:
            patients.merge(session, from_id, heading)
    if refusal:
        raise ConfigurationError(refusal)
    return heading


def _merge_refusal(session: Session, row: PatientRow | None, into: PatientRow | None) -> tuple[str, str]:
    """Return why the two cannot be merged (empty: they can), and at whom the second's chain of merges ends."""
    if row is None or into is None:
        return f"one of the two {_UNKNOWN}", ""
    heading = patients.heading(session, into).pseudonymous_patient_id
    if heading == row.pseudonymous_patient_id:
        return "the two are one patient already: a merge must not go round in a circle.", heading
    if row.merged_into is not None:
        return f"{row.pseudonymous_patient_id} was merged into {row.merged_into} before.", heading
    return "", heading


def series_of(node: Node, patient_id: str) -> list[str]:
    """Return our ids of the series whose identities `erase` would remove."""
    with node.transaction() as session:
        return _series_ids(vault.of_patients(session, patients.group_of(session, patient_id)))


def erase(opened: OpenVault, patient_id: str, access: audit.Access) -> list[str]:
    """Remove a patient's identities from the vault, and the copies of results that bear them; return our series' ids.

    Those merged into the patient go with it. The patient's row stays: a keyed digest, so that the pseudonym of whoever
    comes again is the same.

    Raises
    ------
    ConfigurationError
        The patient is unknown, or merged into another; or analyses or deliveries are open.
    """
    with opened.audited(access) as session:
        refusal, rows = _to_erase(session, patient_id)
        _check_reason(opened, rows, access)
        outcome = audit.Outcome.REFUSED if refusal else audit.Outcome.DONE
        series_ids = _series_ids(rows)
        audit.write(session, access, outcome, [patient_id, *series_ids] if rows else [], identities=len(rows))
        if not refusal:
            for delivery_id in session.scalars(_deliveries_of(series_ids)):
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(opened.node.home.outbox / delivery_id)
            vault.erase(session, rows)
    if refusal:
        raise ConfigurationError(refusal)
    return series_ids


def spool_folders(node: Node, series_ids: list[str]) -> list[Path]:
    """Return the folders of the spool that hold the series as received."""
    with node.transaction() as session:
        names = session.scalars(sa.select(InstanceRow.file_name).where(InstanceRow.series_id.in_(series_ids)))
        folders = {(node.home.spool / name).parent for name in names}
    return sorted(folder for folder in folders if folder.exists())


def left_elsewhere(node: Node, series_ids: list[str]) -> list[str]:
    """Return the series of which other hosts hold received images and delivered results, where hosts share none."""
    elsewhere = sa.select(SeriesRow.series_id).where(SeriesRow.series_id.in_(series_ids), ~series.in_spool(node.spool))
    with node.transaction() as session:
        return sorted(session.scalars(elsewhere))


def _to_erase(session: Session, patient_id: str) -> tuple[str, list[IdentityRow]]:
    """Return why the patient's identities cannot be erased (empty: they can), and the rows."""
    patient = _patient(session, patient_id)
    if patient is None:
        return f"this {_UNKNOWN}", []
    if patient.merged_into is not None:
        return f"{patient_id} was merged into {patient.merged_into}: erase that one, it takes this one along.", []
    rows = vault.of_patients(session, patients.group_of(session, patient_id))
    if not rows:
        return "the vault holds no identity of this patient.", []
    waiting = _open_work(session, _series_ids(rows))
    if waiting:
        ids = ", ".join(waiting)
        return f"still open: {ids}. See 'covnode jobs list' and 'covnode series list', and erase when they ended.", rows
    return "", rows


def _open_work(session: Session, series_ids: list[str]) -> list[str]:
    on_its_way = sa.select(SeriesRow.series_id).where(
        SeriesRow.series_id.in_(series_ids), SeriesRow.state.in_(_ON_ITS_WAY)
    )
    analyses = sa.select(AnalysisRow.analysis_id).where(
        AnalysisRow.series_id.in_(series_ids), AnalysisRow.state.in_(OPEN_ANALYSES)
    )
    deliveries = _deliveries_of(series_ids).where(DeliveryRow.state.in_(OPEN_DELIVERIES))
    return [found for query in (on_its_way, analyses, deliveries) for found in session.scalars(query)]


def _deliveries_of(series_ids: list[str]) -> "sa.Select[str]":
    of_series = AnalysisRow.series_id.in_(series_ids)
    return (
        sa.select(DeliveryRow.delivery_id)
        .join(AnalysisRow, AnalysisRow.analysis_id == DeliveryRow.analysis_id)
        .where(of_series)
    )


def _patient(session: Session, name: str) -> PatientRow | None:
    return patients.by_pseudonym(session, name) if PATIENT.fullmatch(name) else None


def _series_ids(rows: list[IdentityRow]) -> list[str]:
    return sorted({row.series_id for row in rows})


def _check_reason(opened: OpenVault, rows: list[IdentityRow], access: audit.Access) -> None:
    """Have a reason refused that names the patient; what is opened for it is shown to nobody."""
    refuse_identity(access.reason, [vault.unsealed(opened.seals, row) for row in rows])
