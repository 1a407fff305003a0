"""Four deliveries at a time from one queue: those of a study leave one after the other, in their order."""

import random
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest
import sqlalchemy as sa
from queued_deliveries import queue_delivery

from covnode.errors import TransientError
from covnode.home import Home
from covnode.pipeline.delivery import DeliveryJob
from covnode.queue.engine import DbosRunner
from covnode.records.job import DeliveryState, JobKind, queue_name
from covnode.records.result import ObjectKind
from covnode.settings import Settings
from covnode.store.tables import AnalysisRow, DeliveryRow, SeriesRow, StudyRow
from covnode.wiring import sender
from covnode.wiring.destinations import DestinationWatch
from covnode.wiring.node import Node
from covnode.wiring.sender import DeliveriesInStore

pytestmark = pytest.mark.xdist_group("dbos")

STUDIES, SERIES = 3, 5


class Sends:
    """Steps that take their time, fail now and then, and note who was sent when."""

    def __init__(self):
        self.began = []
        self.ended = []
        self.all_sent = threading.Event()
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def unsent(self, claim):
        return {ObjectKind.SEG}

    def restore(self, claim):
        return {ObjectKind.SEG: Path("seg.dcm")}

    def check(self, claim, objects):
        pass

    def send(self, claim, objects, on_stored):
        with self._lock:
            self.began.append(claim.delivery_id)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(random.uniform(0.01, 0.2))
        with self._lock:
            self._now -= 1
        if claim.attempt == 1 and random.random() < 0.3:
            raise TransientError("cannot store at present (A700)")
        on_stored(ObjectKind.SEG, 0)
        self.ended.append(claim.delivery_id)
        if len(self.ended) == STUDIES * SERIES:
            self.all_sent.set()


@pytest.fixture
def node(tmp_path, database_url):
    settings = {"database": {"url": database_url}, "deliver": {"first_retry_s": 0.2}}
    node = Node(Home(tmp_path / "home"), Settings.model_validate(settings))
    yield node
    node.engine.dispose()


def test_the_deliveries_of_a_study_leave_in_their_order(node, monkeypatch):
    objects = [type("Object", (), {"kind": ObjectKind.SEG, "sop_instance_uid": "2.25.1"})]
    monkeypatch.setattr(sender, "load_result", lambda _folder: type("Stored", (), {"objects": objects}))
    for series in range(SERIES):
        for study in range(STUDIES):
            with node.transaction() as session:
                node.queue.enqueue(session, queue_delivery(session, f"{study}-{series}", f"study-{study}"))
    sends, watch = Sends(), DestinationWatch(node)
    job = DeliveryJob(DeliveriesInStore(node, watch), sends)
    kind = JobKind.DELIVERY
    runner = DbosRunner(node.database_url, kind, "host:sender-0", 4, [queue_name(kind, "pacs")])
    until_s = time.monotonic() + 60
    try:
        runner.start(job.run)
        while not sends.all_sent.wait(0.05):
            watch.look()
            assert time.monotonic() < until_s, sends.ended
    finally:
        runner.stop(5)
    with node.transaction() as session:
        rows = session.execute(
            sa.select(DeliveryRow.delivery_id, StudyRow.study_digest)
            .join(AnalysisRow, AnalysisRow.analysis_id == DeliveryRow.analysis_id)
            .join(SeriesRow, SeriesRow.series_id == AnalysisRow.series_id)
            .join(StudyRow, StudyRow.study_id == SeriesRow.study_id)
            .order_by(DeliveryRow.queued_at)
        ).all()
        states = set(session.scalars(sa.select(DeliveryRow.state)))
    queued, left = defaultdict(list), defaultdict(list)
    study_of = dict(map(tuple, rows))
    for delivery_id, study in rows:
        queued[study].append(delivery_id)
    for delivery_id in sends.ended:
        left[study_of[delivery_id]].append(delivery_id)
    assert left == queued
    assert states == {DeliveryState.DELIVERED}
    assert sends.most_at_once > 1
