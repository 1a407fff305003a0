"""De-identifies a folder in one way and prints how many seconds the work took: one arm of deidentify.py, one process.

Imports, the digests that the receiver hands over and one instance to warm up lie before the clock starts.
"""

import argparse
import time
from pathlib import Path

from dicognito.anonymizer import Anonymizer
from dicom_instances import data_set_digest
from dicomanonymizer import anonymize_dicom_file
from pydicom import dcmread

from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.keys import PseudonymKeys
from covnode.records.series import ReceivedInstance, ReceivedSeries


class Covnode:
    """The series at once, checked and synced, as the node does it."""

    def __init__(self, files: list[Path]) -> None:
        instances = tuple(ReceivedInstance(path, data_set_digest(path)) for path in files)
        self._series = ReceivedSeries("series", 1, instances)
        self._keys = PseudonymKeys(b"a key of the benchmark, no site's")

    def work(self, out: Path) -> None:
        """Write the folder."""
        deidentify_series(self._series, out, self._keys)


class DicomAnonymizer:
    """File by file with its default rules; without the progress bar that its function for folders draws."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def work(self, out: Path) -> None:
        """Write the folder; nothing is synced."""
        out.mkdir()
        for file in self._files:
            anonymize_dicom_file(str(file), str(out / file.name))


class Dicognito:
    """File by file with one Anonymizer, as its documentation shows it."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files
        self._anonymizer = Anonymizer()

    def work(self, out: Path) -> None:
        """Write the folder; nothing is synced."""
        out.mkdir()
        for file in self._files:
            with dcmread(file) as dataset:
                self._anonymizer.anonymize(dataset)
                dataset.save_as(out / file.name)


ARMS = {"covnode": Covnode, "dicom-anonymizer": DicomAnonymizer, "dicognito": Dicognito}


def main() -> None:
    """De-identify and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arm", choices=ARMS)
    parser.add_argument("originals", type=Path)
    parser.add_argument("out", type=Path, help="folder to make; its sibling *.warm-up is made too")
    arguments = parser.parse_args()
    files = sorted(arguments.originals.glob("*.dcm"))
    ARMS[arguments.arm](files[:1]).work(arguments.out.with_name(f"{arguments.out.name}.warm-up"))
    arm = ARMS[arguments.arm](files)
    started_s = time.perf_counter()
    arm.work(arguments.out)
    print(time.perf_counter() - started_s)


if __name__ == "__main__":
    main()
