"""DCMTK's and dicom3tools' programs, as the tests use them: recompress a series, push it, validate a file."""

import shutil
import subprocess
from pathlib import Path

from imagecodecs import jpeg2k_encode
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, generate_uid

# Transfer syntax -> (what compresses a file, storescu's option that proposes it).
SYNTAXES = {
    "jpeg lossless": (["dcmcjpeg", "+e1"], "-xs"),
    "jpeg-ls": (["dcmcjpls"], "-xt"),
    "jpeg 2000": (None, "-xv"),  # DCMTK has no encoder for it; imagecodecs has
}


def run(*command: str) -> str:
    """Run a program; fail with what it said."""
    assert shutil.which(command[0]), f"{command[0]} is not installed: run tests/install_peers.sh"
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def verdict(path: Path) -> list[str]:
    """Return what dciodvfy (of dicom3tools) says of a file."""
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout + done.stderr).splitlines()


def compress(folder: Path, out: Path, syntax: str) -> Path:
    """Write a compressed copy of a series, as a series of its own."""
    out.mkdir()
    command = SYNTAXES[syntax][0]
    for path in sorted(folder.glob("*.dcm")):
        ds = dcmread(path)
        ds.SeriesInstanceUID = generate_uid(entropy_srcs=[ds.SeriesInstanceUID, syntax])
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[ds.SOPInstanceUID, syntax])
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        target = out / path.name
        if command is None:
            ds.PixelData = encapsulate([jpeg2k_encode(ds.pixel_array, codecformat="j2k", reversible=True, level=0)])
            ds["PixelData"].VR = "OB"
            ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
            ds.save_as(target)
        else:
            ds.save_as(target)
            run(*command, str(target), str(target))
    return out


def store(port: int, folder: Path, syntax: str | None = None) -> None:
    """Push a folder by storescu."""
    options = [SYNTAXES[syntax][1]] if syntax else []
    run("storescu", *options, "-aec", "COVNODE", "-aet", "SCANNER", "+sd", "127.0.0.1", str(port), str(folder))
