"""Two hosts of one node: two homes, one PostgreSQL, one folder of files, one stand-in PACS that both deliver to.

Each has a network of its own where the machine allows it: see network.
"""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from network import Network
from postgresql_server import PostgresqlServer
from processes import NodeUnderTest, wait_until
from pydicom import dcmread
from pydicom.uid import generate_uid

from covnode.cli.local_node import NODE_AE, StandInPacs
from covnode.deliver.scu import send
from covnode.dicom.association import Destination
from covnode.records.job import AnalysisState, DeliveryState
from covnode.store.tables import AnalysisRow, DeliveryRow, ExecutorRow, SeriesRow


def processes_below(pid: int) -> list[int]:
    """Return a process and all that descend from it, the oldest first."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


class Host(NodeUnderTest):
    """One host: a node whose database and files are those of the other, too."""

    def push_files(self, files: list[Path], on_stored: Callable[[Path, int], None] = lambda *_: None) -> None:
        """Send files on one association, from this process."""
        send("SCANNER", Destination("host", NODE_AE, self.host, self.port, 30.0), files, on_stored)

    def kill(self) -> None:
        """End all its processes at once, as a power failure does."""
        pids = processes_below(self.process.pid)
        for pid in pids:  # first all stop, so that none starts another one
            os.kill(pid, signal.SIGSTOP)
        for pid in processes_below(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        self.process = None

    def executor(self, role: str) -> str:
        """Return the id of its executor of a role."""
        return f"{self.home.host}:{role}-0"


class TwoHosts:
    """Both hosts; the database that they share is asked through the first."""

    def __init__(self, folder: Path, server: PostgresqlServer, pacs: StandInPacs, network: Network) -> None:
        self.pacs = pacs
        self.network = network
        places = zip(("a", "b"), network.places, strict=True)
        self.hosts = [Host(folder / name, host=place.address, within=place.within) for name, place in places]
        files, url = folder / "files", server.create_database("covnode")
        for host in self.hosts:
            if host is not self.hosts[0]:
                shutil.copytree(self.hosts[0].root / "keys", host.root / "keys")
            host.init("--pacs", pacs.address, "--files", str(files), "--database", url)
            host.configure(**{"worker.threads": 1, "receive.processes": 1})
        self._heard: list[tuple[str, str]] = []

    @property
    def heard(self) -> list[tuple[str, str]]:
        """Return modality and SOP Instance UID of each object that the PACS was sent."""
        for path in self.pacs.wait(self.pacs.waiting, 1):
            ds = dcmread(path, stop_before_pixels=True)
            self._heard.append((str(ds.Modality), str(ds.SOPInstanceUID)))
        return list(self._heard)

    def rows(self, query: sa.Select) -> list:
        with self.hosts[0].transaction() as session:
            return list(session.execute(query))

    def count(self, table: type, **having: object) -> int:
        """Return how many rows have these values."""
        ((count,),) = self.rows(sa.select(sa.func.count()).select_from(table).filter_by(**having))
        return count

    @property
    def alive(self) -> set[str]:
        return {executor for (executor,) in self.rows(sa.select(ExecutorRow.executor_id))}

    def has_delivered(self, series: int) -> bool:
        """Whether so many series were analysed and delivered."""
        return self.count(DeliveryRow, state=DeliveryState.DELIVERED) >= series

    def assert_each_once(self, series: int) -> None:
        """Each series has one row, one analysis with a result and one delivery; the PACS has its SEG and its SR."""
        assert self.count(SeriesRow) == series
        assert self.count(AnalysisRow) == self.count(AnalysisRow, state=AnalysisState.ANALYSED) == series
        assert self.count(DeliveryRow) == self.count(DeliveryRow, state=DeliveryState.DELIVERED) == series
        wait_until(lambda: len(set(self.heard)) == 2 * series, 30)
        assert sum(modality == "SEG" for modality, _ in set(self.heard)) == series

    def stop(self) -> None:
        for host in self.hosts:
            host.stop()


def series_like(template: Path, folder: Path, number: int) -> list[Path]:
    """Write a series with the pixels of another one, of a patient and a study of its own."""
    folder.mkdir(parents=True)
    study, series = generate_uid(entropy_srcs=[str(number), "study"]), generate_uid(entropy_srcs=[str(number)])
    paths = []
    for path in sorted(template.glob("*.dcm")):
        ds = dcmread(path)
        ds.PatientID = f"MRN-{number}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(
            entropy_srcs=[str(number), path.name]
        )
        paths.append(folder / path.name)
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths
