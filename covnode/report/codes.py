"""Every code that a result object carries, with its source; the private scheme 99COVNODE is declared here once.

Read by the other modules of report. ``PS3.16 CID n`` names the context group (as shipped by pydicom) a code is from;
codes that no context group of pydicom holds are marked *reviewed* with the place they were taken from.
"""

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99COVNODE"

# PS3.16 CID 7150 Segmentation Property Category.
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")

# PS3.16 CID 4031 Common Anatomic Regions; CID 7159 Lesion Segmentation Type; CID 244 Laterality.
LUNG = Code("39607008", "SCT", "Lung")
LESION = Code("52988006", "SCT", "Lesion")
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")

# PS3.16 CID 6102 Chest Finding or Feature.
GROUND_GLASS = Code("112120", "DCM", "Ground glass opacity")
# Reviewed: SNOMED CT international edition, 95436008 |Lung consolidation (disorder)|.
CONSOLIDATION = Code("95436008", "SCT", "Lung consolidation")

# PS3.16 CID 7162 Surface Processing Algorithm Family.
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")

# PS3.16 CID 7021 Measurement Report Document Titles; CID 100 Quantitative Diagnostic Imaging Procedures.
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
CT_PROCEDURE = Code("25045-6", "LN", "CT unspecified body region")

# PS3.16 TID 1500 rows 12 to 14, TID 1600, TID 1602, CID 29 Acquisition Modality, CID 12101 (Comment).
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
COMMENT = Code("121106", "DCM", "Comment")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
MODALITY = Code("121139", "DCM", "Modality")
COMPUTED_TOMOGRAPHY = Code("CT", "DCM", "Computed Tomography")
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
SOURCE_IMAGE = Code("260753009", "SCT", "Source")

# PS3.16 CID 7468 (Volume) and, reviewed, 246112005 |Severity (attribute)| of SNOMED CT (in pydicom's SCT dictionary).
VOLUME = Code("118565006", "SCT", "Volume")
SEVERITY = Code("246112005", "SCT", "Severity")

# UCUM, PS3.16 CID 82 Units of Measurement; annotations in braces by UCUM clause 6.
MILLILITRE = Code("ml", "UCUM", "ml")
PERCENT = Code("%", "UCUM", "Percent")
SCORE = Code("{score}", "UCUM", "score")

# Private concepts: no public code names exactly these figures.
LUNG_VOLUME_BOTH = Code("CN110", PRIVATE_SCHEME, "Volume of both lungs")
GROUND_GLASS_BOTH = Code("CN120", PRIVATE_SCHEME, "Ground glass volume in both lungs")
GROUND_GLASS_LEFT = Code("CN121", PRIVATE_SCHEME, "Ground glass volume in the left lung")
GROUND_GLASS_RIGHT = Code("CN122", PRIVATE_SCHEME, "Ground glass volume in the right lung")
CONSOLIDATION_BOTH = Code("CN130", PRIVATE_SCHEME, "Consolidation volume in both lungs")
CONSOLIDATION_LEFT = Code("CN131", PRIVATE_SCHEME, "Consolidation volume in the left lung")
CONSOLIDATION_RIGHT = Code("CN132", PRIVATE_SCHEME, "Consolidation volume in the right lung")
AFFECTED_BOTH = Code("CN140", PRIVATE_SCHEME, "Affected part of both lungs")
AFFECTED_LEFT = Code("CN141", PRIVATE_SCHEME, "Affected part of the left lung")
AFFECTED_RIGHT = Code("CN142", PRIVATE_SCHEME, "Affected part of the right lung")
AFFECTED_LEFT_UPPER = Code("CN143", PRIVATE_SCHEME, "Affected part of the upper third of the left lung")
AFFECTED_LEFT_MIDDLE = Code("CN144", PRIVATE_SCHEME, "Affected part of the middle third of the left lung")
AFFECTED_LEFT_LOWER = Code("CN145", PRIVATE_SCHEME, "Affected part of the lower third of the left lung")
AFFECTED_RIGHT_UPPER = Code("CN146", PRIVATE_SCHEME, "Affected part of the upper third of the right lung")
AFFECTED_RIGHT_MIDDLE = Code("CN147", PRIVATE_SCHEME, "Affected part of the middle third of the right lung")
AFFECTED_RIGHT_LOWER = Code("CN148", PRIVATE_SCHEME, "Affected part of the lower third of the right lung")
LOW_ATTENUATION_BOTH = Code("CN150", PRIVATE_SCHEME, "Part of both lungs below -950 HU")
LOW_ATTENUATION_LEFT = Code("CN151", PRIVATE_SCHEME, "Part of the left lung below -950 HU")
LOW_ATTENUATION_RIGHT = Code("CN152", PRIVATE_SCHEME, "Part of the right lung below -950 HU")
COVID_PROBABILITY = Code("CN201", PRIVATE_SCHEME, "Probability of COVID-19 by appearance in CT")
SEVERITY_SCORE = Code("CN202", PRIVATE_SCHEME, "Severity score (0 to 100)")
CTSI = Code("CN203", PRIVATE_SCHEME, "CT severity index (0 to 25)")

# Private values: classes of our score in steps of 20, not the clinical severities of SNOMED CT.
SEVERITY_CATEGORIES = {
    "Low": Code("CN301", PRIVATE_SCHEME, "Low"),
    "Mild": Code("CN302", PRIVATE_SCHEME, "Mild"),
    "Moderate": Code("CN303", PRIVATE_SCHEME, "Moderate"),
    "Severe": Code("CN304", PRIVATE_SCHEME, "Severe"),
    "Critical": Code("CN305", PRIVATE_SCHEME, "Critical"),
}


def private_scheme() -> CodingSchemeIdentificationItem:
    """Make the item that declares 99COVNODE (PS3.3 C.12.1.1, Coding Scheme Identification Sequence)."""
    return CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME, name="covnode private codes", version="1", responsible_organization="covnode"
    )
