"""``covnode deidentify``: a folder of DICOM files in, de-identified series out; no network, database or vault.

Comes from the command line; hands each series to the same engine and key as the node's. Inputs are named by their
running number in the sorted order of their paths, series by our own count: a path or a UID may hold an identity.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import MediaStorageDirectoryStorage

from covnode.deidentify.burned_in import frames_looked_at
from covnode.deidentify.dry_run import Attribute, attributes_of
from covnode.deidentify.elements import UnreadableError
from covnode.deidentify.engine import deidentify_series, draft_of
from covnode.deidentify.keys import Pseudonyms
from covnode.deidentify.originals import read_originals
from covnode.deidentify.patient import read_patient
from covnode.deidentify.profile import Profile
from covnode.dicom.reading import quietly, read_header
from covnode.errors import ConfigurationError, DeidentificationRefused, NotDicom
from covnode.receive.content import digest_of
from covnode.receive.file_meta import start_of_data_set
from covnode.records.series import ReceivedInstance, ReceivedSeries

Progress = Callable[[int, int], None]
"""Told how many files are done, and of how many."""

_UNREADABLE_FILE = "unreadable_file"
_DRAFTS = draft_of(Path("series-*")).name


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the input; ``number`` counts from 1 in the sorted order of the paths."""

    number: int
    path: Path


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An input that is DICOM, or could not even be looked at, and why it cannot be used."""

    number: int
    reason: str


@dataclass(frozen=True)
class Inputs:
    """What a folder holds.

    Attributes
    ----------
    series
        The files of each, by Study and Series Instance UID, in the order of their first files.
    not_dicom
        Number of files that are not DICOM Part 10.
    dicomdirs
        Number of DICOMDIRs: an index, no series.
    folders_left_out
        Number of folders that may not be entered, or are links.
    """

    series: tuple[tuple[InputFile, ...], ...]
    not_dicom: int
    dicomdirs: int
    unreadable: tuple[Unreadable, ...]
    folders_left_out: int


@dataclass(frozen=True)
class SeriesOutcome:
    """What came, or would come, of one series.

    Attributes
    ----------
    instances
        Number of files written: each content once.
    code, reason
        Why it is refused; None when it is not.
    frames_looked_at
        In a dry run: number of frames whose pixels would be looked at for text first.
    """

    number: int
    files: tuple[InputFile, ...]
    instances: int
    code: str | None = None
    reason: str | None = None
    frames_looked_at: int = 0

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"series-{self.number:03d}"


def read_inputs(folder: Path, progress: Progress) -> Inputs:
    """Look at every file below a folder (or at the one file) and sort them into series.

    Raises
    ------
    ConfigurationError
        No file is DICOM.
    OSError
        The folder itself cannot be read.
    """
    paths, folders_left_out = _files_of(folder)
    series: dict[tuple[str, str], list[InputFile]] = {}
    unreadable: list[Unreadable] = []
    kinds: Counter[str] = Counter()
    for number, path in enumerate(paths, start=1):
        try:
            found = _series_of(path)
        except NotDicom as error:
            unreadable.append(Unreadable(number, str(error)))
        except OSError as error:
            unreadable.append(Unreadable(number, error.strerror or "it cannot be read"))
        else:
            if isinstance(found, tuple):
                series.setdefault(found, []).append(InputFile(number, path))
            else:
                kinds[found] += 1
        progress(number, len(paths))
    if not series and not unreadable and not folders_left_out:
        raise ConfigurationError(f"None of the {len(paths)} files of the input is DICOM Part 10: name another folder.")
    return Inputs(
        series=tuple(map(tuple, series.values())),
        not_dicom=kinds["not DICOM"],
        dicomdirs=kinds["DICOMDIR"],
        unreadable=tuple(unreadable),
        folders_left_out=folders_left_out,
    )


def _files_of(folder: Path) -> tuple[list[Path], int]:
    """Return the files below a folder, sorted, and how many folders below it were left out."""
    if not folder.is_dir():
        return [folder], 0
    any(folder.iterdir())  # raises where the folder itself is closed to us
    closed: list[OSError] = []
    paths, links = [], 0
    for place, folders, names in os.walk(folder, onerror=closed.append):
        links += sum(Path(place, name).is_symlink() for name in folders)
        paths += [path for name in names if (path := Path(place, name)).is_file() or path.is_symlink()]
    return sorted(paths), links + len(closed)


def _series_of(path: Path) -> tuple[str, str] | str:
    """Study and Series Instance UID; for what is of no series, what it is instead."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return "not DICOM"
    with quietly():
        dataset = read_header(path, ("StudyInstanceUID", "SeriesInstanceUID")).dataset
        if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return "DICOMDIR"
        study, series = str(dataset.get("StudyInstanceUID") or ""), str(dataset.get("SeriesInstanceUID") or "")
    if not study or not series:
        raise NotDicom("the file names no study or no series")
    return study, series


def check_out(folder: Path, out: Path) -> None:
    """Let only an absent or empty folder outside the input be written to; drafts of a killed run do not count.

    Raises
    ------
    ConfigurationError
        It is neither, or a file.
    """
    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"{out} is a file: name a folder that does not exist or is empty.")
    if out.exists() and set(out.iterdir()) - set(out.glob(_DRAFTS)):
        raise ConfigurationError(f"{out} is not empty: name a folder that does not exist or is empty.")
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError("The output lies in the input folder: name a folder outside it.")


def deidentify_inputs(inputs: Inputs, out: Path, pseudonyms: Pseudonyms, profile: Profile) -> Iterator[SeriesOutcome]:
    """De-identify one series after the other into folders of ``out``; one that is refused does not stop the next.

    Raises
    ------
    ConfigurationError
        The output cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for draft in out.glob(_DRAFTS):
            shutil.rmtree(draft)
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be made: {error.strerror}.") from None
    for number, files in enumerate(inputs.series, start=1):
        yield _deidentified(SeriesOutcome(number, files, instances=0), out, pseudonyms, profile)


def _deidentified(series: SeriesOutcome, out: Path, pseudonyms: Pseudonyms, profile: Profile) -> SeriesOutcome:
    number, files = series.number, series.files
    try:
        instances = tuple(ReceivedInstance(file.path, _content_digest(file.path)) for file in files)
    except OSError as error:
        return SeriesOutcome(number, files, 0, _UNREADABLE_FILE, _why_unreadable(error))
    try:
        received = ReceivedSeries(series.folder, 1, instances)
        copy, _ = deidentify_series(received, out / series.folder, pseudonyms, profile)
    except DeidentificationRefused as error:
        return SeriesOutcome(number, files, 0, error.code, str(error))
    except OSError as error:
        if error.filename is not None and Path(error.filename) in {file.path for file in files}:
            return SeriesOutcome(number, files, 0, _UNREADABLE_FILE, _why_unreadable(error))
        raise ConfigurationError(
            f"{series.folder} cannot be written to {out}: {error.strerror}. "
            "The series before it are complete; mend the cause and begin anew with an empty folder."
        ) from None
    return SeriesOutcome(number, files, len(copy.files))


def _why_unreadable(error: OSError) -> str:
    return f"a file cannot be read: {error.strerror}"


def _content_digest(path: Path) -> str:
    """Digest of the data set as the front door takes it, so that the copy is the one that the node would make."""
    with path.open("rb") as file:
        has_length = file.read(138)[132:] == b"\x02\x00\x00\x00UL"
        file.seek(start_of_data_set(file) if has_length else 0)
        return digest_of(file)


def foretell_series(inputs: Inputs, profile: Profile) -> list[SeriesOutcome]:
    """State for each series whether its headers alone make the engine refuse it; pixels and copy may yet."""
    outcomes = []
    for number, files in enumerate(inputs.series, start=1):
        # in place of the digest, which would read all bytes: every file counts
        instances = tuple(ReceivedInstance(file.path, f"{file.number:09d}") for file in files)
        try:
            originals = read_originals(instances, profile.burned_in_text)
            read_patient(originals[0].path)
        except DeidentificationRefused as error:
            outcomes.append(SeriesOutcome(number, files, len(files), error.code, str(error)))
        except OSError as error:
            outcomes.append(SeriesOutcome(number, files, len(files), _UNREADABLE_FILE, _why_unreadable(error)))
        else:
            looked_at = frames_looked_at(originals)
            outcomes.append(SeriesOutcome(number, files, len(files), frames_looked_at=looked_at))
    return outcomes


def foretell_attributes(
    files: Sequence[InputFile], profile: Profile, progress: Progress
) -> tuple[dict[Attribute, int], tuple[Unreadable, ...]]:
    """Count in how many files each attribute is, in the order of the tags; and the files that cannot be read."""
    counts: Counter[Attribute] = Counter()
    unreadable = []
    for done, file in enumerate(files, start=1):
        try:
            counts.update(attributes_of(file.path, profile))
        except UnreadableError as error:
            unreadable.append(Unreadable(file.number, str(error)))
        except OSError as error:
            unreadable.append(Unreadable(file.number, error.strerror or "it cannot be read"))
        progress(done, len(files))
    return dict(sorted(counts.items())), tuple(unreadable)
