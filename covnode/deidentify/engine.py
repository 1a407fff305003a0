"""De-identifies a series: PS3.15 Annex E Basic Profile on every file, then an independent check, or nothing at all.

Comes from receive (a ReceivedSeries, identity inside); goes to the queue as a DeidentifiedSeries, and to the vault as
an Identity. Pixel data are looked at for text and copied byte for byte, unless text in them is to be masked. Never
leaves a file behind that the check refused.
"""

import hashlib
import os
import shutil
from collections import Counter
from pathlib import Path

from covnode.deidentify.burned_in import Boxes, boxes_to_mask, refuse_text, refuse_text_left
from covnode.deidentify.elements import UnreadableError
from covnode.deidentify.keys import PseudonymKeys
from covnode.deidentify.leaks import LeakCheck
from covnode.deidentify.originals import Original, read_originals, unreadable
from covnode.deidentify.patient import Patient, read_patient
from covnode.deidentify.suspicion import BurnedInText
from covnode.deidentify.values import is_registered
from covnode.deidentify.writing import Copy, write_deidentified
from covnode.records.identity import Identity
from covnode.records.series import DeidentifiedSeries, ReceivedSeries


def deidentify_series(
    series: ReceivedSeries,
    out: Path,
    keys: PseudonymKeys,
    burned_in_text: BurnedInText = BurnedInText.QUARANTINE,
) -> tuple[DeidentifiedSeries, Identity]:
    """Write a de-identified copy of a series into a folder and check it.

    The folder appears, synced, with all files in it (00001.dcm, ... in the order of the originals'
    ``content_digest``; each content once), or it does not appear; one that exists is replaced. The same series and
    keys give the same bytes.

    Raises
    ------
    DeidentificationRefused
        ``unreadable_instance``, ``conflicting_identity``, ``burned_in_text``, ``secondary_capture``,
        ``embedded_overlay``, ``pixel_data_unreadable``, or ``identity_left`` when the check finds an identifying
        value in the copy.
    OSError
        When an original cannot be read or the folder cannot be written.
    """
    originals = read_originals(series.instances, burned_in_text)
    patient = read_patient(originals[0].path)
    boxes = boxes_to_mask(originals) if burned_in_text is BurnedInText.MASK else {}
    copies = _copies(originals, patient, keys, boxes)
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)  # left by a process that was killed
    draft.mkdir(parents=True)
    try:
        names = _write(originals, copies, draft)
        if burned_in_text is BurnedInText.QUARANTINE:
            refuse_text(originals)
        elif boxes:
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
    return deidentified, _identity(originals, patient, copies, keys)


def _copies(originals: tuple[Original, ...], patient: Patient, keys: PseudonymKeys, boxes: Boxes) -> tuple[Copy, ...]:
    """One per original; where several contents share a SOP Instance UID, each gets one of its own."""
    uses = Counter(original.sop_instance_uid for original in originals)
    first = originals[0]
    # a patient without an id is known by the study alone
    whose = (patient.issuer, patient.patient_id) if patient.patient_id.strip() else ("study", first.study_instance_uid)
    return tuple(
        Copy(
            keys=keys,
            offset_days=keys.date_offset_days(*whose),
            sop_instance_uid=keys.uid(
                original.sop_instance_uid
                if uses[original.sop_instance_uid] == 1
                else f"{original.sop_instance_uid} {original.content_digest}"
            ),
            frame_of_reference_uid=keys.uid(f"frame of reference of {first.series_instance_uid}"),
            patient_id=keys.patient_id(*whose),
            boxes=boxes,
        )
        for original in originals
    )


def _write(originals: tuple[Original, ...], copies: tuple[Copy, ...], draft: Path) -> list[str]:
    """Write and check every copy; returns their names."""
    check = LeakCheck()
    for original in originals:
        check.learn(original.path)
    names = []
    for number, (original, copy) in enumerate(zip(originals, copies, strict=True), start=1):
        name = f"{number:05d}.dcm"
        try:
            write_deidentified(original.path, draft / name, copy)
        except UnreadableError as error:
            raise unreadable(str(error)) from error
        except RecursionError as error:
            raise unreadable("sequences are nested too deeply") from error
        check.verify(draft / name)
        names.append(name)
    return names


def _publish(draft: Path, out: Path) -> None:
    """Give the draft its name, durably; a copy of an earlier attempt makes way."""
    _sync(draft)
    if out.exists():
        stale = out.with_name(f".{out.name}.stale")
        shutil.rmtree(stale, ignore_errors=True)
        out.rename(stale)
        draft.rename(out)
        shutil.rmtree(stale, ignore_errors=True)
    else:
        draft.rename(out)
    _sync(out.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _identity(
    originals: tuple[Original, ...], patient: Patient, copies: tuple[Copy, ...], keys: PseudonymKeys
) -> Identity:
    first = originals[0]
    uids = {first.study_instance_uid, first.series_instance_uid}
    uids |= {original.frame_of_reference_uid for original in originals if original.frame_of_reference_uid}
    instances = {copy.sop_instance_uid: o.sop_instance_uid for o, copy in zip(originals, copies, strict=True)}
    return Identity(
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        frame_of_reference_uid=first.frame_of_reference_uid or None,
        attributes=patient.attributes,
        uid_map={uid if is_registered(uid) else keys.uid(uid): uid for uid in sorted(uids)} | instances,
        ambiguous_references=len(set(instances.values())) < len(instances),
    )
