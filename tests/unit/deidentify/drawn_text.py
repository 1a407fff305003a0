"""Slices with text drawn into them, in the ways that scanners, workstations and screens draw it."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from planted import ct_slice
from pydicom.uid import ExplicitVRLittleEndian

NAME = "MUELLER, HANS 1957-03-12"
SIZE = 256
AIR, TISSUE, BONE = 24, 1064, 2300


def glyphs(text=NAME, height=12, *, antialiased=True, turned=False):
    """Coverage of a text, 0 to 1, no larger than need be."""
    canvas = Image.new("L", (2 * height * len(text), 3 * height))
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = "L" if antialiased else "1"
    draw.text((height, height), text, font=ImageFont.load_default(height), fill=255)
    drawn = np.asarray(canvas.crop(canvas.getbbox())) / 255
    return np.rot90(drawn) if turned else drawn


def body(seed=0, noise=15):
    """Stored values of a slice: a body with lungs and bones in air, noisy."""
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    values = np.where((rows / 70) ** 2 + (columns / 110) ** 2 < 1, TISSUE, AIR)
    for centre in (-50, 50):
        values[(rows / 45) ** 2 + ((columns - centre) / 35) ** 2 < 1] = 150
    for angle in np.linspace(0, 2 * np.pi, 20):
        values[(rows - 62 * np.sin(angle)) ** 2 + (columns - 100 * np.cos(angle)) ** 2 < 16] = BONE
    return np.clip(values + np.random.default_rng(seed).normal(0, noise, values.shape), 0, 4095).round()


def write_over(values, drawn, value, at=(6, 6)):
    """The values with a text drawn at a place, which counts from the far end where it is negative."""
    (rows, columns), (top, left) = drawn.shape, at
    top, left = top if top >= 0 else top + 1 + SIZE - rows, left if left >= 0 else left + 1 + SIZE - columns
    place = np.s_[top : top + rows, left : left + columns]
    changed = values.copy()
    changed[place] = np.rint(values[place] * (1 - drawn) + value * drawn)
    return changed


def slice_of(values, number=1, bits=16, transfer_syntax=ExplicitVRLittleEndian, **attributes):
    """A slice that holds the values; of 8 bits, in a wide window."""
    if bits == 8:
        values = np.clip(values / 10, 0, 255)
    dataset = ct_slice(number, transfer_syntax, **attributes)
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.PixelRepresentation = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, min(bits, 12), min(bits, 12) - 1
    if bits == 8:
        dataset.BitsStored, dataset.HighBit = 8, 7
    dataset.PixelData = np.ascontiguousarray(values, f"<u{bits // 8}").tobytes()
    dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
    return dataset
