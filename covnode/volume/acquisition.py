"""How a series was acquired, as far as the report states it.

Called by loading for one slice; goes into the CTVolume. Judges nothing.
"""

from pydicom.dataset import Dataset

from covnode.dicom.reading import quietly, read_header
from covnode.dicom.values import items, number, text
from covnode.errors import TransientError
from covnode.records.result import Acquisition
from covnode.volume.frames import Frame
from covnode.volume.functional_groups import KEYWORDS as MULTI_FRAME_KEYWORDS
from covnode.volume.functional_groups import groups_of_frame

_KEYWORDS = (
    "Manufacturer",
    "ManufacturerModelName",
    "ConvolutionKernel",
    "SliceThickness",
    "KVP",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    *MULTI_FRAME_KEYWORDS,
)


def read_acquisition(frame: Frame) -> Acquisition:
    """Read the attributes from one frame of the series; what it does not state is None.

    Contrast agent is True where one is named, else None: its absence from a header proves nothing, and a
    de-identified copy may have been emptied.

    Raises
    ------
    TransientError
        When the storage fails.
    """
    with quietly():
        try:
            dataset: Dataset = read_header(frame.image.path, _KEYWORDS).dataset
        except OSError as error:
            raise TransientError("a file of the series cannot be read from storage") from error
        reconstruction, measures, x_ray = dataset, dataset, dataset
        if frame.number is not None:
            group = groups_of_frame(dataset, frame.number)
            reconstruction = group("CTReconstructionSequence")
            measures, x_ray = group("PixelMeasuresSequence"), group("CTXRayDetailsSequence")
        contrast = text(dataset, "ContrastBolusAgent") or items(dataset, "ContrastBolusAgentSequence")
        return Acquisition(
            manufacturer=text(dataset, "Manufacturer"),
            manufacturer_model_name=text(dataset, "ManufacturerModelName"),
            convolution_kernel=text(reconstruction, "ConvolutionKernel"),
            slice_thickness_mm=number(measures, "SliceThickness"),
            kvp=number(x_ray, "KVP"),
            contrast_agent=True if contrast else None,
        )
