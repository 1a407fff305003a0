"""The quality gate: can this series be analysed, with which cautions, and if not, why not.

Two checks on the path: `check_volume` of the images, before anything is segmented, and `check_lungs` of the lungs,
before anything in them is measured. Each measures figures, holds them against the settings and changes nothing.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from covnode.errors import (
    BlackSlices,
    CopiedSlices,
    LungsCut,
    LungsImplausible,
    LungsNotFound,
    SeriesUnusable,
    TooNoisy,
    TruncatedSlices,
)
from covnode.infer.broken_slices import ends_shown, find_broken
from covnode.infer.enhancement import ENHANCED_HU, measure_blood_hu
from covnode.infer.field_of_view import cut_lung_cm2
from covnode.infer.noise import measure_noise
from covnode.records.quality import Quality, QualityFigure, Verdict
from covnode.records.volume import CTVolume, Lung, LungMask
from covnode.sections import QualitySettings

MIN_LUNGS_ML = QualitySettings().min_lungs_ml
"""Both lungs of an adult hold 1.5 l at full expiration and no less than 0.5 l with most of them consolidated."""

MOST_NAMED = 5
_STRIDE = 4


def require_lungs(labels: NDArray[np.uint8] | NDArray[np.bool_], voxel_ml: float, min_lungs_ml: float) -> None:
    """Refuse a mask that holds too little to be lungs: the segmenters ask before they work on it.

    Raises
    ------
    LungsNotFound
        Below `min_lungs_ml` in all.
    """
    found_ml = np.count_nonzero(labels) * voxel_ml
    if found_ml < min_lungs_ml:
        raise LungsNotFound(
            f"no lungs, so this is no chest CT: {found_ml:.0f} ml found, at least {min_lungs_ml:.0f} ml expected "
            "(quality.min_lungs_ml)"
        )


@dataclass(frozen=True)
class _Rule:
    """A figure and its limits: names of settings, or a number that is none.

    Attributes
    ----------
    usual
        Least and most that need no caution.
    possible
        Least and most that are analysed.
    error
        Why there is no analysis beyond them.
    """

    name: str
    unit: str
    usual: tuple[str | None, str | float | None]
    possible: tuple[str | None, str | None] = (None, None)
    error: type[SeriesUnusable] = SeriesUnusable

    def judge(
        self, settings: QualitySettings, value: float | None, sentence: tuple[str, str], where: str = ""
    ) -> QualityFigure:
        """Hold a value against the limits.

        Parameters
        ----------
        sentence
            For the report, where the value is below what is usual, and where it is above.
        where
            Said when the series is not analysed: what is concerned.

        Raises
        ------
        SeriesUnusable
            The rule's own subclass.
        """
        least, most = (getattr(settings, limit) if isinstance(limit, str) else limit for limit in self.usual)
        value = None if value is None else round(value, 1)
        figure = QualityFigure(name=self.name, value=value, unit=self.unit, least=least, most=most)
        if value is None:
            return figure
        for key, sign, word in zip(self.possible, (-1, 1), ("least", "most"), strict=True):
            if key is not None and (value - getattr(settings, key)) * sign > 0:
                limit = f"{getattr(settings, key):g} {self.unit}".rstrip()
                raise self.error(f"{figure}{where}: at {word} {limit} can be analysed (quality.{key})")
        low, high = sentence
        said = low if least is not None and value < least else high if most is not None and value > most else None
        return figure.model_copy(update={"verdict": Verdict.WITH_CAUTION, "sentence": said} if said else {})


_AIR_NOISE = _Rule("noise in air", "HU", (None, "caution_air_noise_hu"), (None, "max_air_noise_hu"), TooNoisy)
_TISSUE_NOISE = _Rule(
    "noise in soft tissue", "HU", (None, "caution_tissue_noise_hu"), (None, "max_tissue_noise_hu"), TooNoisy
)
_BLACK = _Rule("black slices", "", (None, 0), (None, "max_black_slices"), BlackSlices)
_EMPTY_ENDS = _Rule("empty slices at the ends", "", (None, 0))
_TRUNCATED = _Rule("truncated slices", "", (None, 0), (None, "max_truncated_slices"), TruncatedSlices)
_COPIED = _Rule("slices that copy another", "%", (None, 0), (None, "max_copied_percent"), CopiedSlices)
_THICKNESS = _Rule("slice thickness", "mm", (None, "caution_thickness_mm"))
_VOLUME = _Rule(
    "volume of both lungs",
    "ml",
    ("caution_min_lungs_ml", "caution_max_lungs_ml"),
    (None, "max_lungs_ml"),
    LungsImplausible,
)
_SMALLER = _Rule("share of the smaller lung", "%", ("caution_smaller_lung_percent", None))
_DENSITY = _Rule(
    "mean density of the lungs",
    "HU",
    ("caution_min_lung_mean_hu", "caution_max_lung_mean_hu"),
    ("min_lung_mean_hu", "max_lung_mean_hu"),
    LungsImplausible,
)
_EDGE = _Rule(
    "lung cut by the field of view", "cm2", (None, "caution_lung_at_edge_cm2"), (None, "max_lung_at_edge_cm2"), LungsCut
)
_ENDS = {
    place: _Rule(
        f"lung in the most {direction} slice",
        "%",
        (None, "caution_lung_at_end_percent"),
        (None, "max_lung_at_end_percent"),
        LungsCut,
    )
    for place, direction in (("apex", "superior"), ("base", "inferior"))
}
_BLOOD = _Rule("density of the blood", "HU", (None, "caution_blood_hu"))


def check_volume(volume: CTVolume, settings: QualitySettings) -> Quality:
    """Check the images themselves: broken slices, noise, field of view, thickness, kernel.

    Looks at every fourth row and column of all slices, and at all pixels of 16 slices for noise and field of view.

    Raises
    ------
    BlackSlices, TruncatedSlices, CopiedSlices, TooNoisy, LungsCut
        With the figure, its limit and the slices.
    """
    broken = find_broken(volume)
    noise = measure_noise(volume)
    count = len(volume.voxels_hu)
    found = []
    for rule, slices, value, words in (
        (_BLACK, broken.black, len(broken.black), "are black"),
        (_EMPTY_ENDS, broken.empty_ends, len(broken.empty_ends), "show no patient"),
        (_TRUNCATED, broken.truncated, len(broken.truncated), "are truncated"),
        (_COPIED, broken.copies, 100.0 * len(broken.copies) / count, "show the same as another one"),
    ):
        named = _named(volume, slices)
        sentence = f"{len(slices)} of {count} slices {words}: {named}. Figures there are of what is left."
        found.append(rule.judge(settings, value, ("", sentence), f" ({named})"))
    for rule, deviation_hu in ((_AIR_NOISE, noise.air_hu), (_TISSUE_NOISE, noise.soft_tissue_hu)):
        sentence = f"Noisy images: {rule.name} {deviation_hu or 0.0:.0f} HU; ground glass may be missed."
        found.append(rule.judge(settings, deviation_hu, ("", sentence)))
    cut_cm2 = cut_lung_cm2(volume)
    said = f"Lung reaches the edge of the field of view ({cut_cm2:.0f} cm2): a part of it lies outside of the images."
    return (*found, _EDGE.judge(settings, cut_cm2, ("", said)), *_protocol(volume, settings))


def check_lungs(volume: CTVolume, lungs: LungMask, settings: QualitySettings) -> Quality:
    """Check the lungs: volume, density, and whether all of them are in the images.

    Raises
    ------
    LungsCut, LungsImplausible
        With the figure and its limit.
    """
    areas = np.array([[np.count_nonzero(plane == side) for plane in lungs.labels] for side in Lung])
    return (
        *_ends(volume, areas.sum(axis=0), settings),
        *_volumes(areas.sum(axis=1) * volume.voxel_ml, settings),
        _density(volume, lungs, settings),
        *_contrast(volume, lungs, settings),
    )


def _named(volume: CTVolume, slices: tuple[int, ...]) -> str:
    """Name slices so that a person finds them."""
    count = len(volume.voxels_hu)
    named = [f"slice {k + 1} of {count} from below, {volume.frames[k].position_mm:.1f} mm" for k in slices[:MOST_NAMED]]
    return "; ".join(named) + (f"; {len(slices) - MOST_NAMED} more" if len(slices) > MOST_NAMED else "")


def _protocol(volume: CTVolume, settings: QualitySettings) -> Quality:
    """Thickness and kernel."""
    kernel = volume.acquisition.convolution_kernel
    of_kernel = f", kernel {kernel}" if kernel else ""
    thickness_mm = max(volume.acquisition.slice_thickness_mm or 0.0, volume.spacing_mm[0])
    thick = f"Thick slices ({thickness_mm:.1f} mm{of_kernel}): small lesions and the lung's border are less certain."
    named = QualityFigure(name="kernel", value=kernel)
    if kernel and any(fnmatchcase(kernel.upper(), pattern.upper()) for pattern in settings.caution_kernels):
        sentence = f"Kernel {kernel}: densities, and with them ground glass, are less certain."
        named = named.model_copy(update={"verdict": Verdict.WITH_CAUTION, "sentence": sentence})
    return _THICKNESS.judge(settings, thickness_mm, ("", thick)), named


def _ends(volume: CTVolume, areas: NDArray[np.int64], settings: QualitySettings) -> list[QualityFigure]:
    """Lung in the last slice of either end as a share of the slice with most of it: a whole lung tapers."""
    lowest, highest = ends_shown(volume)
    pixel_cm2 = volume.spacing_mm[1] * volume.spacing_mm[2] / 100.0
    largest = max(int(areas.max()), 1)
    found = []
    for k, (place, rule) in zip((highest, lowest), _ENDS.items(), strict=True):
        said = (
            f"The most {rule.name.split()[4]} slice shows {areas[k] * pixel_cm2:.0f} cm2 of lung: the {place} may lie "
            "outside of the series."
        )
        where = f" of that with most lung, so the {place} lies outside of the series"
        found.append(rule.judge(settings, 100.0 * int(areas[k]) / largest, ("", said), where))
    return found


def _volumes(volumes_ml: NDArray[np.float64], settings: QualitySettings) -> list[QualityFigure]:
    total = float(volumes_ml.sum())
    smaller = int(np.argmin(volumes_ml))
    name = Lung(smaller + 1).name.lower()
    hardly = (
        f"The {name} lung was hardly found ({volumes_ml[smaller]:.0f} ml of {total:.0f} ml): "
        "absent, collapsed or missed."
    )
    little = f"The lungs hold {total:.0f} ml in all, unusually little: expiration, or not all was found."
    much = f"The lungs hold {total:.0f} ml in all, unusually much: the segmentation may have leaked."
    share = 100.0 * float(volumes_ml[smaller]) / max(total, 1.0)
    return [_SMALLER.judge(settings, share, (hardly, "")), _VOLUME.judge(settings, total, (little, much))]


def _density(volume: CTVolume, lungs: LungMask, settings: QualitySettings) -> QualityFigure:
    inside = volume.voxels_hu[:, ::_STRIDE, ::_STRIDE][lungs.labels[:, ::_STRIDE, ::_STRIDE] > 0]
    mean_hu = float(inside.mean()) if len(inside) else None
    said = f"The lungs have a mean density of {mean_hu or 0.0:.0f} HU, unusually"
    dark = f"{said} low: emphysema, or air outside of the lungs was taken for lung."
    dense = f"{said} high: expiration, severe disease, or the border was misplaced."
    return _DENSITY.judge(settings, mean_hu, (dark, dense))


def _contrast(volume: CTVolume, lungs: LungMask, settings: QualitySettings) -> Quality:
    """Contrast phase, by how strongly the blood is enhanced: the header may not tell."""
    blood_hu = measure_blood_hu(volume, lungs)
    said = f"Strong contrast phase (blood {blood_hu or 0.0:.0f} HU): lung next to vessels looks denser than it is."
    phase = None if blood_hu is None else "enhanced" if blood_hu > ENHANCED_HU else "not enhanced"
    return _BLOOD.judge(settings, blood_hu, ("", said)), QualityFigure(name="contrast phase", value=phase)
