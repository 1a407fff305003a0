"""The door of STOW-RS as a process of its own; the test stands where the receiver is."""

import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field

import httpx
import pytest
from certificates import Authority, serial_of
from processes import configure, covnode, wait_until
from stow_bodies import BOUNDARY, CONTENT_TYPE, STUDY, multipart, part10

from covnode.cli.local_node import LOOPBACK
from covnode.home import Home

TOKEN = "a-token-of-the-test"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": CONTENT_TYPE}


@dataclass
class DoorUnderTest:
    home: Home
    log: object
    process: object = None
    messages: object = None
    listener: socket.socket = field(default_factory=lambda: socket.create_server((LOOPBACK, 0)))

    @property
    def port(self):
        return self.listener.getsockname()[1]

    def start(self):
        self.line, theirs = socket.socketpair()
        fds = (theirs.fileno(), self.listener.fileno())
        command = [sys.executable, "-m", "covnode.wiring.door", "--home", str(self.home.root), "--name", "door-stow"]
        with theirs, self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--line", str(fds[0]), "--stow", str(fds[1])], pass_fds=fds, stderr=log
            )
        self.messages = self.line.makefile("rb")

    def next_message(self):
        self.line.settimeout(30)
        return json.loads(self.messages.readline())

    def stop(self):
        self.line.shutdown(socket.SHUT_WR)
        return self.process.wait(30)

    def post(self, *files, path="/studies", **options):
        options.setdefault("headers", HEADERS)
        return self.client().post(path, content=multipart(*files), **options)

    def client(self, **options):
        scheme = "https" if options else "http"
        return httpx.Client(base_url=f"{scheme}://{LOOPBACK}:{self.port}", timeout=30, **options)

    def spooled(self):
        return [path for path in self.home.spool.glob("*/*.dcm") if path.parent != self.home.incoming]


@pytest.fixture(scope="module")
def initialised(tmp_path_factory):
    root = tmp_path_factory.mktemp("initialised") / "home"
    assert covnode("init", "--home", str(root), "--bind", LOOPBACK).returncode == 0
    return root


@pytest.fixture
def make_door(tmp_path, initialised):
    """Return a function that starts a door with the settings given."""
    doors = []

    def make(**changes):
        home = Home(shutil.copytree(initialised, tmp_path / "home"))
        home.incoming.mkdir(mode=0o700)  # of this host, as the receiver would
        tokens = tmp_path / "tokens"
        tokens.write_text(f"CT_ONE:{TOKEN}\n")
        values = {"receive.min_free_gb": "0.05", "stow.tls": "false", "stow.token_file": str(tokens), **changes}
        configure(home, values)
        door = DoorUnderTest(home, tmp_path / "door.log")
        door.start()
        doors.append(door)
        return door

    yield make
    for door in doors:
        if door.process.poll() is None:
            door.process.kill()
            door.process.wait()


def test_an_instance_comes_in_and_the_receiver_is_told(make_door):
    door = make_door()
    assert door.post(part10(1), path=f"/studies/{STUDY}").status_code == 200
    stored, ended = door.next_message(), door.next_message()
    assert stored["kind"], ended["kind"] == ("stored", "ended")
    assert stored["instance"]["source_ae_title"] == "CT_ONE"
    assert ended["released"]
    assert [path.name for path in door.spooled()] == [f"{stored['instance']['content_digest']}.dcm"]
    assert door.post(part10(2), headers={**HEADERS, "Authorization": "Bearer wrong"}).status_code == 401
    assert door.stop() == 0
    logged = door.log.read_text()
    assert '"event": "stow_request"' in logged
    assert not [word for word in (STUDY, "Doe", TOKEN) if word in logged]


def test_a_gate_that_the_receiver_closes_is_answered_503_until_it_opens(make_door):
    door = make_door()
    assert door.post(part10(1)).status_code == 200
    for because, status in (("the database is away", 503), (None, 200)):
        door.line.sendall(json.dumps({"closed_because": because}).encode() + b"\n")
        wait_until(lambda status=status: door.post(part10(1)).status_code == status, 10)


def test_a_broken_off_upload_leaves_nothing_in_the_spool(make_door):
    door = make_door()
    body = multipart(part10(1, pixels=bytes(300_000)), end=False)
    head = [f"POST /studies HTTP/1.1\r\nHost: node\r\nContent-Length: {len(body) + 5}\r\n"]
    head += [f"{name}: {value}\r\n" for name, value in HEADERS.items()]
    with socket.create_connection((LOOPBACK, door.port)) as connection:
        connection.sendall("".join([*head, "\r\n"]).encode() + body)
        wait_until(lambda: list(door.home.incoming.iterdir()), 10)
    assert door.next_message() | {"association_id": ""} == {"association_id": "", "released": False, "kind": "ended"}
    assert list(door.home.incoming.iterdir()) == []
    assert door.spooled() == []


def test_a_connection_that_asks_for_nothing_is_closed(make_door):
    door = make_door(**{"receive.network_timeout_s": "0.5"})
    with socket.create_connection((LOOPBACK, door.port), timeout=30) as connection:
        connection.sendall(b"POST /studies HT")
        assert connection.recv(100) == b""


def test_a_body_that_stalls_is_answered_408(make_door):
    door = make_door(**{"receive.network_timeout_s": "0.5"})
    with socket.create_connection((LOOPBACK, door.port), timeout=30) as connection:
        lines = [f"{name}: {value}" for name, value in HEADERS.items()]
        request = "\r\n".join(["POST /studies HTTP/1.1", "Host: node", "Content-Length: 99", *lines, "", ""])
        connection.sendall(request.encode() + f"--{BOUNDARY}".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_stop_breaks_off_what_is_under_way_and_ends_in_time(make_door):
    door = make_door()
    with socket.create_connection((LOOPBACK, door.port), timeout=30) as connection:
        lines = [f"{name}: {value}" for name, value in HEADERS.items()]
        request = "\r\n".join(["POST /studies HTTP/1.1", "Host: node", "Content-Length: 99999", *lines, "", ""])
        connection.sendall(request.encode() + multipart(part10(1), part10(2), end=False))
        assert door.next_message()["kind"] == "stored"
        began_s = time.monotonic()
        assert door.stop() == 0
        assert time.monotonic() - began_s < 12
    assert door.next_message()["released"] is False
    assert list(door.home.incoming.iterdir()) == []


def with_tls(authority, own=None):
    context = ssl.create_default_context(cafile=authority.file)
    if own is not None:
        context.load_cert_chain(*own)
    return context


def test_over_tls_a_renewed_certificate_is_used_without_a_restart(make_door, tmp_path):
    authority = Authority(tmp_path / "pki")
    certificate, key = authority.issue()
    door = make_door(**{"stow.tls": "true", "tls.certificate": str(certificate), "tls.key": str(key)})

    def serial():
        with (
            socket.create_connection((LOOPBACK, door.port), timeout=30) as plain,
            with_tls(authority).wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            return int(tls.getpeercert()["serialNumber"], 16)

    assert serial() == (first := serial_of(certificate))
    authority.issue()
    assert serial() == serial_of(certificate) != first
    client = door.client(verify=with_tls(authority))
    assert client.post("/studies", content=multipart(part10(1)), headers=HEADERS).status_code == 200


def test_with_client_cas_and_no_tokens_the_certificate_lets_in(make_door, tmp_path):
    authority = Authority(tmp_path / "pki")
    certificate, key = authority.issue()
    keys = {"tls.certificate": str(certificate), "tls.key": str(key), "tls.client_ca": str(authority.file)}
    door = make_door(**{"stow.tls": "true", "stow.token_file": "", **keys})
    headers = {"Content-Type": CONTENT_TYPE}
    own = door.client(verify=with_tls(authority, authority.issue("sender")))
    assert own.post("/studies", content=multipart(part10(1)), headers=headers).status_code == 200
    for context in (with_tls(authority), with_tls(authority, Authority(tmp_path / "other").issue("stranger"))):
        with pytest.raises(httpx.TransportError):
            door.client(verify=context).post("/studies", content=multipart(part10(2)), headers=headers)
    assert len(door.spooled()) == 1
