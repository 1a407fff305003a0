"""Why the interlock refuses a delivery: one stable code a rule.

Raised by the other modules of interlock; shown to a person and kept with the delivery. Messages hold codes and our own
numbers, never a patient value and never an original UID.
"""

from enum import StrEnum

from covnode.errors import DeliveryRefused


class Rule(StrEnum):
    """What an object must satisfy before it may leave."""

    AMBIGUOUS_REFERENCES = "ambiguous_references"
    CAUTION = "caution"
    DEMONSTRATION_FIGURE = "demonstration_figure"
    DEMONSTRATION_PHRASE = "demonstration_phrase"
    ENCODING = "encoding"
    FIGURE = "figure"
    FRAME_OF_REFERENCE = "frame_of_reference"
    FRAMES = "frames"
    GEOMETRY = "geometry"
    IDENTITY_REMOVED = "identity_removed"
    MISSING_OBJECT = "missing_object"
    ORIGINALS = "originals"
    PATIENT = "patient"
    REFERENCES = "references"
    SEGMENT_CODES = "segment_codes"
    SEGMENT_NUMBERS = "segment_numbers"
    SEGMENT_REFERENCE = "segment_reference"
    SIDE = "side"
    SOP_CLASS = "sop_class"
    STUDY = "study"
    TITLE = "title"
    TRACKING = "tracking"
    UID = "uid"
    UNIT = "unit"
    UNREADABLE = "unreadable"
    VERIFICATION = "verification"
    VOXELS = "voxels"


def refusal(rule: Rule, message: str) -> DeliveryRefused:
    """Make the error of a rule."""
    return DeliveryRefused(message, code=str(rule))
