"""What lies where: the home folder of one host, and the folder of files that hosts of one database share.

The home keeps what belongs to its host alone: configuration, keys, models, locks. Never reads the configuration.
"""

import contextlib
import hashlib
import os
import secrets
import socket
from functools import cached_property
from pathlib import Path

import platformdirs

CONFIG_NAME = "covnode.toml"
HOST_NAME = "host"
"""Of the file that tells this home from its copies."""


class Home:
    """The node's folder and what lies where: in it, or in the folder of files that hosts share.

    Parameters
    ----------
    files
        Where images, copies and results lie, from the home on; empty: in it.
    """

    def __init__(self, root: Path, files: str = "") -> None:
        self.root = root.expanduser().resolve()
        self.config = self.root / CONFIG_NAME
        self.keys = self.root / "keys" / "pseudonyms.key"
        self.models = self.root / "models"
        self.scratch = self.root / "scratch"
        self.locks = self.root / "locks"
        self.associations = self.locks / "associations"
        self.files = (self.root / Path(files).expanduser()).resolve()
        self.spool = self.files / "spool"
        self.damaged = self.spool / "damaged"
        self.deidentified = self.files / "deidentified"
        self.results = self.files / "results"
        self.outbox = self.files / "outbox"

    @cached_property
    def host(self) -> str:
        """Name of this home among all of one database; it stays while the home stays where it is.

        Of the machine, the path and a token that the home keeps: containers may have one name, and a home be a copy.
        """
        of_home = hashlib.sha256(f"{_token(self.root / HOST_NAME)} {self.root}".encode()).hexdigest()
        return f"{socket.gethostname()}-{of_home[:8]}"

    @cached_property
    def spool_name(self) -> str:
        """Name of this spool among those of hosts that share none; it goes where the spool goes, into a backup too."""
        return _token(self.spool / "name")

    def with_files(self, folder: str) -> "Home":
        """Return this home with its files in a folder, named from the home on; empty: in the home."""
        return Home(self.root, folder)

    @property
    def incoming(self) -> Path:
        """What this host's doors are receiving."""
        return self.spool / "incoming" / self.host

    @property
    def commitments(self) -> Path:
        """Requests for storage commitment that this host is to report on."""
        return self.spool / "commitments" / self.host

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders that hold data, private to the node's user."""
        return (
            self.spool,
            self.incoming,
            self.damaged,
            self.commitments,
            self.deidentified,
            self.results,
            self.outbox,
            self.models,
            self.keys.parent,
        )

    def copy_of(self, series_id: str, revision: int) -> Path:
        """Return the folder of the de-identified copy of a series."""
        return self.deidentified / f"{series_id}-r{revision}"

    def database_url(self, configured: str) -> str:
        """Return the SQLAlchemy URL in force: the configured one, or else SQLite in the home."""
        return configured or f"sqlite:///{self.root / 'covnode.db'}"


def _token(path: Path) -> str:
    """Return the token in the file, which is made by whoever comes first."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.write_text(secrets.token_hex(8), encoding="ascii")
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
    return path.read_text(encoding="ascii")


def default_home() -> Path:
    """Return COVNODE_HOME, or the data folder of this user."""
    return Path(os.environ.get("COVNODE_HOME") or platformdirs.user_data_path("covnode"))
