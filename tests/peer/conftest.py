"""Real peers: Orthanc as the PACS, DCMTK as the modality."""

import json
import os
import subprocess
import tarfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from processes import REAL_SERIES, wait_until

from covnode.cli.local_node import free_port


@dataclass
class Orthanc:
    """Debian's Orthanc in a folder and on ports of its own."""

    folder: Path
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.folder.mkdir()
        settings = {
            "Name": "PACS",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "DicomAlwaysAllowStore": True,
            "Plugins": [],
        }
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(settings))
        log = (self.folder / "orthanc.log").open("wb")
        self.process = subprocess.Popen(
            ["Orthanc", str(config)], stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"}
        )
        wait_until(self._answers, 60)

    def _answers(self) -> bool:
        try:
            return bool(self.get("system"))
        except OSError:
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def send(self, path: str, body: object, method: str = "POST") -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}/{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def knows(self, ae_title: str, port: int) -> None:
        """Enter an AE on this host under its own title."""
        self.send(f"modalities/{ae_title}", {"AET": ae_title, "Host": "127.0.0.1", "Port": port}, "PUT")

    def hold(self, *folders: Path) -> None:
        """Upload the DICOM files of folders."""
        for path in (path for folder in folders for path in sorted(folder.glob("*.dcm"))):
            self.send("instances", path.read_bytes())

    def download(self, path: str, target: Path) -> Path:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/{path}", timeout=30) as answer:
            target.write_bytes(answer.read())
        return target

    def instances(self) -> list[dict[str, Any]]:
        return [self.get(f"instances/{name}") for name in self.get("instances")]

    def by_modality(self) -> dict[str, list[str]]:
        """Return the instance ids by modality."""
        found: dict[str, list[str]] = {}
        for series in self.get("series?expand"):
            found.setdefault(series["MainDicomTags"]["Modality"], []).extend(series["Instances"])
        return found

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)


@pytest.fixture
def orthanc_away(tmp_path):
    """An Orthanc that the test starts itself."""
    server = Orthanc(tmp_path / "orthanc")
    yield server
    server.stop()


@pytest.fixture
def orthanc(orthanc_away):
    orthanc_away.start()
    return orthanc_away


@pytest.fixture
def node_to_orthanc(idle_node, orthanc):
    idle_node.init("--pacs", f"ORTHANC@127.0.0.1:{orthanc.dicom_port}")
    idle_node.start()
    return idle_node


@pytest.fixture(scope="session")
def philips_5mm(tmp_path_factory):
    """A0001 of Lung-PET-CT-Dx, Philips, kernel B, 64 slices of 5 mm."""
    archive = REAL_SERIES / "A0001-philips-B-5mm.tar.xz"
    if not archive.exists():
        pytest.skip("the real CT series are not beside this checkout (shared/data)")
    folder = tmp_path_factory.mktemp("philips")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "A0001-philips-B-5mm"
