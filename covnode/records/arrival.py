"""An instance that has just become durable in the spool: what the door tells the receiver of it.

Made by receive, recorded by store. Original UIDs and patient values appear as keyed digests only.
"""

import msgspec


class SliceFacts(msgspec.Struct, frozen=True):
    """Where an instance lies in its series, as its header says; None where it does not say.

    Attributes
    ----------
    position_lps_mm, orientation_lps
        Image Position and Image Orientation (Patient), PS3.3 C.7.6.2.1.1, of a single-frame instance.
    frames
        Number of Frames of a multi-frame instance.
    expected_instances
        How many instances the series is to have: Number of Series Related Instances (0020,1209).
    images_in_acquisition
        How many images its acquisition came to (0020,1002): of a series there may be several.
    image_type
        Image Type, the values joined by a backslash.
    stat
        The sender or the order asked for haste: Priority HIGH of the C-STORE, Requested Procedure Priority or Study
        Priority.
    """

    instance_number: int | None = None
    acquisition_number: int | None = None
    position_lps_mm: tuple[float, float, float] | None = None
    orientation_lps: tuple[float, float, float, float, float, float] | None = None
    frames: int | None = None
    expected_instances: int | None = None
    images_in_acquisition: int | None = None
    image_type: str | None = None
    stat: bool = False


class ArrivedInstance(msgspec.Struct, frozen=True):
    """An instance that is durable in the spool.

    Attributes
    ----------
    study_digest, series_digest, sop_digest, patient_digest
        Keyed digests of the Study, Series and SOP Instance UID and of what names the patient.
    file_name
        Path of the Part 10 file, relative to the spool.
    content_digest
        Digest of the data set's bytes as received (without preamble and file meta): see receive.content.
    """

    study_digest: str
    series_digest: str
    sop_digest: str
    patient_digest: str
    sop_class_uid: str
    transfer_syntax_uid: str
    content_digest: str
    size_bytes: int
    file_name: str
    source_ae_title: str
    facts: SliceFacts


class Stored(msgspec.Struct, frozen=True, tag_field="kind", tag="stored"):
    """An instance was answered with Success (or will be: the answer follows this message)."""

    association_id: str
    instance: ArrivedInstance


class Ended(msgspec.Struct, frozen=True, tag_field="kind", tag="ended"):
    """An association has ended."""

    association_id: str
    released: bool


class CommitmentAsked(msgspec.Struct, frozen=True, tag_field="kind", tag="commitment"):
    """A storage commitment request lies in the spool, durable, and was answered with Success.

    Attributes
    ----------
    file_name
        In the spool's folder of commitment requests.
    """

    association_id: str
    file_name: str


DoorMessage = Stored | Ended | CommitmentAsked
"""What a door tells the receiver; one JSON line each, in the order in which it happened."""

write_door_message = msgspec.json.Encoder().encode
read_door_message = msgspec.json.Decoder(DoorMessage).decode
"""Raises msgspec.MsgspecError for what is no such message."""
