import pytest
from arriving import arrived

from covnode.records.series import DeidentifiedSeries
from covnode.store import analyses, arrivals, series

WHOLE = {"rule": "no_gap", "association": "released", "instances": 12, "expected": None, "geometry": {"gaps": 0}}


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (WHOLE, []),
        (WHOLE | {"expected": 12}, []),
        (WHOLE | {"association": "aborted"}, ["interrupted"]),
        (WHOLE | {"expected": 14}, ["Only 12 of 14 announced"]),
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
        cautions = analyses.claim(session, job.subject_id, "a").received_cautions
    assert len(cautions) == len(words)
    assert all(word in caution for word, caution in zip(words, cautions, strict=True))
