"""A PostgreSQL server of the tests' own, which they may start and stop at will."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg2

from covnode.cli.local_node import free_port


def program(name: str) -> str:
    """Return a program of PostgreSQL's server, which Debian keeps out of the path."""
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
    assert found, f"{name} is not installed: run tests/install_peers.sh"
    return found


class PostgresqlServer:
    """A server on a port and in a folder of its own; it refuses to run as root, so it runs as its own user then.

    It does not sync: a commit outlives its immediate stop, though not that of the machine.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="covnode-pg-", dir="/tmp"))  # short enough for a socket's path
        user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        shutil.chown(self._folder, user)
        self._quiet = {"stdout": subprocess.DEVNULL, "cwd": self._folder}
        self._quiet |= {"user": user} if os.geteuid() == 0 else {}
        self._port = free_port()
        self.address = f"covnode@127.0.0.1:{self._port}"
        data = str(self._folder / "data")
        subprocess.run(
            [program("initdb"), "-D", data, "-A", "trust", "-U", "covnode", "--no-sync"], check=True, **self._quiet
        )
        self._control = [program("pg_ctl"), "-D", data, "-l", str(self._folder / "log"), "-w"]

    @property
    def version(self) -> str:
        """Of the server."""
        said = subprocess.run([program("postgres"), "--version"], check=True, capture_output=True, text=True)
        return said.stdout.split()[2]

    def start(self) -> None:
        """Start, and return when it takes connections."""
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        subprocess.run([*self._control, "-o", options, "start"], check=True, **self._quiet)

    def stop(self) -> None:
        """Stop at once, as a crash does: open connections are cut."""
        subprocess.run([*self._control, "-m", "immediate", "stop"], check=True, **self._quiet)

    def create_database(self, name: str) -> str:
        """Make an empty database and return its SQLAlchemy URL."""
        connection = psycopg2.connect(f"postgresql://{self.address}/postgres")
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()
        return f"postgresql+psycopg2://{self.address}/{name}"

    def remove(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self._folder)
