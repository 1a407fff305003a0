"""The stage's one entry: a de-identified series -> a CT volume, or the reason why not.

Comes from pipeline.analysis; headers -> selection -> geometry -> stack -> duplicates -> pixels; goes to infer. Never
interpolates, never repairs silently: what was left out is stated in the volume's cautions.
"""

from covnode.records.series import DeidentifiedSeries
from covnode.records.volume import CTVolume, SourceFrame
from covnode.volume.acquisition import read_acquisition
from covnode.volume.duplicates import resolve_duplicates
from covnode.volume.geometry import affine_of, common_plane
from covnode.volume.headers import read_frames
from covnode.volume.pixels import read_voxels_hu
from covnode.volume.selection import select_slices
from covnode.volume.stack import Stack, stack_of, tilt_deg_of


def load_volume(series: DeidentifiedSeries, *, min_slices: int = 10) -> CTVolume:
    """Read, check and decode a chest CT series.

    CT Image, Enhanced CT Image and Legacy Converted Enhanced CT Image Storage; instances are told apart by their
    files, so that a series may share one SOP Instance UID.

    Parameters
    ----------
    min_slices
        Fewer slices are no chest CT.

    Returns
    -------
    CTVolume
        On the canonical grid (covnode.records.volume): LPS, mm, int16 Hounsfield units.

    Raises
    ------
    SeriesUnusable
        A subclass for each reason: NotDicom, WrongModality, LocalizerOnly, PixelDataMissing, PixelDataUnreadable,
        NotChestCT, TooFewSlices, GeometryMissing, MixedGeometry, NotAxial, SliceMissing, NonUniformSpacing,
        DuplicatePositions. Slices are named by Instance Number and position.
    TransientError
        When the storage fails.
    """
    frames = read_frames(series.files)
    slices, kind_cautions = select_slices(frames, min_slices=min_slices)
    stack, duplicate_cautions = resolve_duplicates(stack_of(slices, common_plane(slices)), min_slices=min_slices)
    acquisition = read_acquisition(stack.frames[0])
    plane = stack.plane
    across_mm = (plane.row_spacing_mm, plane.column_spacing_mm)
    affine = affine_of(plane, stack.positions_lps_mm)
    return CTVolume(
        voxels_hu=read_voxels_hu(stack.frames, plane.in_plane),
        affine_lps_mm=affine,
        spacing_mm=(_slice_spacing_mm(stack), *(across_mm[::-1] if plane.in_plane.transpose else across_mm)),
        frames=tuple(
            SourceFrame(
                path=frame.image.path,
                sop_class_uid=frame.image.sop_class_uid,
                sop_instance_uid=frame.image.sop_instance_uid,
                frame_number=frame.number,
                position_mm=float(distance_mm),
            )
            for frame, distance_mm in zip(stack.frames, stack.distances_mm, strict=True)
        ),
        in_plane=plane.in_plane,
        acquisition=acquisition,
        cautions=(*kind_cautions, *duplicate_cautions, *_tilt_cautions(stack)),
    )


def _tilt_cautions(stack: Stack) -> tuple[str, ...]:
    tilt_deg = tilt_deg_of(stack)
    if not tilt_deg:
        return ()
    return (
        f"The gantry was tilted by {tilt_deg:.1f} degrees: to find lungs and lesions the slices were sheared back by "
        "whole pixels; masks, positions and volumes are of the slices as they were acquired.",
    )


def _slice_spacing_mm(stack: Stack) -> float:
    return float(stack.distances_mm[-1] - stack.distances_mm[0]) / (len(stack.frames) - 1)
