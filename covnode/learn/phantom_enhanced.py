"""A phantom as one Enhanced CT instance with valid functional groups (PS3.3 A.38).

Takes the common attributes and the stored frames from phantom_dicom; gives back one multi-frame data set.
"""

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, EnhancedCTImageStorage

from covnode.learn.phantom_elements import decimals, set_pixels
from covnode.learn.phantom_layout import StoredFrame, StoredSeries
from covnode.learn.phantom_records import Phantom

_FRAME_TYPE = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
_DATE_TIME = "20260105101500"


def enhanced_dataset(common: Dataset, phantom: Phantom, series: StoredSeries, sop_instance_uid: UID) -> Dataset:
    """Return one Enhanced CT Image Storage instance; frame n is the slice with instance number n."""
    dataset = Dataset()
    dataset.update(common)
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.InstanceNumber = 1
    dataset.ImageType = _FRAME_TYPE
    dataset.AcquisitionDateTime = _DATE_TIME
    dataset.ContentQualification = "PRODUCT"
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.LossyImageCompression = "00"
    dataset.AcquisitionContextSequence = Sequence()
    set_pixels(dataset, series.frames[0].stored.shape)
    dataset.NumberOfFrames = len(series.frames)
    organization = _item(DimensionOrganizationUID=common.SeriesInstanceUID + ".1")
    dataset.DimensionOrganizationSequence = Sequence([organization])
    dataset.DimensionIndexSequence = Sequence(
        [_dimension(organization, keyword) for keyword in ("StackID", "InStackPositionNumber")]
    )
    dataset.SharedFunctionalGroupsSequence = Sequence([_shared(phantom, series)])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([_per_frame(phantom, series, frame) for frame in series.frames])
    dataset.PixelData = np.stack([frame.stored for frame in series.frames]).astype("<u2").tobytes()
    return dataset


def _item(**elements: object) -> Dataset:
    """Return a data set of keyword=value; a list of data sets becomes a sequence."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    return [_item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def _dimension(organization: Dataset, keyword: str) -> Dataset:
    return _item(
        DimensionOrganizationUID=organization.DimensionOrganizationUID,
        DimensionIndexPointer=tag_for_keyword(keyword),
        FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
    )


def _shared(phantom: Phantom, series: StoredSeries) -> Dataset:
    """Functional groups that all frames share (PS3.3 Table A.38-2)."""
    field_mm = series.pixel_spacing_mm[1] * series.frames[0].stored.shape[1]
    item = _item(
        PixelMeasuresSequence=[
            _item(
                PixelSpacing=decimals(*series.pixel_spacing_mm),
                SliceThickness=decimals(series.slice_spacing_mm)[0],
            )
        ],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=decimals(*series.orientation_lps))],
        FrameAnatomySequence=[_item(FrameLaterality="U", AnatomicRegionSequence=_code("51185008", "SCT", "Chest"))],
        PixelValueTransformationSequence=[_item(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU")],
        FrameVOILUTSequence=[_item(WindowCenter=-500, WindowWidth=1500)],
        CTImageFrameTypeSequence=[
            _item(
                FrameType=_FRAME_TYPE,
                PixelPresentation="MONOCHROME",
                VolumetricProperties="VOLUME",
                VolumeBasedCalculationTechnique="NONE",
            )
        ],
        CTAcquisitionTypeSequence=[
            _item(AcquisitionType="SPIRAL", TubeAngle=0.0, ConstantVolumeFlag="NO", FluoroscopyFlag="NO")
        ],
        CTTableDynamicsSequence=[_item(TableSpeed=40.0, TableFeedPerRotation=20.0, SpiralPitchFactor=1.0)],
        CTReconstructionSequence=[
            _item(
                ReconstructionAlgorithm="FILTER_BACK_PROJ",
                ConvolutionKernel="PHANTOM",
                ConvolutionKernelGroup="LUNG",
                ReconstructionDiameter=decimals(field_mm)[0],
                ReconstructionPixelSpacing=list(series.pixel_spacing_mm),
                ReconstructionAngle=360.0,
                ImageFilter="NONE",
            )
        ],
        CTXRayDetailsSequence=[
            _item(
                KVP=120,
                FocalSpots=[1.0],
                FilterType="NONE",
                FilterMaterial=["ALUMINUM"],
                CalciumScoringMassFactorPatient=None,
            )
        ],
    )
    return item


def _per_frame(phantom: Phantom, series: StoredSeries, frame: StoredFrame) -> Dataset:
    """Functional groups of one frame."""
    number = frame.instance_number
    return _item(
        FrameContentSequence=[
            _item(
                FrameAcquisitionNumber=1,
                FrameReferenceDateTime=_DATE_TIME,
                FrameAcquisitionDateTime=_DATE_TIME,
                FrameAcquisitionDuration=500.0,
                StackID="1",
                InStackPositionNumber=number,
                DimensionIndexValues=[1, number],
            )
        ],
        PlanePositionSequence=[_item(ImagePositionPatient=decimals(*frame.position_lps_mm))],
    )
