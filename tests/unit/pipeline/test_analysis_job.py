from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from covnode.errors import NonUniformSpacing, StageFailed, StaleClaim, TransientError
from covnode.pipeline.analysis import AnalysisJob
from covnode.records.job import AnalysisClaim, AnalysisState
from covnode.records.series import DeidentifiedSeries

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Records:
    """A table with one analysis, which may be claimed three times."""

    attempts: int = 0
    ended: list = field(default_factory=list)
    finished: list = field(default_factory=list)
    interruptions: list = field(default_factory=list)

    def claim(self, analysis_id, enqueues):
        if self.ended or self.finished or self.attempts == 3:
            return None
        self.attempts += 1
        return AnalysisClaim(analysis_id, "ser-1", 1, "0" * 64, self.attempts, self.attempts, NOW)

    def series(self, claim):
        return DeidentifiedSeries(claim.series_id, 1, (), claim.input_sha256)

    def finish(self, claim, analysed):
        self.finished.append((claim.attempt, analysed))

    def interrupted(self, claim, reason):
        self.interruptions.append(reason)

    def end(self, claim, state, code, reason):
        self.ended.append((state, code, reason))


class Analysed:
    timings_s = {"lungs": 1.0}  # noqa: RUF012


def run(*outcomes):
    """Run a job whose attempts end as given; the last outcome repeats."""
    records, outcomes = Records(), list(outcomes)

    def infer(_claim, _series):
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    AnalysisJob(records, infer).run("ana-1", 1)
    return records


def test_a_result_is_recorded_once():
    records = run(result := Analysed())
    assert records.finished == [(1, result)]


def test_a_crash_of_the_child_is_one_attempt_and_the_next_one_counts():
    records = run(TransientError("the inference process ended early"), result := Analysed())
    assert records.finished == [(2, result)]


def test_a_child_that_always_crashes_ends_when_no_claim_is_given_any_more():
    records = run(TransientError("the inference process ended early"))
    assert records.attempts == 3
    assert records.interruptions == ["the inference process ended early"] * 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            NonUniformSpacing("between slices 3 and 4"),
            (AnalysisState.NOT_ANALYSED, "non_uniform_spacing", "between slices 3 and 4"),
        ),
        (
            StageFailed("ValueError in lungs.py, line 3"),
            (AnalysisState.FAILED, "StageFailed", "ValueError in lungs.py, line 3"),
        ),
        (ValueError("Doe^Jane"), (AnalysisState.FAILED, "ValueError", "an unforeseen error")),
    ],
)
def test_an_analysis_without_a_result_says_why_and_quotes_no_foreign_text(error, expected):
    records = run(error)
    assert records.ended == [expected]
    assert records.attempts == 1


def test_whoever_was_taken_over_writes_nothing():
    records = run(StaleClaim("another process"))
    assert records.ended == records.finished == []
