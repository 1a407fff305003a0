"""Series that lack files which they were received with: they wait until these are sent again.

Called by assembling and intake before they work on a series, and by what a person asks for.
"""

from sqlalchemy.orm import Session

from covnode.errors import ConfigurationError
from covnode.records.job import AnalysisState
from covnode.store import retention, series
from covnode.store.tables import AnalysisRow, SeriesRow
from covnode.wiring.node import Node


def lacking(node: Node, session: Session, row: SeriesRow) -> str | None:
    """Say that files which count for the series lack, by retention or on this host; None where all are there."""
    is_ours = row.spool is not None and row.spool == node.spool
    if row.files_removed_at is None and not is_ours:
        return None
    files = [node.home.spool / instance.file_name for instance in series.input_of(session, row.series_id)]
    gone = sum(not file.exists() for file in files)
    if not gone:
        return None
    if row.files_removed_at is None:
        return f"{gone} of its {len(files)} files came in over another host: have the whole series sent again over one"
    return (
        f"retention removed {gone} of its {len(files)} files on {row.files_removed_at:%Y-%m-%d}: have the whole series "
        "sent again"
    )


def quarantine_without_files(node: Node, session: Session, row: SeriesRow) -> tuple[str, str] | None:
    """Stop a series that lacks files until they are sent again; return code and reason, or None: all are there."""
    reason = lacking(node, session, row)
    if reason is None:
        return None
    why = (
        series.FILES_ELSEWHERE if row.files_removed_at is None else series.FILES_REMOVED,
        f"{reason}, then it goes on by itself",
    )
    series.quarantine(session, row.series_id, row.revision, *why)
    return why


def refuse_without_files(node: Node, session: Session, subject_id: str) -> None:
    """Refuse work on an analysis (ana-) or a series (ser-) that retention removed the files of.

    Called before the work's state is changed, in the same transaction.

    Raises
    ------
    ConfigurationError
        It did; the message says when, and the way out.
    """
    analysis = session.get(AnalysisRow, subject_id)
    row = retention.lock(session, subject_id if analysis is None else analysis.series_id)
    if row is None or row.files_removed_at is None:
        return
    if row.spool not in {None, node.spool}:
        raise ConfigurationError(f"{subject_id}: its files were on another host: do this there.")
    reason = lacking(node, session, row)
    if analysis is None:
        if reason is not None:
            raise ConfigurationError(f"{subject_id}: {reason}, then this can be done.")
        return
    session.refresh(analysis)
    if analysis.state == AnalysisState.NOT_ANALYSED and row.files_removed_at > analysis.state_at:
        first = f"{reason}, then" if reason else f"retention removed its copy on {row.files_removed_at:%Y-%m-%d}:"
        raise ConfigurationError(f"{subject_id}: {first} 'covnode series choose {row.series_id}' takes it in anew.")
