"""DICOM TLS with DCMTK: who gets in with which certificate, and what happens to everybody else meanwhile."""

import socket
import ssl
import subprocess

import pytest
from certificates import Authority, serial_of
from cryptography import x509
from front_door import FrontDoor, associate, digest_of, is_closed_without_a_word, listens
from processes import wait_until
from pydicom.uid import generate_uid

from covnode.cli.local_node import LOOPBACK, NODE_AE, free_port
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki") / "stranger", "CA of somebody else")


@pytest.fixture
def image(tmp_path):
    phantom = make_phantom(PhantomPreset.COVID_SEVERE, slices=4, seed=3, size=64)
    return write_phantom(phantom, tmp_path / "ct", attributes={"StudyInstanceUID": generate_uid()}).dicom[0]


@pytest.fixture(scope="module")
def start(tmp_path_factory, authority):
    """Return a function that starts a node with TLS and a certificate of that name; its port is ``tls_port``."""
    started = []

    def start(name, **settings):
        certificate, key = authority.issue(name)
        node = FrontDoor(tmp_path_factory.mktemp("door") / "home")
        started.append(node)
        node.tls_port = free_port()
        node.init()
        node.configure(tls__enabled="true", tls__port=node.tls_port, tls__certificate=certificate, tls__key=key)
        node.configure(**settings)
        node.start()
        return node

    yield start
    for node in started:
        node.stop()


@pytest.fixture(scope="module")
def open_door(start):
    """A node with both ports, which asks for no certificate."""
    return start("open")


@pytest.fixture(scope="module")
def mutual_door(start, authority):
    """A node with TLS alone, which asks for a certificate."""
    return start("mutual", tls__client_ca=authority.file, receive__enabled="false", receive__processes=1)


@pytest.fixture(scope="module")
def renewed_door(start):
    """A node whose certificate the tests renew."""
    return start("renewed")


def storescu(port, image, *options):
    """Push one image; return whether storescu says that it arrived."""
    command = ["storescu", "-R", "-ts", "20", "-ta", "20", *map(str, options), "-aec", NODE_AE, LOOPBACK, str(port)]
    return subprocess.run([*command, str(image)], capture_output=True, timeout=60, check=False).returncode == 0


def tls(own, ca):
    certificate, key = own
    return "+tls", key, certificate, "+cf", ca


def has_arrived(node, image):
    return digest_of(image) in [path.stem for path in node.spooled()]


def test_storescu_pushes_over_tls(open_door, authority, image):
    node = open_door
    assert storescu(node.tls_port, image, *tls(authority.issue("scanner"), authority.file))
    assert has_arrived(node, image)


def test_without_client_cas_no_certificate_is_asked_for(open_door, authority, image):
    node = open_door
    assert storescu(node.tls_port, image, "+tla", "+cf", authority.file)
    assert has_arrived(node, image)


def test_storescu_refuses_a_node_of_a_ca_that_it_does_not_know(open_door, authority, stranger, image):
    node = open_door
    assert not storescu(node.tls_port, image, *tls(authority.issue("scanner"), stranger.file))
    assert not has_arrived(node, image)


def test_with_client_cas_only_their_clients_get_in(mutual_door, authority, stranger, image):
    node = mutual_door
    assert not storescu(node.tls_port, image, *tls(stranger.issue("scanner"), authority.file))
    assert not storescu(node.tls_port, image, "+tla", "+cf", authority.file)
    assert not has_arrived(node, image)
    assert storescu(node.tls_port, image, *tls(authority.issue("scanner"), authority.file))
    assert has_arrived(node, image)


def test_each_port_speaks_its_own_way_alone(open_door, authority, image):
    node = open_door
    own = tls(authority.issue("scanner"), authority.file)
    assert not storescu(node.tls_port, image)
    assert not storescu(node.port, image, *own)
    assert not has_arrived(node, image)
    assert storescu(node.port, image)
    assert storescu(node.tls_port, image, *own)


def test_the_plain_port_can_be_off(mutual_door):
    assert listens(mutual_door.tls_port)
    assert not listens(mutual_door.port)


def test_below_tls_1_2_nobody_gets_in(open_door, authority):
    node = open_door
    old = ssl.create_default_context(cafile=authority.file)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection((LOOPBACK, node.tls_port), timeout=20) as connection, pytest.raises(OSError):  # noqa: PT011
        old.wrap_socket(connection, server_hostname=LOOPBACK)


def serial_shown(node):
    shown = ssl.get_server_certificate((LOOPBACK, node.tls_port), timeout=20)
    return x509.load_pem_x509_certificate(shown.encode()).serial_number


def test_a_renewed_certificate_is_shown_without_a_restart(renewed_door, authority, image):
    node = renewed_door
    old = serial_of(authority.folder / "renewed.pem")
    assert serial_shown(node) in authority.serials
    trusting = ssl.create_default_context(cafile=authority.file)
    lasting = associate(node.tls_port, tls_args=(trusting, LOOPBACK))
    assert lasting.send_c_echo().Status == 0
    certificate, _ = authority.issue("renewed")
    # every process that receives shows it at once
    assert {serial_shown(node) for _ in range(10)} == {serial_of(certificate)}
    assert serial_of(certificate) != old
    assert lasting.send_c_echo().Status == 0
    lasting.release()
    assert storescu(node.tls_port, image, *tls(authority.issue("scanner"), authority.file))


def test_broken_files_leave_the_certificate_in_use(renewed_door, authority, image):
    node = renewed_door
    serial_shown(node)
    file = authority.folder / "renewed.pem"
    whole = file.read_bytes()
    file.write_text("half a certifi")
    try:
        assert serial_shown(node) in authority.serials
        assert storescu(node.tls_port, image, *tls(authority.issue("scanner"), authority.file))
    finally:
        file.write_bytes(whole)
    assert "tls.certificate" in node.events("tls_files_broken")[-1]["reason"]


def test_a_door_that_finds_broken_files_serves_without_tls_until_they_are_mended(renewed_door, authority, image):
    node = renewed_door
    (authority.folder / "renewed.pem").write_text("half a certifi")
    node.kill_doors()
    assert storescu(node.port, image)
    certificate, _ = authority.issue("renewed")
    wait_until(lambda: len(node.events("tls_files_broken")) >= 2, 20)
    assert serial_shown(node) == serial_of(certificate)


def test_silent_clients_keep_nobody_out(open_door, authority, image):
    node = open_door
    silent = [socket.create_connection((LOOPBACK, node.tls_port), timeout=20) for _ in range(20)]
    try:
        assert storescu(node.tls_port, image, *tls(authority.issue("scanner"), authority.file))
        assert has_arrived(node, image)
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.slow
def test_a_hand_shake_that_does_not_come_is_given_up(open_door):
    assert is_closed_without_a_word(open_door.tls_port, 60)


def test_a_node_with_a_wrong_key_refuses_to_start_and_says_which_setting(tmp_path, authority):
    certificate, _ = authority.issue("one")
    _, key = authority.issue("two")
    node = FrontDoor(tmp_path / "home")
    node.init()
    node.configure(tls__enabled="true", tls__port=free_port(), tls__certificate=certificate, tls__key=key)
    with pytest.raises(AssertionError, match=r"tls\.key: .*is not the key of the certificate"):
        node.start()
    assert node.process.wait(60) != 0
    assert "Traceback" not in node.log.read_text()


def test_many_images_over_tls_are_those_that_were_sent(mutual_door, authority, tmp_path):
    node = mutual_door
    phantom = make_phantom(PhantomPreset.COVID_SEVERE, slices=30, seed=5, size=128)
    files = write_phantom(phantom, tmp_path / "many", attributes={"StudyInstanceUID": generate_uid()}).dicom
    own = tls(authority.issue("scanner"), authority.file)
    command = ["storescu", "-R", *map(str, own), "-aec", NODE_AE, LOOPBACK, str(node.tls_port)]
    subprocess.run([*command, *map(str, files)], check=True, timeout=120)
    assert {digest_of(path) for path in files} <= {path.stem for path in node.spooled()}
