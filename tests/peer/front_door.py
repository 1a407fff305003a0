"""A node that only receives, senders that push to it, and what lies in its spool."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import dicom_instances
from processes import NodeUnderTest, wait_until
from pydicom.filereader import read_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.sop_class import Verification

from covnode.cli.local_node import LOOPBACK, NODE_AE, covnode_command
from covnode.settings import load_settings


class FrontDoor(NodeUnderTest):
    """A node whose receiver runs alone."""

    def start(self, command_name: str = "receive") -> None:
        """Start, and return when every process that receives does so: the ports accept before."""
        before = len(self.events("door_open"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                covnode_command(command_name, "--home", str(self.root)), stdout=log, stderr=log
            )
        doors = load_settings(self.home).receive.processes
        wait_until(lambda: self._has_ended() or len(self.events("door_open")) >= before + doors, 120)

    def _has_ended(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return False

    def kill_doors(self) -> None:
        """Kill every process that receives, and return when others have taken their places."""
        opened = self.events("door_open")
        doors = load_settings(self.home).receive.processes
        for line in opened[-doors:]:
            os.kill(line["pid"], signal.SIGKILL)
        wait_until(lambda: self._has_ended() or len(self.events("door_open")) >= len(opened) + doors, 120)

    def spooled(self) -> list[Path]:
        """Return the files of all instances that are durable."""
        return sorted(path for path in self.home.spool.glob("*/*.dcm") if path.parent != self.home.damaged)

    def events(self, name: str) -> list[dict]:
        """Return the log lines of one event."""
        return [line for line in self.log_lines if line.get("event") == name] if self.log.exists() else []


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def is_closed_without_a_word(port: int, timeout_s: float) -> bool:
    """Connect, say nothing, and return whether the other side closes without an answer."""
    with socket.create_connection((LOOPBACK, port), timeout=timeout_s) as connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def data_set_of(path: Path) -> bytes:
    """Return the bytes of a Part 10 file behind its file meta information: what goes over the wire."""
    with path.open("rb") as file:
        file.seek(132)
        group_length = read_file_meta_info(path).FileMetaInformationGroupLength
        file.seek(12 + group_length, 1)
        return file.read()


def digest_of(path: Path) -> str:
    return dicom_instances.digest_of(data_set_of(path))


def associate(port, *contexts, called=NODE_AE, calling="SCANNER", **options):
    """Request an association; a context is (SOP class, transfer syntaxes)."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 20
    for sop_class, syntaxes in contexts or [(Verification, ExplicitVRLittleEndian)]:
        entity.add_requested_context(sop_class, syntaxes)
    return entity.associate(LOOPBACK, port, ae_title=called, **options)


def push(port, files, **options):
    """Send files by pynetdicom with their bytes as they are; return the statuses."""
    _config.STORE_SEND_CHUNKED_DATASET = True
    syntaxes = sorted({read_file_meta_info(path).TransferSyntaxUID for path in files})
    association = associate(port, *[(CTImageStorage, syntax) for syntax in syntaxes], **options)
    try:
        assert association.is_established
        return [association.send_c_store(path).get("Status") for path in files]
    finally:
        association.release()
        _config.STORE_SEND_CHUNKED_DATASET = False
