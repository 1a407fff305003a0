import pytest

from covnode.errors import StaleClaim
from covnode.records.job import SeriesState
from covnode.store import series
from covnode.store.tables import SeriesRow


def spooled(content="a", sop="sop-1"):
    return series.SpooledInstance(sop, content * 64, f"{content}.dcm", 10, "1.2", "1.2.1")


def new_series(session, digest="d1"):
    return series.series_id_of(session, digest, "SCANNER")


def test_a_series_has_one_id_whoever_asks(transaction):
    with transaction() as session:
        first = new_series(session)
    with transaction() as session:
        assert new_series(session) == first
        assert new_series(session, "d2") != first


def test_the_same_content_again_changes_nothing(transaction):
    with transaction() as session:
        series_id = new_series(session)
        assert series.add_instance(session, series_id, spooled())
        assert not series.add_instance(session, series_id, spooled())
        assert session.get_one(SeriesRow, series_id, populate_existing=True).instance_count == 1


def test_the_same_sop_instance_with_other_content_is_kept_beside_the_first(transaction):
    with transaction() as session:
        series_id = new_series(session)
        series.add_instance(session, series_id, spooled("a"))
        series.add_instance(session, series_id, spooled("b"))
        assert [row.content_sha256[0] for row in series.instances_of(session, series_id)] == ["a", "b"]


def test_a_late_slice_opens_the_next_revision_and_the_old_one_loses_its_claim(transaction):
    with transaction() as session:
        series_id = new_series(session)
        series.add_instance(session, series_id, spooled("a"))
        series.mark_complete(session, series_id, 1, "why")
    with transaction() as session:
        series.add_instance(session, series_id, spooled("b", "sop-2"))
        row = session.get_one(SeriesRow, series_id, populate_existing=True)
        assert (row.revision, row.state, row.completeness) == (2, SeriesState.RECEIVING, None)

    def finish_the_old_one():
        with transaction() as session:
            series.mark_handed_over(session, series_id, 1)

    with pytest.raises(StaleClaim):
        finish_the_old_one()


def test_a_quarantined_series_can_be_taken_in_again(transaction):
    with transaction() as session:
        series_id = new_series(session)
        series.add_instance(session, series_id, spooled())
        series.mark_complete(session, series_id, 1, "why")
        series.quarantine(session, series_id, 1, "leak", "reason")
        series.release_from_quarantine(session, series_id)
        assert [row.series_id for row in series.in_state(session, SeriesState.COMPLETE)] == [series_id]
        with pytest.raises(StaleClaim):
            series.release_from_quarantine(session, series_id)
