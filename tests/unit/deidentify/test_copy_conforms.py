"""A copy is valid DICOM in the plainest form: ASCII, values of their VR, our own meta information, nothing around."""

import pytest
from planted import KEYS, Sentinels, ct_slice, full_of_identity, received
from pydicom import Dataset, config, dcmread
from pydicom.datadict import DicomDictionary, dictionary_VM
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLSLossless
from pydicom.valuerep import validate_value

from covnode.deidentify import values
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.profile import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Action, node_profile

CHARACTER_SETS = {
    "ISO_IR 100": ("Müller^Käthe", "Krankenhaus Köln"),
    "ISO_IR 101": ("Wałęsa^Zoë", "Łódź"),
    "ISO_IR 109": ("Ĉapelo^Ġoja", "Ħal"),
    "ISO_IR 110": ("Ķirsis^Žanis", "Rēzekne"),
    "ISO_IR 144": ("Щукин^Юлий", "Больница"),
    "ISO_IR 127": ("قباني^لنزار", "مستشفى"),
    "ISO_IR 126": ("Διονυσιος^Ζωη", "Νοσοκομείο"),
    "ISO_IR 138": ("שרון^דבורה", "בית"),
    "ISO_IR 148": ("Çavuşoğlu^Ayşe", "İzmir"),
    "ISO_IR 13": ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ﾋﾞｮｳｲﾝ"),
    "ISO_IR 166": ("นามสกุล^ชื่อ", "โรงพยาบาล"),
    "ISO_IR 192": ("Wang^XiaoDong=王^小东", "山田病院"),
    "GB18030": ("Wang^XiaoDong=王^小东", "医院"),
    "GBK": ("Wang^XiaoDong=王^小东", "医院"),
    ("", "ISO 2022 IR 87"): ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田病院"),
    ("ISO 2022 IR 13", "ISO 2022 IR 87"): ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "山田病院"),
    ("", "ISO 2022 IR 149"): ("Hong^Gildong=洪^吉洞=홍^길동", "병원"),
    ("ISO 2022 IR 6", "ISO 2022 IR 100", "ISO 2022 IR 144"): ("Buc^Jérôme=Щукин^Юлий", "Köln"),
}


@pytest.fixture
def copy_of(tmp_path):
    def deidentify(dataset, folder="out"):
        series, _ = deidentify_series(received(tmp_path / f"{folder}-in", [dataset]), tmp_path / folder, KEYS)
        return series.files[0]

    return deidentify


def sent(name, institution, stated):
    dataset = ct_slice()
    dataset.SpecificCharacterSet = list(stated) if isinstance(stated, tuple) else stated
    item = Dataset()
    item.PatientName, item.InstitutionName = name, institution
    dataset.ReferencedSeriesSequence = [item]
    dataset.PatientName, dataset.InstitutionName, dataset.Manufacturer = name, institution, institution
    dataset.StudyDescription = f"{institution} {institution}"
    return dataset


@pytest.mark.parametrize("stated", CHARACTER_SETS, ids=str)
def test_the_copy_is_ascii_and_states_no_other_character_set(copy_of, tmp_path, stated):
    name, institution = CHARACTER_SETS[stated]
    file = copy_of(sent(name, institution, stated))
    original = dcmread(next((tmp_path / "out-in").iterdir()))
    raw = [bytes(original.get_item(keyword).value) for keyword in ("PatientName", "InstitutionName")]
    assert str(original.PatientName) == name, "the character set must hold the name, or nothing is shown"
    copy = dcmread(file)
    assert "SpecificCharacterSet" not in copy
    assert copy.ReferencedSeriesSequence[0].PatientName == ""
    assert "SpecificCharacterSet" not in copy.ReferencedSeriesSequence[0]
    header = file.read_bytes().split(b"\xe0\x7f\x10\0")[0]
    assert copy.Manufacturer == "", "a text outside ASCII cannot stay, its character set does not"
    for piece in raw:
        for part in piece.replace(b"=", b"^").split(b"^"):
            assert len(part) < 4 or part not in header
    assert all(text.isascii() for text in texts_of(copy))


def texts_of(dataset):
    return [str(element.value) for element in dataset.iterall() if element.VR in values.STRING_VRS]


@pytest.mark.parametrize("stated", ["ISO_IR 999", "Zqsmith", ["ISO 2022 IR 6", "Zqsmith"]], ids=str)
def test_a_character_set_that_is_none_does_not_stay(copy_of, stated):
    dataset = ct_slice()
    dataset.add_new("SpecificCharacterSet", "CS", stated)
    file = copy_of(dataset)
    assert "SpecificCharacterSet" not in dcmread(file)
    assert b"Zqsmith" not in file.read_bytes()


def test_every_value_that_replaces_another_is_valid_for_its_vr(copy_of):
    """Every attribute of the table that is not kept as sent, written with what its VR does not allow."""
    dataset, replaced = ct_slice(), 0
    item = Dataset()
    for tag, rule in node_profile().rules.items():
        vr = DicomDictionary.get(tag, ("",))[0]
        if rule.action in {Action.REMOVE, Action.KEEP, Action.UID} or vr not in values.STRING_VRS:
            continue
        item.add_new(tag, "LT" if vr != "UI" else vr, b"Zq " * 600)
        replaced += 1
    dataset.ReferencedSeriesSequence = [item]
    (copied,) = dcmread(copy_of(dataset)).ReferencedSeriesSequence
    assert len(copied) == replaced > 150
    for element in copied:
        standard = DicomDictionary[element.tag][0]
        assert standard == element.VR
        validate_value(element.VR, str(element.value), config.RAISE)


def test_the_whole_copy_has_values_of_their_vr_and_in_their_number(copy_of):
    sentinel = Sentinels()
    for element in dcmread(copy_of(full_of_identity(sentinel))).iterall():
        if element.VR == "SQ" or element.is_empty:
            continue
        for value in [element.value] if element.VM == 1 else element.value:
            validate_value(element.VR, str(value) if element.VR in values.STRING_VRS else value, config.RAISE)
        assert dictionary_VM(element.tag) != "1" or element.VM == 1


def test_file_meta_information_is_our_own(copy_of):
    dataset = ct_slice()
    meta = dataset.file_meta
    for keyword in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle"):
        setattr(meta, keyword, "ZQSOURCE")
    for number in range(0x0026, 0x002A):  # presentation addresses and network names
        meta.add_new(0x00020000 + number, "UR", "zq.example")
    meta.ImplementationClassUID, meta.ImplementationVersionName = "1.2.840.99999.8", "ZQVERSION"
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = "1.2.840.99999.7", b"Zqsmith "
    file = copy_of(dataset)
    copied = dcmread(file).file_meta
    assert {element.tag.element for element in copied} == {0x00, 0x01, 0x02, 0x03, 0x10, 0x12, 0x13}
    assert copied.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert copied.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert copied.MediaStorageSOPInstanceUID == KEYS.uid(dataset.SOPInstanceUID)
    assert copied.MediaStorageSOPClassUID == dataset.SOPClassUID
    content = file.read_bytes().lower()
    assert not [secret for secret in (b"zq", b"99999") if secret in content]


def test_the_preamble_is_zeros(copy_of, tmp_path):
    dataset = ct_slice()
    dataset.preamble = b"II*\0Zqsmith".ljust(128, b"z")
    content = copy_of(dataset).read_bytes()
    assert next((tmp_path / "out-in").iterdir()).read_bytes()[:11] == b"II*\0Zqsmith"
    assert content[:132] == bytes(128) + b"DICM"


@pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, JPEGLSLossless], ids=lambda uid: UID(uid).keyword)
def test_padding_icons_overlays_and_curves_are_dropped(copy_of, tmp_path, transfer_syntax):
    dataset = ct_slice()
    icon = Dataset()
    icon.Rows = icon.Columns = icon.SamplesPerPixel = 1
    icon.add_new(0x7FE00010, "OB", b"Zqsmith ")
    dataset.IconImageSequence = [icon]
    for group in range(0, 0x20, 2):
        dataset.add_new(0x60000010 + (group << 16), "US", 1)
        dataset.add_new(0x60000022 + (group << 16), "LO", "Zqsmith")
        dataset.add_new(0x60003000 + (group << 16), "OW", b"Zqsmith ")
        dataset.add_new(0x50000022 + (group << 16), "LO", "Zqsmith")
        dataset.add_new(0x50003000 + (group << 16), "OW", b"Zqsmith ")
    dataset.add_new(0xFFFCFFFC, "OB", b"Zqsmith ")
    if transfer_syntax != ExplicitVRLittleEndian:
        dataset.compress(transfer_syntax)
    file = copy_of(dataset)
    assert next((tmp_path / "out-in").iterdir()).read_bytes().count(b"Zqsmith") == 2 + 4 * 16
    copy = dcmread(file)
    assert b"Zqsmith" not in file.read_bytes()
    assert not [element.tag for element in copy if element.tag >> 24 in {0x50, 0x60, 0xFF}]
    assert "IconImageSequence" not in copy
    assert copy.PixelData == dataset.PixelData
