"""Series as scanners write them, headers alone: what the choice sees of a study."""

from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from covnode.choose.facts import SpooledFile, facts_of
from covnode.choose.rules import SHIPPED, load_rules
from covnode.choose.score import score
from covnode.records.arrival import SliceFacts

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


@dataclass
class Scanned:
    """How one series of a study was made."""

    slices: int = 60
    step_mm: float = 5.0
    orientation: tuple[float, ...] = AXIAL
    sop_class: str = CTImageStorage
    attributes: dict[str, object] = field(default_factory=dict)


def scanned(slices=60, step_mm=5.0, orientation=AXIAL, sop_class=CTImageStorage, **attributes) -> Scanned:
    usual = {
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
        "BodyPartExamined": "CHEST",
        "SliceThickness": step_mm,
        "ConvolutionKernel": "B31f",
        "SeriesDescription": "Thorax 5.0 B31f",
    }
    return Scanned(slices, step_mm, orientation, sop_class, {**usual, **attributes})


SERIES = {
    "thin lung": scanned(320, 1.0, ConvolutionKernel="B60f", SeriesDescription="Lunge 1.0 B60f"),
    "thin soft": scanned(320, 1.0, SeriesDescription="Thorax 1.0 B31f"),
    "thick soft": scanned(),
    "MPR coronal": scanned(
        80,
        3.0,
        CORONAL,
        ImageType=["DERIVED", "SECONDARY", "MPR", "CSA MPR"],
        SeriesDescription="MPR cor",
    ),
    "unnamed coronal": scanned(80, 3.0, CORONAL, ImageType=["DERIVED", "SECONDARY"], SeriesDescription="x"),
    "MIP axial": scanned(40, 8.0, ImageType=["DERIVED", "SECONDARY", "MIP", "CSA MIP"], SeriesDescription="MIP ax"),
    "localizer": scanned(
        2, 1.0, CORONAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"], SeriesDescription="Topogramm"
    ),
    "protocol page": scanned(1, 1.0, ImageType=["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]),
    "screen save": scanned(
        1, 1.0, sop_class=SecondaryCaptureImageStorage, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]
    ),
    "dose report": scanned(1, 1.0, sop_class="1.2.840.10008.5.1.4.1.1.88.67", Modality="SR", ImageType=None),
    "head": scanned(30, 5.0, BodyPartExamined="HEAD", SeriesDescription="Schaedel"),
    "no body part": scanned(BodyPartExamined=None),
}


def write(series: Scanned, folder: Path) -> list[SpooledFile]:
    """Return what would be recorded of each file, and write the headers of the few that stand for the series."""
    folder.mkdir(parents=True, exist_ok=True)
    has_place = series.sop_class == CTImageStorage
    files = []
    for number in range(1, series.slices + 1):
        path = folder / f"{number:04d}.dcm"
        along = number * series.step_mm
        position = (-200.0, -200.0, along) if series.orientation == AXIAL else (-200.0, along, 200.0)
        facts = SliceFacts(
            instance_number=number,
            position_lps_mm=position if has_place else None,
            orientation_lps=series.orientation if has_place else None,
            image_type="\\".join(series.attributes.get("ImageType") or ()) or None,
        )
        if number in {1, series.slices // 2 + 1, series.slices}:
            _header(series).save_as(path, enforce_file_format=True)
        files.append(SpooledFile(path, facts))
    return files


def _header(series: Scanned) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = series.sop_class
    dataset.SOPInstanceUID = generate_uid()
    for keyword, value in series.attributes.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def sheet_of(series: Scanned, folder: Path, rules=None):
    rules = rules or load_rules(SHIPPED)
    return score(facts_of(write(series, folder), rules.keywords), rules, 1)
