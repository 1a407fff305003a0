"""A PostgreSQL server of the chaos's own, from the programs that the machine has; it is started and stopped at will."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import sqlalchemy as sa

from covnode.errors import ConfigurationError


def program(name: str) -> str:
    """Return a program of PostgreSQL's server, which Debian keeps out of the path.

    Raises
    ------
    ConfigurationError
        It is not installed.
    """
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
    if not found:
        raise ConfigurationError(f"{name} is not installed: on Debian, apt-get install postgresql.")
    return found


_WITHIN_S = "180"


class PostgresqlServer:
    """A server on a port and in a folder of its own; it refuses to run as root, so it runs as its own user then.

    It does not sync: a commit outlives its immediate stop, though not that of the machine.

    Parameters
    ----------
    host
        The address that it listens on; beyond the loopback it trusts the networks that this machine is on.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="covnode-pg-", dir="/tmp"))  # short enough for a socket's path
        user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        shutil.chown(self._folder, user)
        self._user = user if os.geteuid() == 0 else None
        self._port = port
        self._host = host
        self.address = f"covnode@{host}:{port}"
        data = str(self._folder / "data")
        self._run(program("initdb"), "-D", data, "-A", "trust", "-U", "covnode", "--no-sync")
        with (self._folder / "data" / "pg_hba.conf").open("a", encoding="ascii") as trusted:
            trusted.write("host all all samenet trust\n")
        self._control = (program("pg_ctl"), "-D", data, "-l", str(self._folder / "log"), "-w", "-t", _WITHIN_S)

    def _run(self, *command: str) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=True, stdout=quiet, cwd=self._folder, user=self._user)  # noqa: S603 (programs of PostgreSQL)

    def start(self) -> None:
        """Start, and return when it takes connections."""
        options = f"-p {self._port} -k {self._folder} -c listen_addresses={self._host} -c fsync=off"
        self._run(*self._control, "-o", options, "start")

    def stop(self) -> None:
        """Stop at once, as a crash does: open connections are cut."""
        self._run(*self._control, "-m", "immediate", "stop")

    def create_database(self, name: str) -> str:
        """Make an empty database and return its SQLAlchemy URL."""
        with self._connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        return f"postgresql+psycopg2://{self.address}/{name}"

    @property
    def version(self) -> str:
        """What it says of itself."""
        with self._connect() as connection:
            return str(connection.scalar(sa.text("SHOW server_version")))

    def _connect(self) -> sa.Connection:
        url = f"postgresql+psycopg2://{self.address}/postgres"
        return sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect()

    def remove(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self._folder)
