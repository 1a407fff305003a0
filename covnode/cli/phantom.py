"""``covnode phantom``: a synthetic chest CT with known truth."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from covnode.cli.console import stdout
from covnode.errors import ConfigurationError
from covnode.learn.phantom_records import PhantomPreset


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make; it must not exist or be empty.")],
    preset: Annotated[PhantomPreset, typer.Option(help="What the lungs hold.")] = PhantomPreset.COVID_MILD,
    slices: Annotated[int, typer.Option(min=10, max=2000, help="Number of slices.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same phantom.")] = 0,
) -> None:
    """Make a synthetic chest CT: DICOM files, and the exact truth beside them.

    Example: `covnode phantom ./phantom --preset covid-severe --slices 120 --seed 7`
    """
    from covnode.learn.phantom import make_phantom  # noqa: PLC0415 (scipy loads slowly, and only here)
    from covnode.learn.phantom_dicom import write_phantom  # noqa: PLC0415 (as above)

    if out.exists() and any(out.iterdir()):
        raise ConfigurationError(f"{out} is not empty: name another folder.")
    try:
        written = write_phantom(make_phantom(preset, slices=slices, seed=seed), out)
    except OSError as error:
        shutil.rmtree(out, ignore_errors=True)
        raise ConfigurationError(f"{out} cannot be written: {error.strerror}.") from None
    stdout.print(f"Wrote {len(written.dicom)} DICOM files and the truth to {out}.", highlight=False)
