"""What a shadow answered: a second model that runs in silence after an analysis, beside the one that served it.

Made by wiring.shadowing, kept in the table of shadow answers; goes into no object and no result. Holds no identity.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ShadowAnswer:
    """One answer beside that of the analysis.

    Attributes
    ----------
    task
        lungs, classification or severity.
    model, sha256
        Name of the shadow, digest of its weights.
    active_model, active_sha256
        The same of the model that served; no digest for a method without weights.
    active_answer, answer
        ml of both lungs, probability 0..1, or score 0..100; None where there is none.
    agrees
        The same side of probability 0.5, the same severity class; None for lungs, and where there is no answer.
    dice
        Of the two lung masks, 0..1; None for other tasks.
    error
        Why there is no answer.
    """

    task: str
    model: str
    sha256: str
    active_model: str
    active_sha256: str | None
    active_answer: float | None
    answer: float | None = None
    agrees: bool | None = None
    dice: float | None = None
    error: str | None = None
