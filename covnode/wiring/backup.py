"""A backup: a folder with the database, all of the home and a manifest of digests; and the way back into an empty home.

Made while the node runs. The database comes first: files never change once they have their names, so those copied after
it are at least all that it names. Retention waits meanwhile. The manifest comes last, and the folder gets its name when
everything is synced: what is not whole has no such name.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path, PurePosixPath

import msgspec

import covnode
from covnode.clock import utc_now
from covnode.deidentify.syncing import Parts, write_synced
from covnode.disk import free_gb, sync_folder
from covnode.errors import ConfigurationError
from covnode.home import HOST_NAME, Home
from covnode.receive.content import ContentDigest
from covnode.settings import Settings
from covnode.store import snapshot
from covnode.store.engine import make_engine, revisions
from covnode.wiring.node import Node
from covnode.wiring.retention import lock_of, nothing_removed

_FORMAT = 1
_MANIFEST = "manifest.json"
_HOME = "home"
_CHUNK_BYTES = 1 << 20
_MOST_NAMED = 3

Progress = Callable[[int, int], None]
"""Told how many files are done, and of how many."""


class Entry(msgspec.Struct, frozen=True):
    """One file of a backup."""

    size_bytes: int
    digest: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds.

    Attributes
    ----------
    made_at
        When the database was taken.
    files
        By name, relative to the backup.
    """

    format: int
    covnode: str
    made_at: datetime
    database: snapshot.Kind
    revision: str
    files: dict[str, Entry]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(entry.size_bytes for entry in self.files.values())


def make_backup(node: Node, out: Path, progress: Progress) -> Manifest:
    """Write a backup of a node, running or not, into a new folder that its owner alone may read.

    Raises
    ------
    ConfigurationError
        The folder exists, lies in the home or has too little room; or the database cannot be copied.
    OSError
        A file cannot be read, or the folder cannot be written.
    """
    _check_out(node.home, out)
    draft = out.with_name(f".{out.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)  # of a backup that was killed
    draft.mkdir(mode=0o700)
    try:
        with nothing_removed(node.home):
            kind = snapshot.kind_of(node.engine)
            database = draft / snapshot.name_of(kind)
            made_at = utc_now()
            snapshot.take(node.engine, database)
            with database.open("rb") as file:
                os.fsync(file.fileno())
            files = {database.name: _entry_of(database)}
            sources = dict(_sources(node))
            _check_room(sources.values(), draft)
            copied = _copy(sources, draft / _HOME, progress)
        files |= {f"{_HOME}/{name}": entry for name, entry in copied.items()}
        manifest = Manifest(_FORMAT, covnode.__version__, made_at, kind, revisions(node.engine)[0] or "", files)
        with closing(write_synced([(draft / _MANIFEST, [msgspec.json.encode(manifest)])])) as written:
            list(written)
        _sync_folders(draft)
        draft.rename(out)
        sync_folder(out.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


@dataclass(frozen=True)
class Backup:
    """A backup that lies in a folder."""

    folder: Path
    manifest: Manifest

    @classmethod
    def at(cls, folder: Path) -> "Backup":
        """Open a backup.

        Raises
        ------
        ConfigurationError
            It is none, or one of a newer release.
        """
        try:
            manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
        except FileNotFoundError:
            raise ConfigurationError(f"{folder} is no whole backup: it has no {_MANIFEST}.") from None
        except msgspec.DecodeError:
            raise ConfigurationError(f"{folder / _MANIFEST} is damaged, or of a newer release.") from None
        if manifest.format != _FORMAT:
            raise ConfigurationError(f"{folder} has format {manifest.format}, this release reads {_FORMAT}.")
        for name in manifest.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ConfigurationError(f"{folder / _MANIFEST} names a file outside of the backup.")
        return cls(folder, manifest)

    @property
    def home(self) -> Home:
        """The home as it was."""
        return Home(self.folder / _HOME)

    def verify(self, progress: Progress) -> None:
        """Hold every file against its digest.

        Raises
        ------
        ConfigurationError
            Some are missing or differ; the message says how many, and names the first.
        """
        bad = []
        for done, (name, entry) in enumerate(self.manifest.files.items(), start=1):
            try:
                is_same = _entry_of(self.folder / name) == entry
            except OSError:
                is_same = False
            if not is_same:
                bad.append(name)
            progress(done, len(self.manifest.files))
        if bad:
            raise ConfigurationError(
                f"{len(bad)} of {len(self.manifest.files)} files of the backup are missing or damaged, such as "
                f"{', '.join(bad[:_MOST_NAMED])}: nothing was restored. Take another backup."
            )

    def restore(self, home: Home, settings: Settings, progress: Progress) -> None:
        """Put everything but the configuration, which makes a folder a home, into an empty one.

        Parameters
        ----------
        settings
            That the restored node will have: they name the database.

        Raises
        ------
        ConfigurationError
            The home or its database is not empty.
        OSError
            A file cannot be read or written.
        """
        check_empty(home)
        engine = make_engine(home.database_url(settings.database.url))
        into_home = f"{_HOME}/"
        names = [name.removeprefix(into_home) for name in self.manifest.files if name.startswith(into_home)]
        sources = {name: self.home.root / name for name in names if name != self.home.config.name}
        if self.manifest.database == "postgresql":
            snapshot.refuse_tables(engine)
        home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in home.folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(sources, home.root, progress)
        source = self.folder / snapshot.name_of(self.manifest.database)
        if self.manifest.database == "postgresql":
            snapshot.put_back(engine, source)
        else:
            _copy({source.name: source}, home.root, lambda _done, _of: None)
        _sync_folders(home.root)


def check_empty(home: Home) -> None:
    """Refuse a home that something lies in.

    Raises
    ------
    ConfigurationError
        Something does.
    """
    if home.root.exists() and any(home.root.iterdir()):
        raise ConfigurationError(f"{home.root} is not empty: name a folder that does not exist or is empty by --home.")


def _check_out(home: Home, out: Path) -> None:
    if out.exists():
        raise ConfigurationError(f"{out} exists already: name a new folder.")
    if not out.parent.is_dir():
        raise ConfigurationError(f"{out.parent} is no folder: make it first.")
    if out.is_relative_to(home.root):
        raise ConfigurationError(f"{out} lies in the node's folder: name one outside of it, on another disk.")


def _check_room(paths: Iterable[Path], draft: Path) -> None:
    needed_gb, room_gb = sum(_size_of(path) for path in paths) / 1e9, free_gb(draft)
    if needed_gb > room_gb:
        raise ConfigurationError(
            f"the backup needs {needed_gb:.1f} GB, and its disk has {room_gb:.1f} GB free: name another."
        )


def _sources(node: Node) -> Iterator[tuple[str, Path]]:
    """Yield the files of the home, by their names in it, but for what lasts no longer than a process."""
    home = node.home
    left_out = {*snapshot.files_of(node.engine), home.locks, home.scratch, lock_of(home)}
    left_out |= {home.incoming.parent, home.root / HOST_NAME}
    # Folders of the home that lie elsewhere come back into it.
    images = (home.spool, home.deidentified, home.results, home.outbox)
    for top in (home.root, *(folder for folder in images if not folder.is_relative_to(home.root))):
        for place, folders, names in os.walk(top, followlinks=True):
            here = Path(place)
            dots = here in {home.deidentified, home.results}  # what is just being made there
            folders[:] = [name for name in folders if here / name not in left_out and not (dots and name[0] == ".")]
            for path in (here / name for name in names):
                if path not in left_out and path.is_file():
                    yield str(path.relative_to(top if top == home.root else top.parent)), path


def _copy(sources: Mapping[str, Path], target: Path, progress: Progress) -> dict[str, Entry]:
    """Copy files durably, with their times; return what was copied. One that is gone by now was a temporary one."""
    copied: dict[str, Entry] = {}
    times_ns: dict[Path, tuple[int, int]] = {}

    def files() -> Iterator[tuple[Path, Parts]]:
        for name, source in sources.items():
            try:
                file = source.open("rb")
            except FileNotFoundError:
                continue
            (target / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            was = os.fstat(file.fileno())
            times_ns[target / name] = (was.st_atime_ns, was.st_mtime_ns)
            yield target / name, _pieces(file, name, copied)

    with closing(write_synced(files())) as written:
        for done, path in enumerate(written, start=1):
            os.utime(path, ns=times_ns.pop(path))
            progress(done, len(sources))
    return copied


def _pieces(file: BufferedReader, name: str, into: dict[str, Entry]) -> Iterator[bytes]:
    """Yield an open file piece by piece, close it, and note its digest."""
    digest, size_bytes = ContentDigest(), 0
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
            yield chunk
    into[name] = Entry(size_bytes, digest.name())


def _entry_of(path: Path) -> Entry:
    read: dict[str, Entry] = {}
    for _chunk in _pieces(path.open("rb"), "", read):
        pass
    return read[""]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync_folders(folder: Path) -> None:
    for place, _folders, _names in os.walk(folder):
        sync_folder(Path(place))
