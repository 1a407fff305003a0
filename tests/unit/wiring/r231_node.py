"""A node with R231 installed and one series whose analysis is queued, and a worker that takes it."""

import hashlib
from contextlib import closing

import torch
from arriving import arrived
from structlog.testing import capture_logs

from covnode.home import Home
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.networks.lungmask_unet import lungmask_unet
from covnode.pipeline.analysis import AnalysisJob
from covnode.records.series import DeidentifiedSeries
from covnode.settings import Settings
from covnode.store import analyses, arrivals
from covnode.store.tables import AnalysisRow
from covnode.store.upgrades import upgrade
from covnode.wiring.model_install import install_published
from covnode.wiring.node import Node
from covnode.wiring.worker import AnalysesInStore, InferenceChild


def node_with_r231(folder):
    """Weights of R231's own network, never trained."""
    home = Home(folder / "home")
    for each in (home.models, home.results):
        each.mkdir(parents=True)
    torch.manual_seed(0)
    network = lungmask_unet(classes=3)
    weights = folder / "own.pth"
    torch.save(network.state_dict(), weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    install_published(home, "r231", str(weights), digest, lambda _size: None)
    node = Node(home, Settings())
    upgrade(node.engine)
    with node.transaction() as session:
        (series_id,) = arrivals.record(session, [arrived()], "amend")
        analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
    write_phantom(
        make_phantom(PhantomPreset.COVID_MILD, slices=24, seed=5, size=128), home.deidentified / f"{series_id}-r1"
    )
    return node


class _Child(InferenceChild):
    def close(self):
        self._pool.stop()
        self._pool.join()


def analyse(node, device):
    """Run the queued analysis as the worker of that device; return its row, and what was logged of its memory."""
    with node.transaction() as session:
        (analysis_id,) = session.query(AnalysisRow.analysis_id).one()
    with closing(_Child(node, device, threads=1)) as child, capture_logs() as logs:
        AnalysisJob(AnalysesInStore(node, 0), child.infer).run(analysis_id, 1)
    with node.transaction() as session:
        row = session.get_one(AnalysisRow, analysis_id)
    return row, [line for line in logs if line["event"] == "out_of_memory"]
