"""What shadows answered beside the analyses, and how well they agree with what served."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.records.job import AnalysisClaim, AnalysisState
from covnode.records.shadow import ShadowAnswer
from covnode.store.tables import AnalysisRow, ShadowAnswerRow


def keep(session: Session, held: AnalysisClaim, answers: Iterable[ShadowAnswer]) -> bool:
    """Keep the answers of this attempt; not where the analysis did not end by it. Return whether they were kept."""
    ended = sa.and_(AnalysisRow.fence == held.fence, AnalysisRow.state == AnalysisState.ANALYSED)
    if not session.scalar(sa.select(ended).where(AnalysisRow.analysis_id == held.analysis_id)):
        return False
    for answer in answers:
        session.merge(ShadowAnswerRow(analysis_id=held.analysis_id, **asdict(answer)))
    return True


def agreement(session: Session, sha256: str) -> list[dict[str, Any]]:
    """Count what the shadow with these weights answered, apart for each model that it ran beside.

    Returns
    -------
    list
        ``beside``, ``analyses``, ``failed``; of those with both answers ``agree_percent`` (None for lungs),
        ``mean_difference`` in the answer's unit, ``mean_dice`` (lungs alone).
    """
    row = ShadowAnswerRow
    difference = sa.func.abs(row.answer - row.active_answer)
    query = (
        sa.select(
            row.active_model,
            sa.func.count(),
            sa.func.count(row.error),
            100.0 * sa.func.avg(sa.case((row.agrees.is_(True), 1.0), (row.agrees.is_(False), 0.0))),
            sa.func.avg(difference),
            sa.func.avg(row.dice),
        )
        .where(row.sha256 == sha256)
        .group_by(row.active_model, row.active_sha256)
        .order_by(row.active_model)
    )
    return [
        {
            "beside": model,
            "analyses": count,
            "failed": failed,
            "agree_percent": _rounded(agree, 1),
            "mean_difference": _rounded(apart, 4),
            "mean_dice": _rounded(dice, 4),
        }
        for model, count, failed, agree, apart, dice in session.execute(query)
    ]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)
