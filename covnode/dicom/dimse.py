"""Figures of the DIMSE services that more than one stage names."""

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
STORED = frozenset({SUCCESS, 0xB000, 0xB006, 0xB007, DUPLICATE_INSTANCE})
"""The peer holds the instance; the B-statuses warn that something was coerced or left out (PS3.7 Annex C for 0111)."""
