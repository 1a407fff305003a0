"""Every sender that a hospital has, and every transfer syntax: what lies in the spool is what was sent, bit for bit."""

import json
import shutil
import subprocess
import urllib.request
from functools import partial

import imagecodecs
import numpy as np
import pytest
from dcmtk import run
from front_door import FrontDoor, associate, data_set_of, digest_of, push
from processes import wait_until
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from covnode.cli.local_node import LOOPBACK, NODE_AE
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.series import DeidentifiedSeries
from covnode.volume.loading import load_volume

pytestmark = pytest.mark.peer

JPEG2000 = partial(imagecodecs.jpeg2k_encode, codecformat="j2k", bitspersample=12)
LOSSLESS = {
    uid.ExplicitVRLittleEndian: None,
    uid.ImplicitVRLittleEndian: ["dcmconv", "+ti"],
    uid.ExplicitVRBigEndian: ["dcmconv", "+tb"],
    uid.DeflatedExplicitVRLittleEndian: ["dcmconv", "+td"],
    uid.RLELossless: ["dcmcrle"],
    uid.JPEGLosslessSV1: ["dcmcjpeg", "+e1"],
    uid.JPEGLossless: ["dcmcjpeg", "+el", "+sv", "6"],
    uid.JPEGLSLossless: ["dcmcjpls"],
    uid.JPEG2000Lossless: partial(JPEG2000, level=0, reversible=True),
    uid.HTJ2KLossless: imagecodecs.htj2k_encode,
    uid.HTJ2KLosslessRPCL: imagecodecs.htj2k_encode,
}
# Kept as sent too, but the sender has changed the image: by how many HU at most.
LOSSY = {
    uid.JPEGLSNearLossless: (["dcmcjpls", "+en", "+md", "2"], 2),
    uid.JPEGExtended12Bit: (["dcmcjpeg", "+ee", "+q", "98"], 10),
    uid.JPEG2000: (partial(JPEG2000, level=70), 10),
    uid.HTJ2K: (partial(imagecodecs.htj2k_encode, reversible=False, level=0.0001), 15),
}
DCMTK_KNOWS = [syntax for syntax in LOSSLESS if syntax not in (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)]
STORESCU = {
    uid.ExplicitVRLittleEndian: "-xe",
    uid.ImplicitVRLittleEndian: "-xi",
    uid.ExplicitVRBigEndian: "-xb",
    uid.DeflatedExplicitVRLittleEndian: "-xd",
    uid.RLELossless: "-xr",
    uid.JPEGLosslessSV1: "-xs",
    uid.JPEGLSLossless: "-xt",
    uid.JPEG2000Lossless: "-xv",
}


def named(value):
    return str(value.keyword) if isinstance(value, uid.UID) else None


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    node = FrontDoor(tmp_path_factory.mktemp("door") / "home")
    node.init()
    node.start()
    yield node
    node.stop()


@pytest.fixture(scope="module")
def tiny_phantom():
    return make_phantom(PhantomPreset.COVID_SEVERE, slices=12, seed=3, size=64)


@pytest.fixture
def original(tiny_phantom, tmp_path, request):
    """A series of its own for each test, uncompressed."""
    study = uid.generate_uid(entropy_srcs=[request.node.name])
    return write_phantom(tiny_phantom, tmp_path / "original", attributes={"StudyInstanceUID": study}).dicom


@pytest.fixture
def encode(original, tmp_path):
    """Return a function that writes the series in a transfer syntax."""

    def encode(syntax, encoder):
        folder = tmp_path / "encoded"
        folder.mkdir()
        for path in original:
            if isinstance(encoder, list):
                run(*encoder, str(path), str(folder / path.name))
            elif encoder is None:
                shutil.copy(path, folder)
            else:
                ds = dcmread(path)
                ds.PixelData = encapsulate([bytes(encoder(ds.pixel_array))])
                ds["PixelData"].VR = "OB"
                ds.file_meta.TransferSyntaxUID = syntax
                ds.save_as(folder / path.name)
        files = sorted(folder.iterdir())
        assert {dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in files} == {syntax}
        return files

    return encode


def arrived(door, files):
    """Return the spool's file of each file sent, found by the data set's digest; each holds just what was sent."""
    kept = [path for file in files for path in door.home.spool.glob(f"*/{digest_of(file)}.dcm")]
    assert len(kept) == len(files)
    for path, file in zip(kept, files, strict=True):
        assert data_set_of(path) == data_set_of(file)
        assert dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == (
            dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID
        )
    return kept


def arrived_by_uid(door, files):
    """Return the spool's files of the instances sent, found by UID: for a sender that encodes anew."""
    sent = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in files}
    kept = [path for path in door.spooled() if dcmread(path, stop_before_pixels=True).SOPInstanceUID in sent]
    assert len(kept) == len(sent) == len(files)
    return kept


def voxels_hu(files):
    return load_volume(DeidentifiedSeries("s1", 1, tuple(files), "0" * 64)).voxels_hu


@pytest.mark.parametrize(("syntax", "encoder"), LOSSLESS.items(), ids=named)
def test_every_lossless_syntax_is_kept_as_sent_and_analysed_bit_exact(door, original, encode, syntax, encoder):
    files = encode(syntax, encoder)
    assert set(push(door.port, files)) == {0}
    np.testing.assert_array_equal(voxels_hu(arrived(door, files)), voxels_hu(original))


@pytest.mark.parametrize(("syntax", "encoder", "limit_hu"), [(key, *value) for key, value in LOSSY.items()], ids=named)
def test_lossy_syntaxes_are_kept_as_sent(door, original, encode, syntax, encoder, limit_hu):
    files = encode(syntax, encoder)
    assert set(push(door.port, files)) == {0}
    difference = np.abs(voxels_hu(arrived(door, files)).astype(int) - voxels_hu(original))
    assert 0 < difference.max() <= limit_hu


@pytest.mark.parametrize(("syntax", "option"), STORESCU.items(), ids=named)
def test_storescu_pushes_every_syntax_that_it_knows(door, original, encode, syntax, option):
    files = encode(syntax, LOSSLESS[syntax])
    run("storescu", option, "-R", "-aec", NODE_AE, LOOPBACK, str(door.port), *map(str, files))
    kept = arrived_by_uid(door, files)
    if syntax not in (uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian):
        assert {dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in kept} == {syntax}
    np.testing.assert_array_equal(voxels_hu(kept), voxels_hu(original))


@pytest.mark.parametrize("syntax", DCMTK_KNOWS, ids=named)
def test_dcmsend_pushes_every_syntax_that_it_knows(door, original, encode, syntax):
    files = encode(syntax, LOSSLESS[syntax])
    run("dcmsend", "-aec", NODE_AE, LOOPBACK, str(door.port), *map(str, files))
    np.testing.assert_array_equal(voxels_hu(arrived_by_uid(door, files)), voxels_hu(original))


def test_a_real_series_arrives_with_every_element(door, philips_5mm):
    files = sorted(philips_5mm.glob("*.dcm"))
    run("storescu", "-R", "-aec", NODE_AE, LOOPBACK, str(door.port), *map(str, files))
    sent = {ds.SOPInstanceUID: ds for ds in map(dcmread, files)}
    for path in arrived_by_uid(door, files):
        kept = dcmread(path)
        assert kept == sent[kept.SOPInstanceUID]


def posted(url, body, method="POST"):
    request = urllib.request.Request(url, data=body, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGLosslessSV1, uid.JPEG2000Lossless], ids=named)
def test_orthanc_pushes_a_series(door, orthanc, original, encode, syntax):
    files = encode(syntax, LOSSLESS[syntax])
    url = f"http://127.0.0.1:{orthanc.http_port}"
    names = [posted(f"{url}/instances", path.read_bytes())["ID"] for path in files]
    modality = {"AET": NODE_AE, "Host": LOOPBACK, "Port": door.port}
    posted(f"{url}/modalities/covnode", json.dumps(modality).encode(), "PUT")
    done = posted(f"{url}/modalities/covnode/store", json.dumps(names).encode())
    assert (done["InstancesCount"], done["FailedInstancesCount"]) == (len(files), 0)
    np.testing.assert_array_equal(voxels_hu(arrived_by_uid(door, files)), voxels_hu(original))


def test_senders_at_the_same_time_do_not_mix(door, tiny_phantom, tmp_path):
    series = [
        write_phantom(tiny_phantom, tmp_path / str(number), attributes={"StudyInstanceUID": uid.generate_uid()}).dicom
        for number in range(4)
    ]
    command = ["storescu", "-R", "-aec", NODE_AE, LOOPBACK, str(door.port)]
    senders = [subprocess.Popen([*command, *map(str, files)]) for files in series]
    assert [sender.wait(60) for sender in senders] == [0] * 4
    folders = [{path.parent for path in arrived(door, files)} for files in series]
    assert [len(folder) for folder in folders] == [1] * 4
    assert len(set.union(*folders)) == 4


def test_a_sender_that_breaks_off_leaves_what_was_answered_and_nothing_half(door, original):
    files = list(original)
    syntax = (uid.CTImageStorage, uid.ExplicitVRLittleEndian)
    association = associate(door.port, syntax)
    assert association.send_c_store(dcmread(files[0])).Status == 0
    association.abort()
    kept = arrived_by_uid(door, files[:1])
    np.testing.assert_array_equal(dcmread(kept[0]).pixel_array, dcmread(files[0]).pixel_array)
    wait_until(lambda: not list(door.home.incoming.iterdir()), 20)
