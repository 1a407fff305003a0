"""Deliveries in the tables without files behind them: for tests of what keeps them, and in which order they leave."""

from arriving import arrived

from covnode.records.series import DeidentifiedSeries
from covnode.store import analyses, arrivals, deliveries


def queue_delivery(session, series="series", study="study", destination="pacs"):
    """Return the job of a delivery of a new analysis of the series, newest revision."""
    (series_id,) = arrivals.record(session, [arrived(name=series, study_digest=study)], "amend")
    analysis = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
    return deliveries.open_delivery(session, analysis.subject_id, destination)


def queue_deliveries(transaction, *of, destination="pacs"):
    """Return the ids of deliveries of (series, study), queued one after the other."""
    ids = []
    for series, study in of:
        with transaction() as session:
            ids.append(queue_delivery(session, series, study, destination).subject_id)
    return ids
