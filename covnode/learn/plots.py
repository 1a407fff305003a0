"""Plots of an evaluation as PNG: lines on a unit square, and bars. Drawn by Pillow; no figure is computed here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SIZE, _LEFT, _TOP, _SIDE = (560, 560), 70, 50, 430
_COLOURS = ("#1f5fa8", "#999999", "#c0392b")
_INK, _GRID = "#222222", "#dddddd"


@dataclass(frozen=True)
class Line:
    """A line by its points: float64 (n,) each, 0..1."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def plot_lines(path: Path, title: str, axes: tuple[str, str], lines: tuple[Line, ...]) -> None:
    """Draw lines on the unit square; ``axes`` names x and y."""
    image, draw = _canvas(title)
    for tick in range(6):
        share = tick / 5
        x, y = _place(share, share)
        draw.line([(x, _TOP), (x, _TOP + _SIDE)], fill=_GRID)
        draw.line([(_LEFT, y), (_LEFT + _SIDE, y)], fill=_GRID)
        draw.text((x - 8, _TOP + _SIDE + 6), f"{share:.1f}", fill=_INK)
        draw.text((_LEFT - 26, y - 6), f"{share:.1f}", fill=_INK)
    draw.text((_LEFT + _SIDE // 2 - 40, _TOP + _SIDE + 26), axes[0], fill=_INK)
    draw.text((_LEFT - 60, _TOP - 18), axes[1], fill=_INK)
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [_place(float(x), float(y)) for x, y in zip(line.x, line.y, strict=True)]
        if len(points) > 1:
            draw.line(points, fill=colour, width=3)
        for x, y in points:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
        draw.text((_LEFT + _SIDE - 110, _TOP + _SIDE - 40 + 16 * number), line.name, fill=colour)
    image.save(path)


def plot_bars(path: Path, title: str, names: tuple[str, ...], counts: NDArray[np.int64]) -> None:
    """Draw one bar a name, its count above it."""
    image, draw = _canvas(title)
    width = _SIDE / len(names)
    for number, (name, count) in enumerate(zip(names, counts, strict=True)):
        left = _LEFT + width * number
        _, top = _place(0.0, 0.95 * float(count) / max(1, int(counts.max())))
        draw.rectangle([left + 6, top, left + width - 6, _TOP + _SIDE], fill=_COLOURS[0])
        draw.text((left + width / 2 - 6, top - 14), str(int(count)), fill=_INK)
        draw.multiline_text((left + 8, _TOP + _SIDE + 6), name.replace(" ", "\n"), fill=_INK)
    image.save(path)


def _canvas(title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(image)
    draw.text((_LEFT, 12), title, fill=_INK)
    draw.rectangle([_LEFT, _TOP, _LEFT + _SIDE, _TOP + _SIDE], outline=_INK)
    return image, draw


def _place(x: float, y: float) -> tuple[float, float]:
    """Pixel of a point of the unit square."""
    return _LEFT + _SIDE * x, _TOP + _SIDE * (1.0 - y)
