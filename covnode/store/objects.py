"""Folders in an S3-compatible object store: each is there as a whole, or not at all.

Called by wiring.handover with de-identified copies and results, never with what names a patient. The files of a folder
go first, then a manifest of their sizes and SHA-256. The folder's place ends with its writer and the manifest's own
SHA-256: so no writer touches what another wrote, and whoever is given a place sees what was changed since. Nothing is
asked of the store but to put, get, list and delete.
"""

import configparser
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec

from covnode.disk import sha256_of
from covnode.errors import ConfigurationError, StoreAway, TransientError
from covnode.sections import ObjectsSettings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Store

_MANIFEST = "manifest.json"
_AT_A_TIME = 8
_CHUNK_BYTES = 1 << 20
# Loops that look after many series wait for the store no longer than this.
_CONNECT_S, _SILENT_S, _RETRIES, _RETRY_S = 3, 20, 2, 10
_CODE = re.compile(r"<Code>(\w+)</Code>")
_KEYS = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key"}
_MAY_LACK = {"aws_session_token": "session_token"}

T = TypeVar("T")


class _File(msgspec.Struct, frozen=True):
    size_bytes: int
    sha256: str


class ObjectStore:
    """One prefix of one bucket.

    Parameters
    ----------
    root
        The home, from which files that the settings name are looked for. They are read once: the worker may not later.

    Raises
    ------
    ConfigurationError
        covnode[s3] is not installed, or a file that the settings name cannot be used.
    """

    def __init__(self, settings: ObjectsSettings, root: Path) -> None:
        try:
            import obstore  # noqa: PLC0415 (an extra: most sites have a folder)
        except ImportError:
            raise ConfigurationError(
                "objects.url: the object store needs a package that is not installed: pip install 'covnode[s3]'."
            ) from None
        self._obstore = obstore
        self._settings = settings
        self._store = _opened(settings, root)

    @property
    def name(self) -> str:
        """The store as a person knows it."""
        at = self._settings.endpoint_url
        return f"{self._settings.url} at {at}" if at else self._settings.url

    def upload(self, folder: Path, name: str, writer: str) -> str:
        """Put the files of a folder, which has no folders in it, into the store as ``name``; return their place.

        Raises
        ------
        StoreAway
            The store does not answer, or refuses.
        """
        paths = sorted(folder.iterdir())
        files = {path.name: _File(path.stat().st_size, sha256_of(path)) for path in paths}
        manifest = msgspec.json.encode(files)
        place = f"{name}/{writer}-{hashlib.sha256(manifest).hexdigest()}"
        with self._answers():
            _all(lambda path: self._obstore.put(self._store, f"{place}/{path.name}", path), paths)
            self._obstore.put(self._store, f"{place}/{_MANIFEST}", manifest)
        return place

    def fetch(self, place: str, into: Path) -> None:
        """Bring a folder from its place, whole and as it was put there.

        Raises
        ------
        TransientError
            It is not there, or not as it was. StoreAway: the store does not answer, or refuses.
        """
        draft = into.with_name(f".{into.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        try:
            with self._answers():
                manifest = bytes(self._obstore.get(self._store, f"{place}/{_MANIFEST}").bytes())
                if hashlib.sha256(manifest).hexdigest() != place.rpartition("-")[2]:
                    raise TransientError(f"{place} in the object store is not what was put there")
                files = msgspec.json.decode(manifest, type=dict[str, _File])
                _all(lambda name: self._fetch(f"{place}/{name}", draft / Path(name).name), list(files))
        except FileNotFoundError:
            raise TransientError(f"{place} is not in the object store, or not whole") from None
        if {path.name: _File(path.stat().st_size, sha256_of(path)) for path in draft.iterdir()} != files:
            raise TransientError(f"files of {place} in the object store are not what was put there")
        draft.rename(into)

    def _fetch(self, key: str, path: Path) -> None:
        with path.open("wb") as file:
            for chunk in self._obstore.get(self._store, key).stream(min_chunk_size=_CHUNK_BYTES):
                file.write(chunk)

    def remove(self, name: str, but: str = "") -> None:
        """Remove all of that name, of whichever writer; keep the place ``but``. StoreAway as in `upload`."""
        with self._answers():
            keys = [key for key, _size in self._list(name) if not (but and key.startswith(f"{but}/"))]
            if keys:
                self._obstore.delete(self._store, keys)

    def size_bytes(self, name: str) -> int:
        """Return how much lies there of that name. StoreAway as in `upload`."""
        with self._answers():
            return sum(size for _key, size in self._list(name))

    def _list(self, name: str) -> Iterator[tuple[str, int]]:
        for batch in self._obstore.list(self._store, prefix=name):
            yield from ((each["path"], each["size"]) for each in batch)

    def require(self) -> None:
        """Raise StoreAway where the store does not answer, or refuses."""
        with self._answers():
            next(self._list("probe"), None)

    def probe(self, writer: str) -> None:
        """Write, read, list and remove an object.

        Raises
        ------
        StoreAway
            One of it did not work.
        """
        key = f"probe/{writer}"
        with self._answers():
            self._obstore.put(self._store, key, writer.encode())
            is_same = bytes(self._obstore.get(self._store, key).bytes()) == writer.encode()
            is_listed = key in {found for found, _size in self._list("probe")}
            self._obstore.delete(self._store, [key])
        if not (is_same and is_listed):
            raise StoreAway(f"{self.name} does not give back what was put there")

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Tell what the store says in our words: its own may name keys of whoever asked."""
        try:
            yield
        except (self._obstore.exceptions.BaseError, FileNotFoundError) as error:
            code = next(iter(_CODE.findall(str(error))), "")
            if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
                raise
            raise StoreAway(f"{self.name}: {self._in_words(error, code)}") from None

    def _in_words(self, error: Exception, code: str) -> str:
        kinds = self._obstore.exceptions
        if code == "NoSuchBucket":
            return "there is no such bucket: make it, or correct objects.url"
        if code == "AccessDenied":
            return "these credentials may not do that: they need to put, get, list and delete objects"
        if isinstance(error, (kinds.PermissionDeniedError, kinds.UnauthenticatedError)):
            return f"it refuses the credentials ({code or 'unknown'}): see objects.credentials_file"
        if code:
            return f"it answers {code}"
        if "169.254.169.254" in str(error):
            return "there are no credentials: see objects.credentials_file"
        return "it does not answer: is objects.endpoint_url right, does TLS fit (objects.ca), is it up?"


def _opened(settings: ObjectsSettings, root: Path) -> "S3Store":
    from obstore.store import S3Store  # noqa: PLC0415 (as above)

    url = urlsplit(settings.url)
    options: ClientConfig = {
        "allow_http": not settings.tls,
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "read_timeout": timedelta(seconds=_SILENT_S),
        "timeout": timedelta(days=1),  # a large object on a slow line
    }
    if settings.ca:
        options["root_certificate"] = _read(root / Path(settings.ca).expanduser(), "objects.ca")
    endpoint = {"endpoint": settings.endpoint_url.rstrip("/")} if settings.endpoint_url else {}
    return S3Store(
        url.netloc,
        prefix=url.path.strip("/") or None,
        region=settings.region,
        virtual_hosted_style_request=not settings.endpoint_url,
        client_options=options,
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_S)},
        **endpoint,  # type: ignore[arg-type]
        **(_credentials(root / Path(settings.credentials_file).expanduser()) if settings.credentials_file else {}),  # type: ignore[arg-type]
    )


def _credentials(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(_read(path, "objects.credentials_file"))
        found = dict(parser["default"])
        known = {name: found[key] for key, name in _KEYS.items()}
    except (configparser.Error, KeyError):
        # Whatever the parser says quotes the file.
        raise ConfigurationError(
            f"objects.credentials_file: {path} has no section [default] with {' and '.join(_KEYS)}."
        ) from None
    return known | {name: found[key] for key, name in _MAY_LACK.items() if key in found}


def _read(path: Path, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}.") from None


def _all(step: Callable[[T], object], of: list[T]) -> None:
    """Take a step of each, several at a time; raise the first error, and begin no further one then."""
    pool = ThreadPoolExecutor(_AT_A_TIME)
    try:
        for done in [pool.submit(step, each) for each in of]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)
