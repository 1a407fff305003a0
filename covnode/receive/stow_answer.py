"""The answer to a Store transaction: the status of PS3.18 Table 10.5.3-1 and the module of PS3.18 Table I.2-1.

Comes from the outcome of each part; goes to the sender as DICOM JSON (PS3.18 Annex F). It names the instances by the
UIDs that the sender gave, to the sender alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from covnode.dicom.dimse import OUT_OF_RESOURCES

_RETRIEVE_URL = "00081190"
_REFERENCED_SOP_CLASS = "00081150"
_REFERENCED_SOP_INSTANCE = "00081155"
_FAILURE_REASON = "00081197"
_FAILED_SOP_SEQUENCE = "00081198"
_REFERENCED_SOP_SEQUENCE = "00081199"
_OTHER_FAILURES_SEQUENCE = "0008119A"


@dataclass(frozen=True)
class Outcome:
    """What became of one part.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid
        As its file meta names them; empty when it came not that far.
    failure
        Failure Reason (0008,1197); None: it is durable.
    too_large
        It was refused for its size.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    failure: int | None = None
    too_large: bool = False


def status_of(outcomes: Sequence[Outcome], *, malformed: bool) -> int:
    """Return the HTTP status of a body whose parts had these outcomes."""
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    if not outcomes or (malformed and len(failed) == len(outcomes)):
        return 400
    if not failed:
        return 200
    if len(failed) < len(outcomes):
        return 202
    if all(outcome.too_large for outcome in failed):
        return 413
    if all(outcome.failure == OUT_OF_RESOURCES and not outcome.too_large for outcome in failed):
        return 503
    return 409


def store_response(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the Store Instances Response Module as DICOM JSON.

    The Retrieve URLs are empty (they are type 2): the node keeps what it receives for analysis only and gives nothing
    back by WADO-RS.
    """
    stored = [_reference(outcome) | {_RETRIEVE_URL: {"vr": "UR"}} for outcome in outcomes if outcome.failure is None]
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    named = [_reference(outcome) | _reason(outcome) for outcome in failed if outcome.sop_instance_uid]
    others = [_reason(outcome) for outcome in failed if not outcome.sop_instance_uid]
    answer: dict[str, Any] = {_RETRIEVE_URL: {"vr": "UR"}}
    sequences = ((_FAILED_SOP_SEQUENCE, named), (_REFERENCED_SOP_SEQUENCE, stored), (_OTHER_FAILURES_SEQUENCE, others))
    for tag, items in sequences:
        if items:
            answer[tag] = {"vr": "SQ", "Value": items}
    return answer


def _reference(outcome: Outcome) -> dict[str, Any]:
    return {
        _REFERENCED_SOP_CLASS: {"vr": "UI", "Value": [outcome.sop_class_uid]},
        _REFERENCED_SOP_INSTANCE: {"vr": "UI", "Value": [outcome.sop_instance_uid]},
    }


def _reason(outcome: Outcome) -> dict[str, Any]:
    return {_FAILURE_REASON: {"vr": "US", "Value": [outcome.failure]}}
