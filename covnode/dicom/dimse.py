"""Figures of the DIMSE services that more than one stage names."""

from enum import StrEnum

from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

CT_SOP_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
"""What the node takes, and what its results refer to."""

VERIFICATION = "1.2.840.10008.1.1"
"""SOP Class UID of C-ECHO (PS3.4 A.4)."""

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""SOP Class UID of the Storage Commitment Push Model (PS3.4 J.3)."""

# Statuses of C-STORE, PS3.4 Table B.2-1.
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
SOP_CLASS_NOT_SUPPORTED = 0x0122
DUPLICATE_INSTANCE = 0x0111
PROCESSING_FAILURE = 0x0110
_STORED = frozenset({SUCCESS, 0xB000, 0xB006, 0xB007, DUPLICATE_INSTANCE})


class StoreAnswer(StrEnum):
    """What the SCP's status means for the instance: it is held, it may be sent again later, it is refused for good."""

    STORED = "stored"
    LATER = "later"
    REFUSED = "refused"


def store_answer(status: int) -> StoreAnswer:
    """Return what a status of C-STORE means to the SCU (PS3.4 Table B.2-1, PS3.7 Annex C).

    B000, B006 and B007 warn of an instance that is stored: something was coerced, left out or does not match. 0111 says
    that it was stored before. Only out of resources (A7xx) and a failure of the SCP (0110) may pass by themselves.
    """
    if status in _STORED:
        return StoreAnswer.STORED
    if status & 0xFF00 == OUT_OF_RESOURCES or status == PROCESSING_FAILURE:
        return StoreAnswer.LATER
    return StoreAnswer.REFUSED
