"""Pushes to a storage SCP: by several lean senders at once, or by DCMTK's dcmsend."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from dicom_instances import CT_IMAGE, SyntheticSeries
from dicom_sender import EXPLICIT_LE
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from storage_servers import Server

_SENDER = Path(__file__).with_name("dicom_sender.py")


def push(server: Server, series: list[SyntheticSeries], count: int, pdu_bytes: int) -> float:
    """Send ``count`` instances of each series at once; return the seconds from the first to the last response.

    Parameters
    ----------
    pdu_bytes
        Longest PDU, where the acceptor takes as much; 0: what it takes.

    Raises
    ------
    RuntimeError
        An instance was not answered with Success.
    """
    senders = []
    for one in series:
        options = {"--port": server.port, "--called": server.ae_title, "--series": one.number, "--count": count}
        options |= {"--size": one.size, "--pdu-bytes": pdu_bytes}
        command = [sys.executable, str(_SENDER), *(str(part) for pair in options.items() for part in pair)]
        senders.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))  # noqa: S603 (ours)
    for sender in senders:
        if sender.stdout is None or sender.stdout.readline() != "ready\n":
            raise RuntimeError("a sender found no association")
    for sender in senders:
        if sender.stdin is not None:
            sender.stdin.write("go\n")
            sender.stdin.flush()
    answers = [json.loads(sender.communicate(timeout=600)[0]) for sender in senders]
    wrong = {status for answer in answers for status in answer["wrong"]}
    if wrong:
        raise RuntimeError(f"not answered with Success: {sorted(wrong)}")
    return float(max(answer["last_s"] for answer in answers) - min(answer["first_s"] for answer in answers))


def push_by_dcmsend(server: Server, series: list[SyntheticSeries], count: int, scratch: Path) -> float:
    """Send files by dcmsend; return how long it ran, its own start and reading included."""
    folder = scratch / "to-send"
    shutil.rmtree(folder, ignore_errors=True)
    for one in series:
        write_files(one, count, folder)
    os.sync()
    command = ["dcmsend", "-aec", server.ae_title, "+sd", "127.0.0.1", str(server.port), str(folder)]
    started_s = time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": "1"}, timeout=600)  # noqa: S603 (as above)
    return time.monotonic() - started_s


def write_files(series: SyntheticSeries, count: int, folder: Path) -> None:
    """Write instances as Part 10 files."""
    folder.mkdir(parents=True, exist_ok=True)
    for instance in range(count):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CT_IMAGE, series.uid(instance)
        meta.TransferSyntaxUID = EXPLICIT_LE
        buffer = DicomBytesIO()
        write_file_meta_info(buffer, meta)
        head = b"\0" * 128 + b"DICM" + bytes(buffer.getvalue())
        (folder / f"{series.number}-{instance:06d}.dcm").write_bytes(head + series.data_set(instance))
