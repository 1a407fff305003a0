"""Which pseudonyms a patient gets: those of the generation of keys that was the newest when the patient first came.

Asked by the engine for each series, by issuer and id; answers from the table of patients and the key file. A patient
who was merged into another gets that one's id and date offset, and keeps the UIDs of the own generation: links stay.
"""

from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from covnode.deidentify.key_file import KeyFile, KeyRing
from covnode.deidentify.keys import PatientPseudonyms
from covnode.store import patients
from covnode.store.sealing import Seals
from covnode.store.sessions import Transaction
from covnode.store.tables import PatientRow


@dataclass(frozen=True)
class PatientsInStore:
    """The engine's Pseudonyms, with the node's memory of its patients."""

    transaction: Transaction
    keys: KeyFile
    seals: Seals = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seals", Seals(self.keys))

    def of(self, issuer: str, patient_id: str) -> PatientPseudonyms:
        """Return the patient's pseudonyms; one who is new gets those of the newest generation.

        Raises
        ------
        TransientError
            The database is away.
        """
        ring = self.keys.ring
        with self.transaction() as session:
            row = patients.known(session, digest_of(ring, issuer, patient_id))
            row = row or add_patient(session, self.seals, ring, (issuer, patient_id), ring.newest)
            heading = patients.heading(session, row)
            offset_days = patients.date_offset_days(self.seals, heading)
        # Asked for anew: another process may have added the patient under a generation that is younger than the ring.
        keys = self.keys.ring.of_generation(row.key_generation)
        return PatientPseudonyms(keys, heading.pseudonymous_patient_id, offset_days)


def digest_of(ring: KeyRing, issuer: str, patient_id: str) -> str:
    """Return what the table of patients knows a patient by."""
    return ring.digest("patient of", issuer.strip(), patient_id.strip())


def add_patient(session: Session, seals: Seals, ring: KeyRing, whose: tuple[str, str], generation: int) -> PatientRow:
    """Add a patient under a generation of keys; one who is there stays as it is."""
    pseudonyms = ring.of_generation(generation).of(*whose)
    row = PatientRow(
        patient_digest=digest_of(ring, *whose),
        key_generation=generation,
        pseudonymous_patient_id=pseudonyms.patient_id,
    )
    return patients.add(session, seals, row, pseudonyms.date_offset_days)
