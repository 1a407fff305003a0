"""Digests of the copies of the node's own profile; ``python tests/unit/deidentify/default_copies.py`` writes them anew.

Made before the profile took options. Write them anew only where a change of the copies is meant.
"""

import csv
import hashlib
import sys
import tempfile
from pathlib import Path

import pydicom.data
from planted import KEYS, Sentinels, full_of_identity, received
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covnode.deidentify.engine import deidentify_series
from covnode.errors import DeidentificationRefused
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.series import ReceivedInstance, ReceivedSeries

DIGESTS = Path(__file__).with_name("default_copies.csv")
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
SHIPPED = Path(pydicom.data.__file__).parent


def digests(folder):
    """Digest of all copies of each series, by name."""
    found = {}
    for syntax in SYNTAXES:
        name = f"sentinels in {syntax.name}"
        _note(found, name, received(folder / name, [full_of_identity(Sentinels(), 1, transfer_syntax=syntax)]), folder)
    for preset in PhantomPreset:
        phantom = make_phantom(preset, slices=4, seed=5, size=32)
        files = write_phantom(phantom, folder / preset, attributes={"PatientName": "Zq^Ann"}).dicom
        _note(found, f"phantom {preset}", _series(files), folder)
    for path in sorted(path for path in SHIPPED.rglob("*") if path.is_file()):
        if path.read_bytes()[128:132] == b"DICM":
            _note(found, path.relative_to(SHIPPED).as_posix(), _series([path]), folder)
    return found


def _series(files):
    return ReceivedSeries("s", 1, tuple(ReceivedInstance(p, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files))


def _note(found, name, series, folder):
    try:
        copies, _ = deidentify_series(series, folder / "copies" / str(len(found)), KEYS)
    except DeidentificationRefused:
        return
    found[name] = hashlib.sha256(b"".join(path.read_bytes() for path in copies.files)).hexdigest()[:16]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, DIGESTS.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("series", "sha256"), *digests(Path(scratch)).items()])
    sys.stdout.write(f"{DIGESTS}\n")
