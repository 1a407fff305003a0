"""A choice that gave way to a better one, and the way back, on both databases."""

import pytest
import sqlalchemy as sa
from arriving import arrived

from covnode.errors import StaleClaim
from covnode.records.job import AnalysisState, SeriesState
from covnode.records.series import DeidentifiedSeries
from covnode.store import analyses, arrivals, series, studies, views
from covnode.store.tables import AnalysisRow, SeriesRow, StudyRow

pytestmark = pytest.mark.xdist_group("dbos")


def hand_over(transaction, series_id):
    """Choose a series of the only study and hand it over."""
    with transaction() as session:
        series.mark_chosen(session, series_id, 1)
        studies.set_choice(session, session.scalars(sa.select(StudyRow)).one(), series_id)
        series.mark_handed_over(session, series_id, 1)
        return analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64)).subject_id


def test_a_series_that_gave_way_is_found_again_when_the_better_one_came_to_nothing(transaction):
    with transaction() as session:
        first, second = arrivals.record(session, [arrived(name="a"), arrived(name="b")], "amend")
        for series_id in (first, second):
            series.mark_complete(session, series_id, 1, "why")
            judged = session.get_one(SeriesRow, series_id, populate_existing=True)
            studies.keep_sheet(session, judged, {"total": 1.0})
    hand_over(transaction, first)
    with pytest.raises(StaleClaim), transaction() as session:
        studies.choose_by_hand(session, first)
    better = hand_over(transaction, second)
    with transaction() as session:
        studies.supersede(session, first, "the other one is better")
        session.get_one(AnalysisRow, better).state = AnalysisState.FAILED
    with transaction() as session:
        study = session.scalars(sa.select(StudyRow)).one()
        assert f"{second}, which was chosen, could not be analysed" in studies.came_to_nothing(session, study)
        listed = {row["series_id"]: (row["state"], row["reason"]) for row in views.list_series(session)}
        assert listed == {first: ("superseded", "the other one is better"), second: ("failed", None)}
        studies.choose_by_hand(session, first)
    with transaction() as session:
        row, study = session.get_one(SeriesRow, first), session.scalars(sa.select(StudyRow)).one()
        assert (row.state, row.revision, row.score_sheet) == (SeriesState.CHOSEN, 2, {"total": 1.0, "by_hand": True})
        assert (study.chosen_series_id, study.choice_revision) == (first, 3)
        assert studies.came_to_nothing(session, study) is None
