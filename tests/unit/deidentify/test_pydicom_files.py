"""Every data set that pydicom ships: copied with nothing identifying in it, or refused as the reviewed list says.

Compared with pydicom and the two tables alone, not with covnode's own check. The rule: no value of an attribute whose
action is not to keep it may stand in the copy's bytes before its Pixel Data, at whatever depth it stood, texts within
private and binary values included. Excepted are UIDs that PS3.6 registers, and times of day with their offset from UTC
(they stay under the option Modified Dates). Texts under six characters, and numbers or UIDs under eight digits and
points, are common tokens: they must not be the whole value of an attribute that is not kept. A longer text is no
finding where the original says the same in an attribute that is kept (a station named after its model).
"""

import csv
import hashlib
import re
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pydicom.data
import pytest
from planted import KEYS
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, UID_dictionary

from covnode.deidentify import engine, suspicion
from covnode.deidentify.engine import deidentify_series
from covnode.dicom.reading import MALFORMED
from covnode.errors import DeidentificationRefused
from covnode.records.series import ReceivedInstance, ReceivedSeries

SHIPPED = Path(pydicom.data.__file__).parent
NO_DATA_SETS = {".py", ".pyc", ".md", ".txt", ".dump", ".json", ".gz", ".icc"}
REFUSED = Path(__file__).with_name("pydicom_refused.csv")
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
SHORTEST_TEXT, SHORTEST_NUMBER = 6, 8
RUN = re.compile(rb"[ -~]{6,}")
OFFSET_FROM_UTC = 0x00080201
FOR_PIXELS = {"secondary_capture", "burned_in_text", "pixel_data_unreadable"}
OURS = {"removed", "yes", "modified", "dcm", "113100", "113107"}


@dataclass
class Copied:
    name: str
    original: Path
    copy: Path


def shipped():
    folders = ("test_files", "charset_files", "palettes")
    found = sorted(path for folder in folders for path in (SHIPPED / folder).rglob("*") if path.is_file())
    return [path for path in found if path.suffix not in NO_DATA_SETS]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Refusals by name, and copies."""
    return run(tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Copies of what is refused for its pixels alone, Secondary Captures most of it: here it is let through."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(suspicion, "registered_name", lambda uid: "")
        patched.setattr(suspicion, "_COLOUR", ("no colour",))
        patched.setattr(engine, "refuse_text", lambda originals: None)
        copied = run(tmp_path_factory.mktemp("captures"))[1]
    with REFUSED.open(encoding="utf-8", newline="") as file:
        names = {row["file"] for row in csv.DictReader(file) if row["code"] in FOR_PIXELS}
    return [each for each in copied if each.name in names]


def run(out):
    refused, copied = {}, []
    for number, path in enumerate(shipped()):
        instance = ReceivedInstance(path, hashlib.sha256(path.read_bytes()).hexdigest())
        name = path.relative_to(SHIPPED).as_posix()
        try:
            series, _ = deidentify_series(ReceivedSeries("s", 1, (instance,)), out / str(number), KEYS)
        except DeidentificationRefused as refusal:
            refused[name] = refusal.code
        else:
            copied.append(Copied(name, path, series.files[0]))
    return refused, copied


def test_the_refused_files_are_those_of_the_reviewed_list(outcomes):
    """A new release of pydicom may ship other files: review what is new before it is added."""
    with REFUSED.open(encoding="utf-8", newline="") as file:
        assert outcomes[0] == {row["file"]: row["code"] for row in csv.DictReader(file)}
    assert len(outcomes[1]) > 100, "most files must come through, or nothing else here shows much"


def actions():
    """Action by tag as the two tables spell it; what is in neither is removed."""
    found = {}
    for name in ("profile.csv", "kept.csv"):
        for row in csv.DictReader((files("covnode.deidentify") / name).read_text(encoding="utf-8").splitlines()):
            if "X" not in row["tag"].upper():
                is_kept = name == "kept.csv" and row["values"] != "dummy"
                found[int(row["tag"], 16)] = "K" if is_kept else row.get("basic", "D")
    return found


ACTIONS = actions()


def values_of(dataset, out=None):
    """(tag, VR, text) of every value at every depth; of bytes, the texts in them."""
    out = [] if out is None else out
    for tag in list(dataset.keys()):
        if int(tag) in PIXELS:
            continue
        raw = dataset.get_item(tag).value
        try:
            element = dataset[tag]
        except MALFORMED:
            out.extend((int(tag), "UN", text.decode()) for text in RUN.findall(raw))
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                values_of(item, out)
        elif isinstance(element.value, bytes):
            out.extend((int(tag), "UN", text.decode()) for text in RUN.findall(element.value))
        elif element.value is not None:
            values = [element.value] if isinstance(element.value, str) or element.VM <= 1 else element.value
            out.extend((int(tag), str(element.VR), str(value)) for value in values)
    return [(tag, vr, text.strip(" \0").lower()) for tag, vr, text in out]


def before_pixels(path):
    """The data set without its pixels, and its bytes."""
    with path.open("rb") as stream:
        dataset = dcmread(stream, stop_before_pixels=True)
        position = stream.tell()
    content = path.read_bytes()
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        start = 144 + dataset.file_meta.FileMetaInformationGroupLength
        content = content[:start] + zlib.decompress(content[start:], -zlib.MAX_WBITS)
        position = content.rindex(b"\xe0\x7f\x10\0")
    return dataset, content[:position].lower()


def is_common(text):
    return len(text) < (SHORTEST_NUMBER if re.fullmatch(r"[-+\d.]+", text) else SHORTEST_TEXT)


def survivors(original: Dataset, copy: Dataset, header: bytes):
    """Tags of the original whose values are still there; the rule is this module's docstring."""
    sent = values_of(original) + values_of(original.file_meta)
    kept = "\0".join(text for tag, _, text in sent if ACTIONS.get(tag) == "K")
    made = {text for tag, vr, text in values_of(copy) if ACTIONS.get(tag) != "K" and vr != "TM"} - OURS
    found = set()
    for tag, vr, text in sent:
        if (
            not text
            or vr == "TM"
            or tag == OFFSET_FROM_UTC
            or ACTIONS.get(tag) == "K"
            or (tag >> 16 == 2 and tag != 0x00020003)
        ):
            continue
        if vr == "UI" and not is_common(text):
            left = text not in UID_dictionary and text.encode() in header
        elif vr in {"DA", "DT"}:
            left = text[:8] in {value[:8] for value in made}
        elif is_common(text):
            left = text in made
        else:
            left = text.encode("utf-8") in header and text not in kept and text not in OURS
        if left:
            found.add(f"{tag:08X}")
    return found


def test_no_value_that_is_not_kept_survives(outcomes):
    assert leaks_in(outcomes[1]) == {}


def leaks_in(copied):
    leaks = {}
    for each in copied:
        original, _ = before_pixels(each.original)
        copy, header = before_pixels(each.copy)
        found = survivors(original, copy, header)
        found |= {f"{tag:08X} not ASCII" for tag, _, text in values_of(copy) if not text.isascii()}
        if found:
            leaks[each.name] = found
    return leaks


def test_no_value_survives_in_captures_either(captures):
    """Those that pydicom ships to show character sets and compressed pixels."""
    assert len(captures) > 40
    assert leaks_in(captures) == {}
    assert compared_pixels(captures) > 30


def test_the_comparison_finds_what_the_originals_hold(outcomes):
    """Compared with themselves, all that have an identity are full of survivors, nested and private ones too."""
    found = {
        each.name: survivors(before_pixels(each.original)[0], *before_pixels(each.original)) for each in outcomes[1]
    }
    assert all(found.values())
    assert {"00100010", "00080020", "0020000D", "00080080"} <= found["test_files/CT_small.dcm"]
    assert any(int(tag, 16) >> 16 & 1 for tag in found["test_files/CT_small.dcm"]), "texts in private values count"


def test_pixels_stay_bit_for_bit(outcomes):
    assert compared_pixels(outcomes[1]) > 40


def compared_pixels(copied):
    compared = 0
    for each in copied:
        original, copy = dcmread(each.original), dcmread(each.copy)
        for tag in PIXELS:
            assert (tag in original) == (tag in copy), each.name
            if tag in original:
                compared += 1
                assert original.get_item(tag).value == copy.get_item(tag).value, each.name
    return compared


def test_copies_have_no_private_tag_overlay_curve_or_icon(outcomes):
    for each in outcomes[1]:
        copy = dcmread(each.copy)
        for element in copy.iterall():
            assert not element.tag.is_private, each.name
            assert element.tag >> 24 not in {0x50, 0x60}, each.name
        assert "IconImageSequence" not in copy
        assert "DataSetTrailingPadding" not in copy


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="dcmdump (DCMTK) is not installed")
def test_dcmdump_reads_every_copy_without_a_word(outcomes):
    """But for copies of files that it cannot read either, for their pixels."""
    said = {each.name: dcmdump(each.copy) for each in outcomes[1]}
    before = {each.name: dcmdump(each.original) for each in outcomes[1] if said[each.name]}
    assert {name: words for name, words in said.items() if words and not before[name]} == {}
    assert len([name for name, words in said.items() if words]) < 5


def dcmdump(path):
    run = subprocess.run(["dcmdump", "-q", "-M", path], capture_output=True, text=True, timeout=60, check=False)
    return re.sub(r"\S*/\S+", "", run.stderr) or ("failed" if run.returncode else "")
