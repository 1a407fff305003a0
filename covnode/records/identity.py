"""Whose series it is: what must come back on the results, and nothing else.

Made by deidentify, kept encrypted in the vault, read by deliver and interlock. The worker never holds one:
infer, volume, networks and report may not import this module (import-linter).
"""

from pydantic import BaseModel, ConfigDict, Field


class Identity(BaseModel):
    """The original identity of one series.

    Attributes
    ----------
    study_instance_uid, series_instance_uid, frame_of_reference_uid
        As in the original.
    attributes
        DICOM JSON (PS3.18 Annex F) of the attributes of the Patient and General Study modules (and of
        PatientIdentityRemoved and its kin) that the original had and that results must carry again.
    uid_map
        Pseudonymous UID -> original UID, for every UID that a result may refer to: study, series, frame of
        reference, instances.
    ambiguous_references
        Several instances with different content share one SOP Instance UID: a reference to it names no single
        image, so results are kept but never delivered.
    pseudonymous_patient_id
        Of the de-identified copy; empty in what releases before the table of patients sealed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    study_instance_uid: str = Field(repr=False)
    series_instance_uid: str = Field(repr=False)
    frame_of_reference_uid: str | None = Field(repr=False)
    attributes: dict[str, object] = Field(repr=False)
    uid_map: dict[str, str] = Field(repr=False)
    ambiguous_references: bool = False
    pseudonymous_patient_id: str = ""
