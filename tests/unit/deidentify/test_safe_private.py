"""Retain Safe Private: what the list names, with creator, element and VR exact, at every depth; nothing else."""

import pytest
from planted import KEYS, ct_slice, received
from pydicom import Dataset, dcmread
from pydicom.datadict import private_dictionaries
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covnode.deidentify import cleaning
from covnode.deidentify.dry_run import attributes_of
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.options import Option
from covnode.deidentify.profile import build_profile
from covnode.deidentify.safe_private import load_safe_private
from covnode.errors import ConfigurationError, DeidentificationRefused

CREATOR = "ZQ CT PARM 01"
LIST = f"""creator,tag,vr
{CREATOR},"0019,xx01",DS
{CREATOR},"(0019,XX02)",LO
{CREATOR},0019xx03,SQ
{CREATOR},"0019,xx04",DA
{CREATOR},"0019,xx05",UI
{CREATOR},"0019,xx06",FD
"""
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


@pytest.fixture
def safe(tmp_path):
    path = tmp_path / "safe.csv"
    path.write_text(LIST)
    return load_safe_private(path)


def profile(safe, *options):
    return build_profile({Option.SAFE_PRIVATE, *options}, safe)


def copied(tmp_path, dataset, of):
    return dcmread(deidentify_series(received(tmp_path / "in", [dataset]), tmp_path / "out", KEYS, of)[0].files[0])


def with_block(dataset, creator=CREATOR):
    block = dataset.private_block(0x0019, creator, create=True)
    block.add_new(0x01, "DS", "12.5")
    block.add_new(0x02, "LO", "mode A")
    block.add_new(0x04, "DA", "20220402")
    block.add_new(0x05, "UI", "1.2.840.99999.55")
    block.add_new(0x06, "FD", 2.5)
    block.add_new(0x07, "LO", "Zq not on the list")
    return dataset


def nested(depth):
    dataset = with_block(ct_slice())
    place = dataset
    for _ in range(depth):
        item = with_block(Dataset())
        place.private_block(0x0019, CREATOR).add_new(0x03, "SQ", [item])
        place = item
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_what_the_list_names_stays_at_every_depth(tmp_path, safe, syntax, monkeypatch):
    dataset = nested(3)
    dataset.file_meta.TransferSyntaxUID = syntax
    copied(tmp_path, dataset, profile(safe, Option.FULL_DATES))
    (copy,) = (tmp_path / "out").iterdir()
    assert b"Zq not" not in copy.read_bytes()
    # so that pydicom reads them in implicit VR too
    names = {f"0019xx{element:02d}": (vr, "1", "", "") for (_, _, element), vr in safe.vrs.items()}
    monkeypatch.setitem(private_dictionaries, CREATOR, names)
    place = dcmread(copy)
    for depth in range(4):
        block = place.private_block(0x0019, CREATOR)
        assert (float(block[0x01].value), block[0x06].value) == (12.5, 2.5)
        assert (block[0x02].value, block[0x04].value) == ("mode A", "20220402")
        assert block[0x05].value.startswith("2.25.")
        assert 0x07 not in block
        if depth < 3:
            (place,) = block[0x03].value


def test_without_the_option_nothing_private_stays(tmp_path, safe):
    copy = copied(tmp_path, nested(2), build_profile({Option.UIDS, Option.FULL_DATES}))
    assert not [element for element in copy.iterall() if element.tag.is_private]
    assert not safe.vr_of(None, 0x00191001)


@pytest.mark.parametrize("creator", ["zq ct parm 01", "ZQ CT PARM 02", " ZQ CT PARM 01", "ZQ CT PARM 01 X"])
def test_another_creator_is_another_attribute(tmp_path, safe, creator):
    copy = copied(tmp_path, with_block(ct_slice(), creator), profile(safe))
    assert not [element for element in copy if element.tag.is_private]


def test_another_vr_group_or_block_is_another_attribute(tmp_path, safe):
    dataset = ct_slice()
    dataset.private_block(0x0019, CREATOR, create=True).add_new(0x01, "LO", "12.5")
    dataset.private_block(0x0021, CREATOR, create=True).add_new(0x01, "DS", "12.5")
    dataset.add_new(0x00191101, "DS", "12.5")
    copy = copied(tmp_path, dataset, profile(safe))
    assert [element.tag for element in copy if element.tag.is_private] == [0x00190010]


def test_the_first_that_claims_a_block_owns_it(tmp_path, safe):
    dataset = with_block(ct_slice())
    content = received(tmp_path / "raw", [dataset]).instances[0].path.read_bytes()
    creator = b"\x19\0\x10\0LO" + (14).to_bytes(2, "little") + CREATOR.ljust(14).encode()
    other = creator.replace(b"ZQ CT", b"OTHER")
    for number, twice in enumerate([other + creator, creator + other]):
        copy = copied(tmp_path / str(number), content.replace(creator, twice), profile(safe))
        assert bool([element for element in copy if element.tag.is_private]) == (number == 1)


def test_values_are_of_their_vr_or_do_not_stay(tmp_path, safe):
    dataset = ct_slice()
    block = dataset.private_block(0x0019, CREATOR, create=True)
    block.add_new(0x01, "LO", "Zq no number")
    block[0x01].VR = "DS"
    block.add_new(0x02, "LO", "x" * 70)
    block.add_new(0x06, "FD", 1e30)
    copy = copied(tmp_path, dataset, profile(safe))
    assert [str(element.value or "") for element in copy if element.tag.is_private] == [CREATOR, "", ""]


@pytest.mark.parametrize(
    ("option", "date"), [(Option.FULL_DATES, "20220402"), (Option.MODIFIED_DATES, "20"), (None, "")]
)
def test_private_dates_go_as_the_others_do(tmp_path, safe, option, date):
    chosen = {Option.SAFE_PRIVATE, option} - {None}
    block = copied(tmp_path, with_block(ct_slice()), build_profile(chosen, safe)).private_block(0x0019, CREATOR)
    assert block[0x04].value.startswith(date)
    assert (block[0x04].value == "20220402") == (option is Option.FULL_DATES)


@pytest.mark.parametrize("leak", ["Jane", "for DOE", "MRN-443-221"])
@pytest.mark.parametrize("depth", range(3))
def test_an_identity_in_a_safe_attribute_is_a_leak(tmp_path, safe, leak, depth):
    dataset = nested(2)
    place = dataset
    for _ in range(depth):
        (place,) = place.private_block(0x0019, CREATOR)[0x03].value
    place.private_block(0x0019, CREATOR)[0x02].value = leak
    with pytest.raises(DeidentificationRefused, match="holds"):
        copied(tmp_path, dataset, profile(safe))


def test_the_check_takes_the_list_by_itself(tmp_path, safe, monkeypatch):
    """A cleaning that keeps more than the list does not get its copy past the check."""
    lax = tmp_path / "lax.csv"
    lax.write_text(f'{LIST}{CREATOR},"0019,xx07",LO\n')
    wider = build_profile({Option.SAFE_PRIVATE}, load_safe_private(lax))
    monkeypatch.setattr("covnode.deidentify.engine.Cleaner", lambda _, *others: cleaning.Cleaner(wider, *others))
    with pytest.raises(DeidentificationRefused, match="does not belong"):
        copied(tmp_path, with_block(ct_slice()), profile(safe))


def test_the_dry_run_says_so(tmp_path, safe):
    path = received(tmp_path / "in", [nested(1)]).instances[0].path
    found = {attribute.path: attribute for attribute in attributes_of(path, profile(safe))}
    assert {path: found[path].action.value for path in found if path.startswith("(0019")} == {
        f"{above}(0019,{element})": action
        for above in ("", "(0019,1003)>")
        for element, action in {"0010": "K", "1001": "K", "1002": "K", "1004": "Z", "1005": "U", "1006": "K"}.items()
    } | {"(0019,1003)": "K", "(0019,1007)": "X", "(0019,1003)>(0019,1007)": "X"}
    assert "E.3.10" in found["(0019,1003)>(0019,1001)"].source


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "first line"),
        ("creator,tag\n", "first line"),
        ('creator,tag,vr\nZQ,"0018,xx01",DS\n', "odd group"),
        ("creator,tag,vr\nZQ,00191001,DS\n", "odd group"),
        ('creator,tag,vr\n,"0019,xx01",DS\n', "creator"),
        ('creator,tag,vr\nZQ,"0019,xx01",OB\n', "cannot be checked"),
        ('creator,tag,vr\nZQ,"0019,xx01",PN\n', "cannot be checked"),
        ('creator,tag,vr\nZQ,"0019,xx01",DS\nZQ,"0019,xx01",IS\n', "twice"),
        (None, "cannot be read"),
    ],
)
def test_a_list_that_is_none_is_explained(tmp_path, content, said):
    path = tmp_path / "safe.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        load_safe_private(path)
