"""UIDs of the result objects, derived from what they were made of, so that a repeat is the same object.

Called by the writers of report with the result record; never uses a clock or chance.
"""

import hashlib
import json
from collections.abc import Callable

from covnode.records.result import AnalysisResult

MakeUid = Callable[..., str]


def derived_uid(*parts: object) -> str:
    """Make a UID under the UUID root 2.25 from a digest (PS3.5 B.2).

    Parameters
    ----------
    *parts
        Anything JSON can hold; the same parts give the same UID.

    Returns
    -------
    str
        ``2.25.`` and the first 128 bits of the SHA-256 of the parts, as a decimal number.
    """
    digest = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def result_uids(result: AnalysisResult) -> MakeUid:
    """Bind ``derived_uid`` to the input's content, the models, the configuration and the revision of one analysis.

    Returns
    -------
    Callable
        ``make(kind, index)`` gives the UID of one thing of this result.
    """
    configuration = sorted(result.configuration.items())
    models = sorted([model.task, model.name, model.version, model.sha256 or ""] for model in result.models)

    def make(*what: object) -> str:
        return derived_uid("covnode result", result.input_sha256, models, configuration, result.revision, *what)

    return make
