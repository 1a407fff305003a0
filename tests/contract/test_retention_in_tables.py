"""Retention on both databases: its queries, and its lock against a person who wants the series anew."""

import threading

import pytest
from kept_node import Kept
from spooled import keep

from covnode.records.job import AnalysisState, SeriesState
from covnode.store import analyses, series
from covnode.store.tables import SeriesRow
from covnode.wiring import retention
from covnode.wiring.lacking import refuse_without_files
from covnode.wiring.retention import Retention

pytestmark = pytest.mark.xdist_group("dbos")


@pytest.fixture
def kept(tmp_path, database_url):
    kept = Kept(tmp_path / "home", database_url)
    yield kept
    kept.node.engine.dispose()


def test_series_are_removed_page_by_page_and_come_back(kept, monkeypatch):
    monkeypatch.setattr(retention, "_PAGE", 2)
    delivered = {kept.delivered(number) for number in (1, 2, 3)}
    kept.series(4, SeriesState.QUARANTINED)
    assert len(list(Retention(kept.node).foretell())) == 4
    assert kept.removed() == delivered
    assert kept.removed() == set()
    again = kept.record(keep(kept.spool, 1, 2))
    assert (kept.row(again).files_held, kept.row(again).state) == (True, SeriesState.HANDED_OVER)
    with kept.node.transaction() as session:
        row = session.get_one(SeriesRow, again)
        row.state, row.reason_code = SeriesState.QUARANTINED, series.FILES_REMOVED
    kept.record(keep(kept.spool, 2, 2))
    assert (kept.row(again).state, kept.row(again).evidence) == (SeriesState.RECEIVING, None)


@pytest.mark.parametrize("retried", [True, False])
def test_whoever_comes_second_sees_what_the_first_has_done(kept, monkeypatch, retried):
    series_id = kept.series()
    analysis_id = kept.analysis(series_id, AnalysisState.NOT_ANALYSED)
    locking, outcomes = threading.Event(), []
    lock = retention.retention.lock

    def announced(session, of):
        if threading.current_thread() is thread:
            locking.set()
        return lock(session, of)

    monkeypatch.setattr(retention.retention, "lock", announced)
    thread = threading.Thread(target=lambda: outcomes.extend(Retention(kept.node).run()))
    with kept.node.transaction() as session:
        refuse_without_files(kept.node, session, analysis_id)
        thread.start()
        assert locking.wait(30)
        if retried:
            analyses.retry(session, analysis_id)
    thread.join(60)
    assert [outcome.removed for outcome in outcomes] == [not retried]
