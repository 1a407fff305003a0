"""A node with series in any state that have files of every kind, without a process: for tests of what is kept."""

import os

from spooled import keep

from covnode.deidentify import key_file
from covnode.home import Home
from covnode.receive.spool import Spool
from covnode.records.job import AnalysisState, DeliveryState, SeriesState
from covnode.records.series import DeidentifiedSeries
from covnode.settings import Settings
from covnode.store import analyses, arrivals, deliveries
from covnode.store.tables import AnalysisRow, DeliveryRow, SeriesRow
from covnode.wiring.node import Node
from covnode.wiring.retention import Retention, lock_of

AT_ONCE = {"delivered_days": 1e-9, "without_result_days": 1e-9}
LONG_AGO = (1_000_000_000, 1_000_000_000)


class Kept:
    """A node with series that have files of every kind."""

    def __init__(self, folder, database_url, **policy):
        policy = policy or AT_ONCE
        values = {"database": {"url": database_url}, "retention": policy}
        self.node = Node(Home(folder), Settings.model_validate(values))
        for place in (*self.node.home.folders, self.node.home.locks):
            place.mkdir(parents=True, exist_ok=True)
        keys = key_file.create(self.node.home.keys)
        self.spool = Spool(self.node.home.spool, self.node.home.incoming, keys.digest)

    def record(self, *kept, late="amend"):
        with self.node.transaction() as session:
            return arrivals.record(session, list(kept), late)[0]

    def age(self):
        for path in self.node.home.spool.glob("*/*.dcm"):
            os.utime(path, LONG_AGO)

    def series(self, number=1, state=SeriesState.HANDED_OVER):
        """Receive a series of three, in that state."""
        series_id = self.record(*(keep(self.spool, each, number) for each in (1, 2, 3)))
        self.age()
        with self.node.transaction() as session:
            session.get_one(SeriesRow, series_id).state = state
        return series_id

    def analysis(self, series_id, state=AnalysisState.ANALYSED):
        with self.node.transaction() as session:
            series_row = session.get_one(SeriesRow, series_id)
            copy = DeidentifiedSeries(series_id, series_row.revision, (), "0" * 64)
            analysis_id = analyses.open_analysis(session, copy).subject_id
            session.get_one(AnalysisRow, analysis_id).state = state
        home = self.node.home
        for folder in (home.deidentified / f"{series_id}-r{series_row.revision}", home.results / analysis_id):
            folder.mkdir()
            (folder / "file").write_bytes(b"x" * 100)
        return analysis_id

    def delivery(self, analysis_id, state=DeliveryState.DELIVERED, destination="pacs"):
        with self.node.transaction() as session:
            delivery_id = deliveries.open_delivery(session, analysis_id, destination).subject_id
            session.get_one(DeliveryRow, delivery_id).state = state
        folder = self.node.home.outbox / delivery_id
        folder.mkdir()
        (folder / "sr.dcm").write_bytes(b"x" * 100)
        return delivery_id

    def delivered(self, number=1):
        series_id = self.series(number)
        self.delivery(self.analysis(series_id))
        return series_id

    def files(self):
        home = self.node.home
        places = (home.spool, home.deidentified, home.results, home.outbox)
        found = {path for place in places for path in place.rglob("*") if path.is_file()}
        return sorted(found - {lock_of(home)})

    def row(self, series_id):
        with self.node.transaction() as session:
            return session.get_one(SeriesRow, series_id)

    def run(self):
        return {outcome.series_id: outcome for outcome in Retention(self.node).run()}

    def removed(self):
        return {series_id for series_id, outcome in self.run().items() if outcome.removed}
