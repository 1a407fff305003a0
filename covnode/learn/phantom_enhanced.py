"""A phantom as one Enhanced CT instance with valid functional groups (PS3.3 A.38).

Takes the common attributes and the stored frames from phantom_dicom; gives back one multi-frame data set.
"""

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID, EnhancedCTImageStorage

from covnode.learn.phantom_elements import decimals, set_pixels
from covnode.learn.phantom_layout import StoredFrame, StoredSeries

_FRAME_TYPE = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
_DATE_TIME = "20260105101500"


def enhanced_dataset(common: Dataset, series: StoredSeries, sop_instance_uid: UID) -> Dataset:
    """Return one Enhanced CT Image Storage instance; frame n is the slice with instance number n."""
    dataset = Dataset()
    dataset.update(common)
    # The single-frame image modules have these, the enhanced ones give them for each frame.
    for keyword in ("AcquisitionDate", "AcquisitionTime", "ContrastBolusAgent"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.InstanceNumber = 1
    dataset.ImageType = _FRAME_TYPE
    dataset.AcquisitionDateTime = _DATE_TIME
    dataset.AcquisitionDuration = 6.0
    dataset.ContentQualification = "PRODUCT"
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.AcquisitionContextSequence = []
    set_pixels(dataset, series.frames[0].stored.shape)
    dataset.NumberOfFrames = len(series.frames)
    organization_uid = f"{common.SeriesInstanceUID}.1"
    dataset.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization_uid)]
    dataset.DimensionIndexSequence = [_dimension(organization_uid, key) for key in ("StackID", "InStackPositionNumber")]
    if "ContrastBolusAgent" in common:
        dataset.ContrastBolusAgentSequence = [_contrast_agent()]
    dataset.SharedFunctionalGroupsSequence = [_shared(common, series)]
    dataset.PerFrameFunctionalGroupsSequence = [_per_frame(frame) for frame in series.frames]
    dataset.PixelData = np.stack([frame.stored for frame in series.frames]).astype("<u2").tobytes()
    return dataset


def _item(**elements: object) -> Dataset:
    """Return a data set of keyword=value; a list of data sets becomes a sequence."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _dimension(organization_uid: str, keyword: str) -> Dataset:
    return _item(
        DimensionOrganizationUID=organization_uid,
        DimensionIndexPointer=tag_for_keyword(keyword),
        FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
    )


def _shared(common: Dataset, series: StoredSeries) -> Dataset:
    """Functional groups that all frames share (PS3.3 Table A.38-2)."""
    chest = _code("51185008", "SCT", "Chest")
    measures = _item(
        PixelSpacing=decimals(*series.pixel_spacing_mm), SliceThickness=decimals(series.slice_spacing_mm)[0]
    )
    frame_type = _item(
        FrameType=_FRAME_TYPE,
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
    )
    irradiation = _item(IrradiationEventUID=f"{common.SeriesInstanceUID}.2")
    groups = _item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=decimals(*series.orientation_lps))],
        FrameAnatomySequence=[_item(FrameLaterality="U", AnatomicRegionSequence=[chest])],
        PixelValueTransformationSequence=[_item(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU")],
        FrameVOILUTSequence=[_item(WindowCenter=-500, WindowWidth=1500)],
        IrradiationEventIdentificationSequence=[irradiation],
        CTImageFrameTypeSequence=[frame_type],
        **_acquisition(series),
    )
    if "ContrastBolusAgent" in common:
        groups.ContrastBolusUsageSequence = [
            _item(ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered="YES", ContrastBolusAgentDetected="YES")
        ]
    return groups


def _contrast_agent() -> Dataset:
    """Item of the Enhanced Contrast/Bolus module (PS3.3 C.7.6.4b)."""
    item = _code("385420005", "SCT", "Contrast agent")
    item.ContrastBolusAgentNumber = 1
    item.ContrastBolusAdministrationRouteSequence = [_code("47625008", "SCT", "Intravenous route")]
    item.ContrastBolusIngredientCodeSequence = [_code("44588005", "SCT", "Iodine")]
    item.ContrastBolusVolume = None
    item.ContrastBolusIngredientConcentration = None
    return item


def _acquisition(series: StoredSeries) -> dict[str, list[Dataset]]:
    """Return the groups of an ORIGINAL CT frame (PS3.3 C.8.15.3): a plausible spiral acquisition."""
    rows, columns = series.frames[0].stored.shape
    field_mm = max(series.pixel_spacing_mm[0] * rows, series.pixel_spacing_mm[1] * columns)
    return {
        "CTAcquisitionTypeSequence": [_item(AcquisitionType="SPIRAL", ConstantVolumeFlag="NO", FluoroscopyFlag="NO")],
        "CTAcquisitionDetailsSequence": [
            _item(
                RotationDirection="CW",
                RevolutionTime=0.5,
                SingleCollimationWidth=0.625,
                TotalCollimationWidth=40.0,
                TableHeight=150.0,
                GantryDetectorTilt=series.tilt_deg,
                DataCollectionDiameter=500.0,
            )
        ],
        "CTTableDynamicsSequence": [_item(TableSpeed=80.0, TableFeedPerRotation=40.0, SpiralPitchFactor=1.0)],
        "CTPositionSequence": [
            _item(
                TablePosition=0.0,
                ReconstructionTargetCenterPatient=[0.0, 0.0, 0.0],
                DataCollectionCenterPatient=[0.0, 0.0, 0.0],
            )
        ],
        "CTGeometrySequence": [_item(DistanceSourceToDetector=1000.0, DistanceSourceToDataCollectionCenter=570.0)],
        "CTReconstructionSequence": [
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
        "CTExposureSequence": [
            _item(
                ExposureTimeInms=500.0,
                XRayTubeCurrentInmA=200.0,
                ExposureInmAs=100.0,
                ExposureModulationType="NONE",
                CTDIvol=5.0,
                CTDIPhantomTypeCodeSequence=[_code("113691", "DCM", "IEC Body Dosimetry Phantom")],
            )
        ],
        "CTXRayDetailsSequence": [_item(KVP=120, FocalSpots=[1.0], FilterType="FLAT", FilterMaterial="ALUMINUM")],
    }


def _per_frame(frame: StoredFrame) -> Dataset:
    """Functional groups of one frame."""
    number = frame.instance_number
    content = _item(
        FrameAcquisitionNumber=1,
        FrameReferenceDateTime=_DATE_TIME,
        FrameAcquisitionDateTime=_DATE_TIME,
        FrameAcquisitionDuration=500.0,
        StackID="1",
        InStackPositionNumber=number,
        DimensionIndexValues=[1, number],
    )
    return _item(
        FrameContentSequence=[content],
        PlanePositionSequence=[_item(ImagePositionPatient=decimals(*frame.position_lps_mm))],
    )
