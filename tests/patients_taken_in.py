"""Series of patients as the intake hands them over, without files: for tests of what happens to identities."""

from arriving import arrived

from covnode.deidentify.key_file import KeyFile
from covnode.records.identity import Identity
from covnode.records.series import DeidentifiedSeries
from covnode.store import arrivals, series
from covnode.store.sealing import Seals
from covnode.store.vault import IdentityVault
from covnode.wiring.intake import IntakeInStore, being_made
from covnode.wiring.node import Node
from covnode.wiring.patients import PatientsInStore


def identity_of(node: Node, keys: KeyFile, patient_id: str, number: int) -> Identity:
    """What the engine makes of a series of a patient."""
    study, series_uid = f"1.2.3.{number}", f"1.2.3.{number}.1"
    whose = ("HOSP", patient_id) if patient_id else ("study", study)
    pseudonyms = PatientsInStore(node.transaction, keys).of(*whose)
    attributes = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": f"Sentinel{patient_id}^Jane"}]},
        "00100020": {"vr": "LO", "Value": [patient_id]} if patient_id else {"vr": "LO"},
        "00100021": {"vr": "LO", "Value": ["HOSP"]},
        "00100030": {"vr": "DA", "Value": ["19501231"]},
        "00080050": {"vr": "SH", "Value": [f"ACC-{number}"]},
    }
    return Identity(
        study_instance_uid=study,
        series_instance_uid=series_uid,
        frame_of_reference_uid=None,
        attributes=attributes,
        uid_map={pseudonyms.keys.uid(uid): uid for uid in (study, series_uid)},
        pseudonymous_patient_id=pseudonyms.patient_id,
    )


def take_in(node: Node, patient_id: str, number: int) -> tuple[str, str, Identity]:
    """Hand one series over; return our ids of it and of its analysis, and its identity."""
    keys = KeyFile(node.home.keys)
    with node.transaction() as session:
        (series_id,) = arrivals.record(session, [arrived(name=f"s{number}", study_digest=f"study{number}")], "amend")
        series.mark_complete(session, series_id, 1, "why")
        series.mark_chosen(session, series_id, 1)
    identity = identity_of(node, keys, patient_id, number)
    intake = IntakeInStore(node, IdentityVault(Seals(keys)))
    deidentified = DeidentifiedSeries(series_id, 1, (), "0" * 64)
    being_made(node.home, deidentified).mkdir(parents=True)
    analysis_id = intake.hand_over(deidentified, identity)
    return series_id, analysis_id, identity
