"""``covnode push``: send a folder of DICOM files, as a modality would."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from covnode.cli.console import parse_address, stderr, stdout
from covnode.deliver.scu import send
from covnode.dicom.association import Destination
from covnode.dicom.reading import find_series
from covnode.errors import ConfigurationError


def push(
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files.", exists=True, file_okay=False)],
    to: Annotated[str, typer.Option(help="AE@HOST:PORT")],
    calling_ae_title: Annotated[str, typer.Option(help="AE title to call as.")] = "COVNODE-PUSH",
    timeout_s: Annotated[float, typer.Option(help="An answer is awaited this long.")] = 60.0,
) -> None:
    """Send every DICOM file of a folder by C-STORE, one association a series.

    Example: `covnode push ./series --to COVNODE@127.0.0.1:11112`
    """
    ae_title, host, port = parse_address(to)
    destination = Destination(ae_title, ae_title, host, port, timeout_s)
    contents = find_series(folder)
    if not contents.series:
        raise ConfigurationError(f"{folder} holds no DICOM files.")
    total = sum(len(found.files) for found in contents.series)
    with Progress(console=stderr, transient=True) as progress:
        task = progress.add_task("sending", total=total)
        for found in contents.series:
            send(calling_ae_title, destination, found.files, lambda _path, _status: progress.advance(task))
    stdout.print(f"Sent {total} instances of {len(contents.series)} series.", highlight=False)
    if contents.not_dicom:
        stdout.print(f"Left out {len(contents.not_dicom)} files that are not DICOM.", highlight=False)
