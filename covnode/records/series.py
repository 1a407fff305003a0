"""A series on its way in: as received (with identity), then de-identified.

Comes from receive and deidentify; goes to volume. Only a DeidentifiedSeries can become a CTVolume.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReceivedInstance:
    """One DICOM Part 10 file of the spool, byte for byte as it came (identity inside).

    Attributes
    ----------
    path
        The Part 10 file.
    content_digest
        Digest of the data set's bytes as received (without preamble and file meta): see receive.content.
    """

    path: Path
    content_digest: str


@dataclass(frozen=True)
class ReceivedSeries:
    """All instances of one series that the node accepted, under our own id."""

    series_id: str
    revision: int
    instances: tuple[ReceivedInstance, ...]


@dataclass(frozen=True)
class DeidentifiedSeries:
    """The de-identified copy of a series: what the worker may see.

    Attributes
    ----------
    files
        De-identified Part 10 files, ordered by ``content_digest`` of their originals (never by a UID).
    input_sha256
        Hex digest over the sorted content digests of the originals: names the input's content.
    """

    series_id: str
    revision: int
    files: tuple[Path, ...]
    input_sha256: str
