"""Instances as a door tells of them, without files: for tests of what follows."""

from msgspec.structs import replace

from covnode.records.arrival import ArrivedInstance, SliceFacts

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def arrived(number=1, *, name="series", expected=None, **changes):
    """Return slice ``number`` of an axial stack of 5 mm."""
    facts = SliceFacts(
        instance_number=number,
        position_lps_mm=(0.0, 0.0, 5.0 * number),
        orientation_lps=AXIAL,
        expected_instances=expected,
    )
    instance = ArrivedInstance(
        study_digest="study",
        series_digest=name,
        sop_digest=f"{name}-{number}",
        patient_digest="patient",
        sop_class_uid="1.2",
        transfer_syntax_uid="1.2.1",
        content_digest=f"{name}-{number}",
        size_bytes=1,
        file_name=f"{name}/{number}.dcm",
        source_ae_title="SCANNER",
        facts=facts,
    )
    return replace(instance, **changes)
