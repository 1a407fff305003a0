import pytest
import sqlalchemy as sa
from arriving import arrived

from covnode.records.series import DeidentifiedSeries
from covnode.store import analyses, arrivals, series
from covnode.store.tables import SeriesRow

WHOLE = {"rule": "no_gap", "association": "released", "instances": 12, "expected": None, "geometry": {"gaps": 0}}


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (WHOLE, []),
        (WHOLE | {"expected": 12}, []),
        (WHOLE | {"association": "aborted"}, ["interrupted"]),
        (WHOLE | {"expected": 14}, ["Only 12 of 14 announced"]),
        (WHOLE | {"expected": 14, "expected_by": "c-find"}, ["Only 12 of 14 announced"]),
        (WHOLE | {"expected": 14, "expected_by": "acquisition"}, ["announce 14 images of the scan; 12 are in this"]),
        (WHOLE | {"expected": 12, "expected_by": "acquisition"}, []),
        (WHOLE | {"geometry": {"gaps": 2}}, ["gaps"]),
        (WHOLE | {"rule": "watchdog", "association": "open"}, ["had not ended"]),
        (WHOLE | {"association": "aborted", "expected": 14}, ["interrupted", "Only 12 of 14"]),
        (None, []),
    ],
)
def test_the_reader_is_told_how_the_slices_came(transaction, evidence, words):
    with transaction() as session:
        (series_id,) = arrivals.record(session, [arrived()], "amend")
        series.mark_complete(session, series_id, 1, "why", evidence)
        job = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
    with transaction() as session:
        cautions = analyses.claim(session, job.subject_id, 1, "a").received_cautions
    assert len(cautions) == len(words)
    assert all(word in caution for word, caution in zip(words, cautions, strict=True))


@pytest.mark.parametrize(
    ("evidence", "sentence", "told"),
    [
        (None, "association aborted, 12 images, no slice for 60 s", True),
        (None, "association released, 12 images, no slice for 5 s", False),
        ({"identity_conflict_accepted": True}, "association aborted, 12 images", True),
        (WHOLE, "association aborted, 12 images", False),
        (None, None, False),
    ],
)
def test_a_series_from_before_the_figures_were_kept_is_told_by_its_sentence(transaction, evidence, sentence, told):
    with transaction() as session:
        (series_id,) = arrivals.record(session, [arrived()], "amend")
        series.mark_complete(session, series_id, 1, "why")
        session.execute(sa.update(SeriesRow).values(evidence=evidence, completeness=sentence))
        job = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
    with transaction() as session:
        cautions = analyses.claim(session, job.subject_id, 1, "a").received_cautions
    assert ["interrupted" in caution for caution in cautions] == [True] * told
