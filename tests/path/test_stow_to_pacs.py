"""A series that comes by STOW-RS goes the same way as one that is pushed."""

import httpx
import pytest
from processes import covnode, received
from pydicom import Dataset, dcmread
from stow_bodies import CONTENT_TYPE, multipart

from covnode.cli.local_node import LOOPBACK, free_port

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-the-test"


@pytest.fixture
def stow_port(idle_node, pacs, tmp_path):
    """The port of a node that delivers to the stand-in PACS and takes STOW-RS with a token."""
    port = free_port()
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ARCHIVE:{TOKEN}\n")
    idle_node.init("--pacs", pacs.address, "--accept-demonstration")
    idle_node.configure(stow__enabled="true", stow__tls="false", stow__port=port, stow__token_file=tokens)
    idle_node.start()
    return port


def post(port, files, token=TOKEN):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": CONTENT_TYPE, "Accept": "application/dicom+json"}
    transport = httpx.HTTPTransport(retries=5)  # its door may be a moment behind that of C-STORE
    with httpx.Client(transport=transport, timeout=60) as client:
        return client.post(f"http://{LOOPBACK}:{port}/studies", content=multipart(*files), headers=headers)


def test_a_series_by_stow_comes_back_as_seg_and_sr(stow_port, idle_node, pacs, write_series):
    paths = sorted(write_series(PatientName="Doe^Jane").glob("*.dcm"))
    files = [path.read_bytes() for path in paths]
    assert post(stow_port, files, token="another-token-of-nobody").status_code == 401
    for some in (files[::2], files[1::2]):
        response = post(stow_port, some)
        assert response.status_code == 200
        assert len(Dataset.from_json(response.text).ReferencedSOPSequence) == len(some)
    assert {ds.Modality for ds in received(pacs, 2)} == {"SEG", "SR"}
    (series,) = idle_node.series()
    assert (series["instances"], series["from"]) == (len(files), "ARCHIVE")
    uids = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths}
    log = idle_node.log.read_text()
    assert not [word for word in ("Doe", TOKEN, *uids) if word in log]


def test_a_node_that_anybody_could_fill_refuses_to_start(idle_node):
    idle_node.init()
    idle_node.configure(receive__bind="0.0.0.0", stow__enabled="true", stow__tls="false")
    done = covnode("receive", "--home", str(idle_node.home.root))
    assert done.returncode != 0
    assert "stow.token_file" in done.stderr
    assert "Traceback" not in done.stderr
