"""DCMTK's programs, as the tests use them: recompress a series, push it."""

import shutil
import subprocess
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

# Transfer syntax -> (what compresses a file, storescu's option that proposes it).
SYNTAXES = {
    "jpeg lossless": (["dcmcjpeg", "+e1"], "-xs"),
    "jpeg-ls": (["dcmcjpls"], "-xt"),
    "jpeg 2000": (None, "-xv"),  # DCMTK has no encoder for it; pydicom and OpenJPEG have
}


def run(*command: str) -> str:
    """Run a program; fail with what it said."""
    assert shutil.which(command[0]), f"{command[0]} is not installed: run tests/install_peers.sh"
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def compress(folder: Path, out: Path, syntax: str) -> Path:
    """Write a compressed copy of a series, as a series of its own."""
    out.mkdir()
    command = SYNTAXES[syntax][0]
    for number, path in enumerate(sorted(folder.glob("*.dcm")), start=1):
        ds = dcmread(path)
        ds.SeriesInstanceUID += f".{list(SYNTAXES).index(syntax) + 1}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SeriesInstanceUID}.{number}"[-64:].lstrip(
            "."
        )
        target = out / path.name
        if command is None:
            ds.compress(JPEG2000Lossless, generate_instance_uid=False)
            ds.save_as(target)
        else:
            ds.save_as(target)
            run(*command, str(target), str(target))
    return out


def store(port: int, folder: Path, syntax: str | None = None) -> None:
    """Push a folder by storescu."""
    options = [SYNTAXES[syntax][1]] if syntax else []
    run("storescu", *options, "-aec", "COVNODE", "-aet", "SCANNER", "+sd", "127.0.0.1", str(port), str(folder))
