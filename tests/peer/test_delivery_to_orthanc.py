"""Orthanc as a PACS that was away, and that is sent again what it holds: every object once."""

import pytest
import sqlalchemy as sa
from processes import wait_until

from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.job import AnalysisState, DeliveryState
from covnode.store import destinations
from covnode.store.tables import DeliveredObjectRow, DeliveryRow

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def is_away(node):
    with node.transaction() as session:
        return destinations.is_away(session, "pacs")


def test_orthanc_away_then_back_then_sent_the_same_again_holds_each_object_once(idle_node, orthanc_away, tmp_path):
    node, orthanc = idle_node, orthanc_away
    node.init("--pacs", f"ORTHANC@127.0.0.1:{orthanc.dicom_port}")
    node.configure(deliver__longest_probe_s=2)
    node.start()
    folder = tmp_path / "ct"
    write_phantom(make_phantom(PhantomPreset.COVID_SEVERE, slices=30, seed=3, size=128), folder)
    node.push(folder)
    wait_until(lambda: is_away(node))
    orthanc.start()
    wait_until(lambda: node.jobs("delivery", DeliveryState.DELIVERED))
    held = {item["ID"] for item in orthanc.instances()}
    assert len(held) == 2
    with node.transaction() as session:  # as if the sender had died before it noted the answers
        session.execute(sa.delete(DeliveredObjectRow))
        session.execute(sa.update(DeliveryRow).values(state=DeliveryState.QUEUED, enqueues=DeliveryRow.enqueues + 1))
    wait_until(lambda: node.jobs("delivery", DeliveryState.DELIVERED))
    assert {item["ID"] for item in orthanc.instances()} == held
    with node.transaction() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(DeliveredObjectRow)) == 2
    (analysis,) = node.jobs("analysis")
    assert (analysis["state"], analysis["attempts"]) == (AnalysisState.ANALYSED, 1)
