"""Every error that covnode raises on purpose, in one tree.

The type decides what happens next, never the text. Fields and messages hold figures and our own ids,
never a patient value and never an original UID.
"""


class CovnodeError(Exception):
    """Root of the tree: the CLI prints its message without a traceback."""


class ConfigurationError(CovnodeError):
    """The configuration cannot work: refuse to start and name the key and the way out."""


class InstanceRefused(CovnodeError):
    """A received instance is not kept; ``status`` is the DIMSE status of PS3.4 Table B.2-1 to answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class CommitmentRefused(CovnodeError):
    """A request for storage commitment is not kept; ``status`` is the DIMSE status of PS3.7 10.1.4.1.10 to answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class SeriesUnusable(CovnodeError):
    """Final: the series cannot be analysed. The message is shown to a person; ``code`` is stable for scripts."""

    code = "series_unusable"


class NotDicom(SeriesUnusable):
    code = "not_dicom"


class NotChestCT(SeriesUnusable):
    code = "not_chest_ct"


class WrongModality(SeriesUnusable):
    code = "wrong_modality"


class LocalizerOnly(SeriesUnusable):
    code = "localizer"


class PixelDataMissing(SeriesUnusable):
    code = "pixel_data_missing"


class PixelDataUnreadable(SeriesUnusable):
    """Truncated, or in a form that no decoder reads."""

    code = "pixel_data_unreadable"


class TooFewSlices(SeriesUnusable):
    code = "too_few_slices"


class MixedGeometry(SeriesUnusable):
    """Orientation, matrix or pixel spacing differ within the series."""

    code = "mixed_geometry"


class NotAxial(SeriesUnusable):
    code = "not_axial"


class GeometryMissing(SeriesUnusable):
    """An attribute that places the slices in the patient is absent."""

    code = "geometry_missing"


class SliceMissing(SeriesUnusable):
    code = "slice_missing"


class NonUniformSpacing(SeriesUnusable):
    code = "non_uniform_spacing"


class DuplicatePositions(SeriesUnusable):
    code = "duplicate_positions"


class TooNoisy(SeriesUnusable):
    code = "too_noisy"


class BlackSlices(SeriesUnusable):
    code = "black_slices"


class TruncatedSlices(SeriesUnusable):
    """A part of the patient is missing in slices, as a broken transfer leaves them."""

    code = "truncated_slices"


class CopiedSlices(SeriesUnusable):
    """Slices at several positions show the same."""

    code = "copied_slices"


class LungsNotFound(SeriesUnusable):
    code = "lungs_not_found"


class LungsCut(SeriesUnusable):
    """A large part of the lungs lies outside of the images."""

    code = "lungs_cut"


class LungsImplausible(SeriesUnusable):
    """What was segmented has no volume or density that lungs have."""

    code = "lungs_implausible"


class DeidentificationRefused(CovnodeError):
    """Fail closed: the series is quarantined. ``code`` names the rule, the message holds no identity."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class TransientError(CovnodeError):
    """The only branch that is tried again."""


class PeerAway(TransientError):
    """No association with the peer, or it broke: nobody there, rejected for the moment, aborted, no answer in time."""


class StorageAway(TransientError):
    """Files that are there cannot be read: the medium or its mount fails. Unlike the database it may fail for good."""


class StoreAway(TransientError):
    """The object store does not answer, or refuses: it says nothing of what was to be put there or fetched."""


class RowExists(TransientError):
    """Two processes inserted the same row: whoever comes second looks again and finds it."""


class RowRefused(CovnodeError):
    """Final: the database cannot hold a value of this row; the message does not quote it."""


class WeightsMismatch(CovnodeError):
    """Model weights are absent or differ from the sha256 of their manifest."""


class ReportInvalid(CovnodeError):
    """A result object could not be written as the standard asks."""


class DeliveryRefused(CovnodeError):
    """Final: the interlock or the peer refused an object. ``code`` names the rule or the status."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class StageFailed(CovnodeError):
    """A stage broke in a way that nobody foresaw: the message names the error's type and place, never a value."""


class OutOfMemory(CovnodeError):
    """The analysis needs more memory than there is: it is tried with less at once, then on the CPU."""


class StaleClaim(CovnodeError):
    """Another process has taken this job over: drop the work, write nothing."""
