"""A picture of a result, made as a viewer makes it: from the SEG that arrived and the CT that was sent."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset, dcmread

from covnode.records.result import DEMONSTRATION

# Okabe and Ito's palette, told apart by the colour-blind: https://jfly.uni-koeln.de/color/
_COLOURS = {
    "left lung": (86, 180, 233),
    "right lung": (0, 158, 115),
    "ground glass": (230, 159, 0),
    "consolidation": (213, 94, 0),
}
_OTHER = (204, 121, 167)
_WINDOW_HU = (-1350.0, 150.0)
_SHOWN = 3
_LEGEND_PX = 30


def write_overlay(ct_files: Sequence[Path], seg_file: Path, png: Path) -> None:
    """Draw the slices with most lesion (else most lung), segments as coloured areas, and a legend.

    Parameters
    ----------
    ct_files
        The single-frame CT series that the SEG refers to.
    seg_file
        The SEG, as it arrived.
    """
    seg = dcmread(seg_file)
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in seg.SegmentSequence}
    masks = _masks_by_instance(seg)
    paths = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in ct_files}

    def interest(uid: str) -> tuple[int, int]:
        areas = {labels[number].lower(): int(mask.sum()) for number, mask in masks[uid].items()}
        lesion = sum(area for label, area in areas.items() if "lung" not in label)
        return lesion, sum(areas.values())

    chosen = sorted(masks, key=interest, reverse=True)[: _SHOWN * 4 : 4] or list(masks)[:_SHOWN]
    tiles = [_tile(dcmread(paths[uid]), masks[uid], labels) for uid in chosen]
    size = tiles[0].size
    sheet = Image.new("RGB", (size[0] * len(tiles), size[1] + _LEGEND_PX))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index * size[0], 0))
    _legend(ImageDraw.Draw(sheet), labels.values(), size[1])
    sheet.save(png)


def _masks_by_instance(seg: Dataset) -> dict[str, dict[int, NDArray[np.bool_]]]:
    frames = np.atleast_3d(seg.pixel_array).reshape(-1, seg.Rows, seg.Columns).astype(bool)
    masks: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        masks.setdefault(str(source.ReferencedSOPInstanceUID), {})[number] = frame
    return masks


def _colour(label: str) -> tuple[int, int, int]:
    return next((colour for name, colour in _COLOURS.items() if name in label.lower().replace("-", " ")), _OTHER)


def _tile(ct: Dataset, masks: dict[int, NDArray[np.bool_]], labels: dict[int, str]) -> Image.Image:
    hu = ct.pixel_array.astype(np.float32) * float(ct.RescaleSlope) + float(ct.RescaleIntercept)
    low, high = _WINDOW_HU
    grey = np.clip((hu - low) / (high - low), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=2)
    for number, mask in sorted(masks.items(), key=lambda item: "lung" not in labels[item[0]].lower()):
        share = 0.35 if "lung" in labels[number].lower() else 0.55
        picture[mask] = (1 - share) * picture[mask] + share * np.array(_colour(labels[number]))
    return Image.fromarray(picture.astype(np.uint8))


def _legend(draw: ImageDraw.ImageDraw, labels: Iterable[str], top: int) -> None:
    x = 8
    for label in labels:
        draw.rectangle((x, top + 9, x + 12, top + 21), fill=_colour(label))
        draw.text((x + 18, top + 9), label, fill=(255, 255, 255))
        x += 40 + int(draw.textlength(label))
    draw.text((x, top + 9), DEMONSTRATION, fill=(255, 255, 255))
