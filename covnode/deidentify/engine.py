"""De-identifies a series: PS3.15 Annex E on every file, then an independent check, or nothing at all.

Comes from receive (a ReceivedSeries, identity inside); goes to the queue as a DeidentifiedSeries, and to the vault as
an Identity. Pixel data are looked at for text and copied byte for byte, unless text in them is to be masked. Never
leaves a file behind that the check refused.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

from covnode.deidentify.burned_in import Boxes, boxes_to_mask, refuse_text, refuse_text_left
from covnode.deidentify.cleaning import Cleaner
from covnode.deidentify.elements import Encoding, UnreadableError
from covnode.deidentify.keys import PatientPseudonyms, Pseudonyms
from covnode.deidentify.leaks import LeakCheck
from covnode.deidentify.options import BurnedInText, Option
from covnode.deidentify.originals import Original, read_originals, unreadable
from covnode.deidentify.patient import Patient, read_patient
from covnode.deidentify.profile import Profile, node_profile
from covnode.deidentify.syncing import Parts, write_synced
from covnode.deidentify.values import is_registered
from covnode.deidentify.writing import Copy, deidentified_copy
from covnode.disk import sync_folder
from covnode.records.identity import Identity
from covnode.records.series import DeidentifiedSeries, ReceivedSeries


def deidentify_series(
    series: ReceivedSeries, out: Path, pseudonyms: Pseudonyms, profile: Profile | None = None
) -> tuple[DeidentifiedSeries, Identity]:
    """Write a de-identified copy of a series into a folder and check it.

    The folder appears, synced, with all files in it (00001.dcm, ... in the order of the originals'
    ``content_digest``; each content once), or it does not appear; one that exists is replaced. The same series and
    pseudonyms give the same bytes.

    Parameters
    ----------
    profile
        None: the Basic Profile with modified dates.

    Raises
    ------
    DeidentificationRefused
        ``unreadable_instance``, ``conflicting_identity``, ``burned_in_text``, ``secondary_capture``,
        ``embedded_overlay``, ``pixel_data_unreadable``, or ``identity_left`` when the check finds an identifying
        value in the copy.
    OSError
        When an original cannot be read or the folder cannot be written.
    """
    profile = profile or node_profile()
    originals = read_originals(series.instances, profile.burned_in_text)
    patient = read_patient(originals[0].path)
    # a patient without an id is known by the study alone
    whose = (patient.issuer, patient.patient_id)
    of_patient = pseudonyms.of(*(whose if patient.patient_id.strip() else ("study", originals[0].study_instance_uid)))
    check = LeakCheck(profile)
    boxes = boxes_to_mask(originals) if profile.burned_in_text is BurnedInText.MASK else {}
    copies = _copies(originals, of_patient, check, boxes)
    draft = draft_of(out)
    shutil.rmtree(draft, ignore_errors=True)  # left by a process that was killed
    draft.mkdir(parents=True)
    try:
        names = _write(originals, copies, check, draft)
        if profile.burned_in_text is BurnedInText.QUARANTINE:
            refuse_text(originals)
        if boxes:
            refuse_text_left([draft / name for name in names], originals)
        _publish(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    deidentified = DeidentifiedSeries(
        series_id=series.series_id,
        revision=series.revision,
        files=tuple(out / name for name in names),
        input_sha256=hashlib.sha256("\n".join(o.content_digest for o in originals).encode()).hexdigest(),
    )
    return deidentified, _identity(originals, patient, copies, of_patient)


def draft_of(out: Path) -> Path:
    """Name the folder that becomes ``out``; a process that is killed leaves it behind."""
    return out.with_name(f".{out.name}.draft")


def _copies(
    originals: tuple[Original, ...], pseudonyms: PatientPseudonyms, check: LeakCheck, boxes: Boxes
) -> tuple[Copy, ...]:
    """One per original; where several contents share a SOP Instance UID, each gets one of its own, if UIDs are new."""
    uses = Counter(original.sop_instance_uid for original in originals)
    first, keys, profile = originals[0], pseudonyms.keys, check.profile

    def uid(original: Original) -> str:
        if Option.UIDS in profile.options:
            return original.sop_instance_uid
        is_one = uses[original.sop_instance_uid] == 1
        return keys.uid(
            original.sop_instance_uid if is_one else f"{original.sop_instance_uid} {original.content_digest}"
        )

    @cache
    def cleaner(encoding: Encoding) -> Cleaner:
        return Cleaner(profile, keys, pseudonyms.date_offset_days, check.names_somebody, encoding)

    frame_of_reference_uid = keys.uid(f"frame of reference of {first.series_instance_uid}")
    return tuple(
        Copy(
            profile=profile,
            cleaner=cleaner,
            sop_instance_uid=uid(original),
            frame_of_reference_uid=frame_of_reference_uid,
            patient_id=pseudonyms.patient_id,
            boxes=boxes,
        )
        for original in originals
    )


def _write(originals: tuple[Original, ...], copies: tuple[Copy, ...], check: LeakCheck, draft: Path) -> list[str]:
    """Write, sync and check every copy; returns their names."""
    for original in originals:
        check.learn(original.path)
    names = []
    with closing(write_synced(_made(originals, copies, draft))) as written:
        for path in written:
            check.verify(path)
            names.append(path.name)
    return names


def _made(originals: tuple[Original, ...], copies: tuple[Copy, ...], draft: Path) -> Iterator[tuple[Path, Parts]]:
    """Make one copy after the other: the path it goes to, and its bytes."""
    for number, (original, copy) in enumerate(zip(originals, copies, strict=True), start=1):
        try:
            parts = deidentified_copy(original, copy)
        except UnreadableError as error:
            raise unreadable(str(error)) from error
        except RecursionError as error:
            raise unreadable("sequences are nested too deeply") from error
        yield draft / f"{number:05d}.dcm", parts


def _publish(draft: Path, out: Path) -> None:
    """Give the draft its name, durably; a copy of an earlier attempt makes way."""
    sync_folder(draft)
    if out.exists():
        stale = out.with_name(f".{out.name}.stale")
        shutil.rmtree(stale, ignore_errors=True)
        out.rename(stale)
        draft.rename(out)
        shutil.rmtree(stale, ignore_errors=True)
    else:
        draft.rename(out)
    sync_folder(out.parent)


def _identity(
    originals: tuple[Original, ...], patient: Patient, copies: tuple[Copy, ...], pseudonyms: PatientPseudonyms
) -> Identity:
    first = originals[0]
    uids = {first.study_instance_uid, first.series_instance_uid}
    uids |= {original.frame_of_reference_uid for original in originals if original.frame_of_reference_uid}
    instances = {copy.sop_instance_uid: o.sop_instance_uid for o, copy in zip(originals, copies, strict=True)}
    new_uid = str if Option.UIDS in copies[0].profile.options else pseudonyms.keys.uid
    return Identity(
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        frame_of_reference_uid=first.frame_of_reference_uid or None,
        attributes=patient.attributes,
        uid_map={uid if is_registered(uid) else new_uid(uid): uid for uid in sorted(uids)} | instances,
        pseudonymous_patient_id=pseudonyms.patient_id,
        ambiguous_references=len(set(instances.values())) < len(instances),
    )
